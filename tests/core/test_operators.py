"""Every operator against every kind of text, as the table of SDK differences wants it."""

import math

import pytest

from fbshared.core.operators import MISSING, json_of, question_of
from fbshared.errors import EvaluationError

FAILS = "fails"

TABLE = [
    # no text at all
    (None, "Equal", "abc", False),
    (None, "NotEqual", "abc", True),
    (None, "Contains", "abc", False),
    (None, "NotContain", "abc", True),
    (None, "NotOneOf", '["abc"]', True),
    (None, "NotMatchRegex", "abc", True),
    (None, "Equal", "", False),
    (None, "NotEqual", "", True),
    (None, "Contains", "", False),
    (None, "NotContain", "", True),
    (None, "MatchRegex", ".*", False),
    (None, "NotMatchRegex", ".*", True),
    (None, "IsOneOf", '[""]', False),
    (None, "NotOneOf", '[""]', True),
    (None, "StartsWith", "", False),
    (None, "EndsWith", "", False),
    (None, "IsTrue", "IsTrue", False),
    (None, "IsFalse", "IsFalse", False),
    (None, "BiggerThan", "1", False),
    (None, "MatchRegex", "[", False),
    (None, "NotMatchRegex", "[", True),
    # the empty text
    ("", "Equal", "", True),
    ("", "NotEqual", "", False),
    ("", "MatchRegex", "^$", True),
    ("abc", "Contains", "", True),
    ("abc", "NotContain", "", False),
    # a null value
    ("abc", "NotEqual", None, True),
    ("abc", "Contains", None, False),
    ("abc", "NotContain", None, True),
    ("abc", "StartsWith", None, False),
    ("abc", "EndsWith", None, False),
    ("abc", "NotOneOf", None, True),
    ("abc", "MatchRegex", None, False),
    ("abc", "NotMatchRegex", None, True),
    ("true", "IsTrue", None, True),
    # a value that is no text
    ("5", "Equal", 5, True),
    ("5", "BiggerThan", 4, True),
    ("True", "Equal", True, True),
    ("1", "BiggerEqualThan", True, False),
    # texts
    ("abc", "Equal", "ABC", False),
    ("abc", "StartsWith", "ab", True),
    ("abc", "StartsWith", "b", False),
    ("abc", "EndsWith", "bc", True),
    ("abc", "EndsWith", "b", False),
    ("TrUe", "IsTrue", "", True),
    ("FALSE", "IsFalse", "", True),
    ("1", "IsTrue", "", False),
    # numbers
    ("1.000001", "BiggerThan", "1", False),
    ("1.00001", "BiggerThan", "1", True),
    ("9.000001", "LessEqualThan", "9", True),
    ("1.000015", "BiggerEqualThan", "1.00002", True),
    ("-1", "LessThan", "0", True),
    ("1.5", "BiggerThan", "1", True),
    (" 10 ", "BiggerThan", "9", True),
    ("1e3", "BiggerThan", "9", True),
    ("1,000", "BiggerThan", "9", False),
    ("1_000", "BiggerThan", "9", True),
    ("0x10", "BiggerThan", "9", False),
    ("inf", "BiggerThan", "9", True),
    ("inf", "BiggerEqualThan", "Infinity", True),
    ("Infinity", "BiggerThan", "9", True),
    ("nan", "LessEqualThan", "9", False),
    ("9", "LessEqualThan", "nan", False),
    ("12abc", "BiggerThan", "9", False),
    ("１２", "BiggerThan", "9", True),
    ("9007199254740993", "BiggerThan", "9007199254740992", False),
    ("10", "BiggerThan", "nine", False),
    ("10", "OtherThan", "9", False),
    # regular expressions
    ("abc", "MatchRegex", "b", True),
    ("abc", "NotMatchRegex", "b", False),
    ("b", "MatchRegex", "abc", False),
    ("abc", "MatchRegex", "[", FAILS),
    ("abc", "NotMatchRegex", "[", FAILS),
    ("ABC", "MatchRegex", "abc", False),
    ("ABC", "MatchRegex", "(?i)abc", True),
    ("abc", "MatchRegex", "(?<=a)b", True),
    ("foobar", "MatchRegex", "(?P<x>o)(?P=x)", True),
    ("foobar", "MatchRegex", r"(o)\1", True),
    ("é", "MatchRegex", r"^\w$", True),
    ("٣", "MatchRegex", r"^\d$", True),
    ("a\n", "MatchRegex", "a$", True),
    ("abc", "MatchRegex", r"\Aabc\Z", True),
    ("abc", "MatchRegex", r"\p{L}+", FAILS),
    ("abc", "MatchRegex", "a{99999999999999999999}", FAILS),
    ("abc", "MatchRegex", "(" * 5000, FAILS),
    # lists
    ("abc", "IsOneOf", '["abc","x"]', True),
    ("abc", "IsOneOf", "abc", False),
    ("abc", "NotOneOf", "abc", True),
    ("abc", "IsOneOf", '"xabcx"', False),
    ("abc", "IsOneOf", '{"abc":1}', False),
    ("1", "IsOneOf", "[1]", False),
    ("1", "NotOneOf", "[1]", True),
    ("abc", "NotOneOf", "null", True),
    ("abc", "NotOneOf", "", True),
    ("abc", "IsOneOf", '[{},[],null,"abc"]', True),
    ("abc", "IsOneOf", ["abc"], False),
    ("abc", "IsOneOf", "[" * 100_000, False),
    ("abc", "IsOneOf", MISSING, False),
    ("abc", "NotOneOf", MISSING, True),
    # nothing to compare with
    ("abc", "Equal", MISSING, FAILS),
    (None, "NotEqual", MISSING, FAILS),
    ("abc", "MatchRegex", MISSING, FAILS),
    ("abc", "IsTrue", MISSING, False),
    (None, "BiggerThan", MISSING, False),
    ("abc", "BiggerThan", MISSING, False),
    ("1", "BiggerThan", MISSING, FAILS),
    ("nan", "BiggerThan", MISSING, FAILS),
]


@pytest.mark.parametrize(("text", "name", "value", "expected"), TABLE)
def test_operators(text: str | None, name: str, value: object, expected: object) -> None:
    """An operator answers as the table says, or fails where the reference fails."""

    def answer() -> object:
        question, wanted, _ = question_of(name, value) or (frozenset(), True, True)
        return (text in question if isinstance(question, frozenset) else question(text)) is wanted

    if expected is FAILS:
        with pytest.raises(EvaluationError):
            answer()
    else:
        assert expected == answer()


@pytest.mark.parametrize("name", ["", "equal", "IsNotOneOf", None, 5, ["Equal"]])
def test_unknown_operators(name: object) -> None:
    """There is no question behind an unknown operator."""
    assert question_of(name, "x") is None


def test_a_list_that_reads_like_a_comparison() -> None:
    """An operator that is no text but contains the word of comparisons compares, and never holds."""
    question, *_ = question_of(["BiggerThan"], "1") or (frozenset(), True, True)

    assert not isinstance(question, frozenset)
    assert not question("2")


@pytest.mark.parametrize("bound", ["0", "1.5", "-3", "1e15", "9007199254740993", "0.00001", "inf", "nan"])
@pytest.mark.parametrize("name", ["BiggerThan", "BiggerEqualThan", "LessThan", "LessEqualThan"])
def test_numbers_compare_like_their_texts(name: str, bound: str) -> None:
    """A number is not printed and read again, and the answer is the same; a truth value is no number."""
    question, *_ = question_of(name, bound) or (frozenset(), True, True)
    near = [float(bound) + step for step in (-1, -1e-4, -1e-6, 0, 1e-6, 1e-4, 1)]
    integers = [int(number) + step for number in near if math.isfinite(number) for step in (-1, 0, 1)]
    numbers = [*near, *integers, -(2**53) - 1, 2**53 + 1, 10**400, math.inf, -math.inf, math.nan, -0.0, True, False]

    assert not isinstance(question, frozenset)
    assert [question(str(number)) for number in numbers] == [question(number) for number in numbers]


@pytest.mark.parametrize("value", [None, 5, "x", b"\xff", "9" * 5000, [], MISSING])
def test_json_of_anything(value: object) -> None:
    """What is no JSON text is nothing."""
    assert json_of(value) is None
