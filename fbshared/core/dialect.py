"""A pattern of Python's ``re``, written for the package ``regex`` so that it matches the same texts.

Both read most patterns alike and some not: ``(?:ab){e<=1}`` is a text for one and a fuzzy match for the other, and
``\\w`` takes other characters. So nothing is passed on as it is written. ``re`` reads the pattern, and what it has
read is written out again in the few constructs that mean the same in both; which characters a class has is asked
of ``re`` too.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

__all__ = ["ASCII", "Untranslatable", "parse", "translated"]

ASCII = "".join(map(chr, range(128)))

_WORD = r"[\w]"
# Until Python 3.13 a text without a character has no place that is no boundary.
_SOMEWHERE = "" if re.search(r"\B", "") else "(?:(?<=(?s:.))|(?=(?s:.)))"

# Not public, and the same module in all of them: no other reading of a pattern is sure to be that of ``re``.
parser: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")


class Untranslatable(Exception):  # noqa: N818 - an answer, not an error
    """The pattern has a construct whose meaning depends on the engine."""


def parse(pattern: str) -> Any:
    """What ``re`` has read in a pattern that it compiles: a sequence of operations with their arguments."""
    return parser.parse(pattern)


def translated(pattern: str, alphabet: str) -> str:
    """The pattern for ``regex``, for texts that have only characters of an alphabet.

    Raises:
        Untranslatable: it has a construct whose meaning depends on the engine.
    """
    tree = parse(pattern)
    referred: set[int] = set()
    captured_again: set[int] = set()
    _find_groups(tree, False, referred, captured_again)
    if referred & captured_again:  # what is left in such a group depends on the engine
        raise Untranslatable
    return _Writer(alphabet).sequence(tree, tree.state.flags)


def _find_groups(tree: Any, again: bool, referred: set[int], captured_again: set[int]) -> None:
    for op, argument in tree:
        name = str(op)
        if name == "GROUPREF":
            referred.add(argument)
        elif name == "GROUPREF_EXISTS":
            group, *branches = argument
            referred.add(group)
            for branch in branches:
                _find_groups(branch or (), again, referred, captured_again)
        elif name == "SUBPATTERN":
            if again and argument[0]:
                captured_again.add(argument[0])
            _find_groups(argument[-1], again, referred, captured_again)
        elif name == "BRANCH":
            for branch in argument[1]:
                _find_groups(branch, again, referred, captured_again)
        elif name in ("ASSERT", "ASSERT_NOT"):
            _find_groups(argument[1], True, referred, captured_again)
        elif name.endswith("_REPEAT"):
            _find_groups(argument[2], again or argument[1] > 1, referred, captured_again)
        elif name == "ATOMIC_GROUP":
            _find_groups(argument, True, referred, captured_again)


class _Writer:
    """Writes what ``re`` has read, every group in brackets of its own."""

    def __init__(self, alphabet: str) -> None:
        self._alphabet = alphabet

    def sequence(self, tree: Any, flags: int) -> str:
        return "".join(self._one(str(op), argument, flags) for op, argument in tree)

    def _one(self, name: str, argument: Any, flags: int) -> str:
        match name:
            case "LITERAL" if not flags & re.IGNORECASE:
                return _escaped(argument)
            case "LITERAL":
                return self._class(f"[{_escaped(argument)}]", flags)
            case "NOT_LITERAL":
                return self._class(f"[^{_escaped(argument)}]", flags)
            case "IN":
                return self._class(_written_class(argument), flags)
            case "ANY":
                return "(?s:.)" if flags & re.DOTALL else r"[^\n]"
            case "BRANCH":
                return "(?:" + "|".join(self.sequence(branch, flags) for branch in argument[1]) + ")"
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self._repeat(argument, flags, "" if name == "MAX_REPEAT" else "?")
            case "SUBPATTERN":
                group, added, removed, inner = argument
                opening = "(" if group else "(?:"
                return opening + self.sequence(inner, (flags | added) & ~removed) + ")"
            case "ASSERT" | "ASSERT_NOT":
                direction, inner = argument
                sign = "=" if name == "ASSERT" else "!"
                return f"(?{'<' if direction < 0 else ''}{sign}{self.sequence(inner, flags)})"
            case "AT":
                return self._at(str(argument), flags)
            case "FAILURE":  # pragma: no cover - some versions of Python read (?!) as this, others as an assertion
                return "(?!)"
            case "GROUPREF" if not flags & re.IGNORECASE and argument < 100:
                return rf"(?:\{argument})"
            case "GROUPREF_EXISTS":
                group, yes, no = argument
                return f"(?({group}){self.sequence(yes, flags)}|{self.sequence(no or (), flags)})"
        raise Untranslatable

    def _repeat(self, argument: Any, flags: int, lazy: str) -> str:
        least, most, inner = argument
        limit = "" if most == parser.MAXREPEAT else int(most)
        return f"(?:{self.sequence(inner, flags)}){{{int(least)},{limit}}}{lazy}"

    def _at(self, name: str, flags: int) -> str:
        match name:
            case "AT_BEGINNING_STRING":
                return r"(?<!(?s:.))"
            case "AT_END_STRING":
                return r"(?!(?s:.))"
            case "AT_BEGINNING":
                return r"(?<![^\n])" if flags & re.MULTILINE else r"(?<!(?s:.))"
            case "AT_END":
                return r"(?![^\n])" if flags & re.MULTILINE else r"(?=\n?(?!(?s:.)))"
        word = self._class(_WORD, flags)
        if name == "AT_BOUNDARY":
            return f"(?:(?<={word})(?!{word})|(?<!{word})(?={word}))"
        return f"(?:(?<={word})(?={word})|{_SOMEWHERE}(?<!{word})(?!{word}))"

    def _class(self, source: str, flags: int) -> str:
        return _characters(source, flags & (re.IGNORECASE | re.ASCII), self._alphabet)


@lru_cache(maxsize=512)
def _characters(source: str, flags: int, alphabet: str) -> str:
    """The class of those characters of an alphabet which ``re`` finds for a class."""
    found = "".join(re.compile(source, flags).findall(alphabet))
    if not found:
        return "(?!)"
    return "[" + "".join(_span(first, last) for first, last in _spans(map(ord, found))) + "]"


def _spans(points: Iterable[int]) -> Iterable[tuple[int, int]]:
    """Ascending code points as first and last of each uninterrupted span."""
    first = last = -2
    for point in points:
        if point != last + 1:
            if first >= 0:
                yield first, last
            first = point
        last = point
    yield first, last


def _written_class(items: Any) -> str:
    """The class that ``re`` has read, in its own dialect."""
    written = "["
    for op, argument in items:
        match str(op):
            case "NEGATE":
                written += "^"
            case "LITERAL":
                written += _escaped(argument)
            case "RANGE":
                written += _span(*argument)
            case _:
                written += _CATEGORIES[str(argument)]
    return written + "]"


def _span(first: int, last: int) -> str:
    return _escaped(first) if first == last else f"{_escaped(first)}-{_escaped(last)}"


def _escaped(point: int) -> str:
    return f"\\U{point:08x}"


_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
