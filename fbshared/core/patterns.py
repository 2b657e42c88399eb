"""Does a text match a regular expression: what Python's ``re`` answers, and with the package ``regex`` in bounded time.

``re`` tries one way after another, and for some patterns the ways double with every character. How many there can be
is known from the pattern and the length of the text. Where they are few, ``re`` searches. Where they may be many,
``regex`` searches for the same pattern, translated, because it can stop; without that package ``re`` searches on.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

from fbshared.core.dialect import ASCII, Untranslatable, parse, translated
from fbshared.errors import PatternTimeoutError

__all__ = ["LIMIT", "Search", "search_for"]

Search = Callable[[str], bool]

LIMIT = 0.1  # seconds of this process's CPU time for one search
_STEPS = 1_000_000  # of ``re``, some 10 ms, that need no watch
_FEW = 16  # repetitions that are no reason to count by the length of the text
_MANY = 1000  # ways from one place in the text that are still few, as long as their number is fixed
_ONE_OF_THE_STARTS = frozenset(("AT_BEGINNING", "AT_BEGINNING_STRING"))


class Ways(NamedTuple):
    """At most how many ways there are to match a text of n characters: ``factor * (n + 1) ** degree``."""

    factor: float
    degree: float


_ONE = Ways(1, 0)
_ENDLESS = Ways(math.inf, math.inf)


def search_for(pattern: str) -> Search:
    """The question whether a text matches somewhere.

    Raises:
        re.error: ``re`` does not compile this; like everything else that it may raise then.

    The question itself raises PatternTimeoutError when the search would take longer than the limit.
    """
    plain = re.compile(pattern).search
    try:
        longest = longest_unwatched(pattern)
        watched = _watched(pattern) if longest < math.inf else None
    except Exception:  # noqa: BLE001 - nested too deep for us, too large for the other package: re has an answer
        watched = None
    if watched is None:
        return lambda text: plain(text) is not None

    def search(text: str) -> bool:
        if len(text) <= longest:
            return plain(text) is not None
        try:
            return watched(text)
        except TimeoutError as error:
            raise PatternTimeoutError("a regular expression takes too long") from error

    return search


def longest_unwatched(pattern: str) -> float:
    """The length of the longest text for which ``re`` cannot need many steps; -1 when there is none."""
    tree = parse(pattern)
    ways = _ways_of(tree)
    if ways.degree == math.inf:
        return -1
    first = tree[0] if len(tree) else (None, None)
    anchored = str(first[1]) in _ONE_OF_THE_STARTS and not tree.state.flags & re.MULTILINE
    degree = ways.degree + (0 if anchored else 1)
    if ways.degree == 0:  # the text is looked through once
        return math.inf if ways.factor <= _MANY else -1
    return math.floor(math.pow(_STEPS / ways.factor, 1 / degree)) - 1


def _ways_of(tree: Any) -> Ways:
    """All ways through a sequence of operations."""
    ways = _ONE
    for op, argument in tree:
        ways = _times(ways, _ways(str(op), argument))
    return ways


def _ways(name: str, argument: Any) -> Ways:
    match name:
        case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN" | "AT" | "FAILURE" | "GROUPREF":
            return _ONE
        case "BRANCH":
            return _sum(_ways_of(branch) for branch in argument[1])
        case "SUBPATTERN":
            return _ways_of(argument[-1])
        case "ASSERT" | "ASSERT_NOT":
            return _ways_of(argument[1])
        case "ATOMIC_GROUP":
            return _ways_of(argument)
        case "GROUPREF_EXISTS":
            return _sum(_ways_of(branch or ()) for branch in argument[1:])
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return _repeated(*argument)
    return _ENDLESS


def _repeated(least: int, most: int, inner: Any) -> Ways:
    once = _ways_of(inner)
    if once == _ONE:  # each number of repetitions is one way
        return Ways(most - least + 1, 0) if most <= _FEW else Ways(1, 1)
    if most == 1:
        return _sum((_ONE, once))
    return _ENDLESS  # every repetition doubles the ways, or worse


def _times(first: Ways, second: Ways) -> Ways:
    return Ways(first.factor * second.factor, first.degree + second.degree)


def _sum(all_ways: Any) -> Ways:
    ways = list(all_ways)
    return Ways(sum(one.factor for one in ways), max(one.degree for one in ways))


def _watched(pattern: str) -> Search | None:
    """The search that stops at the limit; None without ``regex``, or when it would not answer as ``re`` does."""
    if _regex() is None:
        return None
    try:
        ascii_search = _compiled(translated(pattern, ASCII))
    except Untranslatable:
        return None

    @lru_cache(maxsize=32)
    def search_in(alphabet: str) -> Search:
        return _compiled(translated(pattern, alphabet))

    def search(text: str) -> bool:
        if text.isascii():
            return ascii_search(text)
        return search_in("".join(sorted({*ASCII, *text})))(text)

    return search


def _compiled(translation: str) -> Search:
    search = partial(_regex().compile(translation, _regex().V0, cache_pattern=False).search, timeout=LIMIT)
    return lambda text: search(text) is not None


@lru_cache(maxsize=1)
def _regex() -> Any:
    """The package ``regex`` where it is installed; loaded by the first pattern that needs it."""
    try:
        return importlib.import_module("regex")
    except ImportError:
        return None
