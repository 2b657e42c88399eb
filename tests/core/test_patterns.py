"""A search answers what ``re`` answers; one that would take too long ends with an error, if that can be had."""

import math
import re
import subprocess
import sys
import textwrap
import time

import pytest

from fbshared.core import patterns
from fbshared.core.evaluation import Compiler
from fbshared.core.operators import question_of
from fbshared.core.patterns import search_for
from fbshared.errors import EvaluationError, PatternTimeoutError
from fbshared.testing.data import condition, flag, in_segment, rule, segment, segment_id

WITHOUT_END = [
    ("(a|a)*$", "a" * 60 + "b"),
    ("(a|aa)+$", "a" * 80 + "b"),
    ("(é|é)*$", "é" * 60 + "b"),
    (r"\s+$", " " * 200_000 + "x"),
]
QUICK = [
    ("abc", "xabc"),
    ("^1[0-9]{10}$", "18555358000"),
    (r"^[\w.+-]+@[\w-]+\.[\w.-]+$", "ann@example.com"),
    ("(foo|bar)$", "xbar"),
    ("(?i)^eu-", "EU-west"),
]


@pytest.fixture
def _without_regex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_regex", lambda: None)


@pytest.mark.parametrize(("pattern", "text"), WITHOUT_END)
def test_a_search_without_end_is_stopped(pattern: str, text: str) -> None:
    """With the package ``regex`` a search that would take for ever ends with an error, in CPU time of a moment."""
    pytest.importorskip("regex")
    search = search_for(pattern)
    began = time.process_time()

    with pytest.raises(PatternTimeoutError):
        search(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("pattern", "text"), [*QUICK, *((pattern, "aa") for pattern, _ in WITHOUT_END)])
def test_a_search_answers_as_re_does(pattern: str, text: str) -> None:
    """Texts on which ``re`` is quick have its answer, whatever the pattern is."""
    search = search_for(pattern)

    for sample in (text, text + "!", "", "é"):
        assert (re.search(pattern, sample) is not None) == search(sample)


@pytest.mark.parametrize(("pattern", "text"), QUICK)
def test_a_plain_pattern_needs_no_watch(pattern: str, text: str) -> None:
    """Patterns as people write them are searched by ``re`` itself in texts of ordinary length."""
    assert patterns.longest_unwatched(pattern) >= 90 >= len(text)


@pytest.mark.parametrize(
    ("pattern", "longest"),
    [
        ("abc", float("inf")),
        ("^a*$", 999_999),
        ("a*$", 999),
        ("a*b*$", 98),
        ("a{0,3}$", float("inf")),
        ("(?:ab|cd)$", float("inf")),
        ("(?:a|b*)$", 706),
        ("(?:ab*)?$", 706),
        ("(?=a*)b", 999),
        ("(?m)^a*$", 999),
        ("(a*)(?(1)b|c)", 706),
        ("a?" * 30 + "a" * 30, -1),
        ("(?:a*)*", -1),
        ("(?:ab|cd){2}", -1),
        ("", float("inf")),
    ],
)
def test_the_steps_of_a_search_are_known_beforehand(pattern: str, longest: float) -> None:
    """The longest text that ``re`` searches unwatched follows from the repeats and branches of a pattern."""
    assert longest == patterns.longest_unwatched(pattern)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has atomic groups since 3.11")
def test_the_steps_of_atomic_groups() -> None:
    """They have at most the ways of their content."""
    assert 999 == patterns.longest_unwatched("(?>a*)b")
    assert -1 == patterns.longest_unwatched("(?:a*)++b")


def test_what_a_later_python_may_have_is_watched() -> None:
    """An operation that is not known has ways without end."""
    assert math.inf == patterns._ways("LATER", None).degree


def test_where_the_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra: without it there is no error but no limit."""
    monkeypatch.setitem(sys.modules, "regex", None)
    patterns._regex.cache_clear()

    assert patterns._regex() is None
    patterns._regex.cache_clear()


def test_a_translation_that_the_package_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong on the way to a limit, ``re`` has the answer."""
    monkeypatch.setattr(patterns, "translated", lambda pattern, alphabet: "(")

    assert search_for("(?:a|b*)*c")("ac")


@pytest.mark.usefixtures("_without_regex")
def test_without_the_package_re_searches() -> None:
    """Without ``regex`` the answer is that of ``re``, however long it takes."""
    search = search_for("(a|a)*$")

    assert search("a" * 15 + "b")


def test_what_cannot_be_translated_is_searched_by_re() -> None:
    """A pattern whose meaning depends on the engine has the answer of ``re`` with or without ``regex``."""
    search = search_for(r"^(?:(a)|b)+\1$")

    assert [True, False] == [search("baa"), search("ba")]


@pytest.mark.parametrize("pattern", ["(?:" * 400 + "ab" + ")" * 400, "(?:" * 120 + "ab" + ")*" * 120 + "$"])
def test_a_pattern_that_is_nested_deep(pattern: str) -> None:
    """Whatever ``re`` compiles has the answer of ``re``, also where the way to a limit is too long."""
    assert (re.search(pattern, "ab") is not None) == search_for(pattern)("ab")


def test_the_limit_does_not_lie_in_wait_for_ordinary_patterns() -> None:
    """The package ``regex`` is not even loaded before a pattern needs it."""
    code = """
        import sys
        from fbshared.core.patterns import search_for
        search_for("^eu-(west|east)$")
        print("regex" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)

    assert "False\n" == done.stdout


def test_an_invalid_pattern_never_reaches_another_package() -> None:
    """What ``re`` does not compile is an error of the condition, although ``regex`` would take it."""
    question, *_ = question_of("MatchRegex", r"\p{L}+") or (frozenset(), True, True)

    assert not isinstance(question, frozenset)
    with pytest.raises(EvaluationError):
        question("abc")


@pytest.mark.parametrize("operator", ["MatchRegex", "NotMatchRegex"])
@pytest.mark.parametrize("place", ["rule", "segment"])
def test_a_stopped_search_is_an_error_of_the_flag(operator: str, place: str) -> None:
    """It is neither a match nor none, in a rule and in a segment; users with other texts have their answers."""
    pytest.importorskip("regex")
    risky = condition("p", operator, "(a|a)*$")
    found = segment("s", rules=[[risky]])
    raw = flag("f", rules=[rule(False, risky if place == "rule" else in_segment("s"))])
    compiled = Compiler({segment_id("s"): found}.get).flag(raw)

    with pytest.raises(PatternTimeoutError):
        compiled.evaluate("u", {"key": "u", "name": "n", "p": "a" * 60 + "b"})
    answer = compiled.evaluate("u", {"key": "u", "name": "n", "p": "aa"}).value()
    assert (operator == "NotMatchRegex") == answer
