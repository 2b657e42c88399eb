"""A translated pattern matches what ``re`` matches, for every pattern and every text."""

import re
import warnings
from random import Random

import pytest

from fbshared.core.dialect import ASCII, Untranslatable, translated

regex = pytest.importorskip("regex")

ATOMS = list("ab.abéßKſİ_1-٣^$\n\u0301 ")
ATOMS += [r"\w", r"\W", r"\d", r"\s", r"\S", r"\b", r"\B", r"\A", r"\Z", "\\\n"]
ATOMS += ["[ab]", "[^a]", "[a-c]", r"[\w-]", r"[^\s]", r"[^\w]", "[B-b]", "[\n]", "{e<=1}", "[[:alpha:]]", "a{,2}"]
ATOMS += ["(?=a)", "(?!b)", "(?<=a)", "(?<!b)", "(?!)", "(?i:K)", "(?-i:s)", "(?m:^)", "(?m:$)", "(?s:.)"]
REPEATS = ["", "", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,3}?", "{,2}"]
FLAGS = ["", "", "(?i)", "(?m)", "(?s)", "(?a)", "(?im)", "(?x)"]
CHARACTERS = "aabbc1_- \n\té\u0301KſsSkKİiıßẞ٣{e<=1}[:"

# Where the two packages would read or match differently, if the pattern were passed on as it is.
APART = [
    ("(?:ab){e<=1}", "ax"),
    ("[[:alpha:]]", "b"),
    (r"^\w$", "\u0301"),
    (r"\s", "\x1c"),
]


def a_pattern(rnd: Random, depth: int, groups: list[int]) -> str:
    kind = rnd.random()
    if depth == 0 or kind < 0.35:
        return rnd.choice(ATOMS) + rnd.choice(REPEATS)
    if kind < 0.55:
        return a_pattern(rnd, depth - 1, groups) + a_pattern(rnd, depth - 1, groups)
    if kind < 0.7:
        parts = a_pattern(rnd, depth - 1, groups), a_pattern(rnd, depth - 1, groups)
        return f"(?:{parts[0]}|{parts[1]}){rnd.choice(REPEATS)}"
    if kind < 0.85:
        groups.append(len(groups) + 1)
        return f"({a_pattern(rnd, depth - 1, groups)}){rnd.choice(REPEATS)}"
    if kind < 0.92:
        return rnd.choice(["(?=", "(?!", "(?<=", "(?<!"]) + a_pattern(rnd, depth - 1, groups) + ")"
    group = rnd.choice(groups or [1])
    return rnd.choice([rf"\{group}", f"(?({group})a|b)"])


def a_text(rnd: Random) -> str:
    text = "".join(rnd.choice(CHARACTERS) for _ in range(rnd.randrange(9)))
    return text.encode("ascii", "ignore").decode() if rnd.randrange(2) else text


def found(pattern: str, text: str) -> bool:
    """Whether the translation finds something in the text."""
    alphabet = ASCII if text.isascii() else "".join(sorted({*ASCII, *text}))
    return regex.search(translated(pattern, alphabet), text, regex.V0, timeout=5) is not None


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_generated_patterns_match_what_re_matches(seed: int) -> None:
    """For patterns of every construct, nested at will, both find something or both find nothing."""
    rnd = Random(seed)
    compared = 0
    while compared < 400:
        pattern = rnd.choice(FLAGS) + a_pattern(rnd, 4, [])
        try:
            search = re.compile(pattern).search
            translated(pattern, ASCII)
        except (re.error, Untranslatable):
            continue
        for text in [a_text(rnd) for _ in range(3)]:
            compared += 1

            assert (search(text) is not None) == found(pattern, text), (pattern, text)


@pytest.mark.parametrize("text", ["aca", "acb", "bcb", "", "c", "ac"])
@pytest.mark.parametrize("pattern", [r"(a|b)c\1", r"(a|b)?c\1", r"(a)?c(?(1)b|$)", "(?!)", "(?!)|c", "[^a]c"])
def test_references_to_what_is_captured_once(pattern: str, text: str) -> None:
    """A group that is captured at most once means the same in both, and so does what never matches."""
    assert (re.search(pattern, text) is not None) == found(pattern, text)


@pytest.mark.parametrize(("pattern", "text"), APART)
def test_what_the_packages_read_differently_is_written_out(pattern: str, text: str) -> None:
    """A pattern that the other package would answer differently is answered as by ``re``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        expected = re.search(pattern, text) is not None

        assert expected != (regex.search(pattern, text, regex.V0) is not None)
        assert expected == found(pattern, text)


@pytest.mark.parametrize("pattern", ["[a-z]", "[^a-z]", "k", "[^k]", r"\w", r"[\W_]", r"\d", r"\S", "ſ", "ı", "ß", "."])
@pytest.mark.parametrize("flags", ["", "(?i)", "(?a)", "(?ai)"])
def test_a_class_has_the_characters_that_re_gives_it(pattern: str, flags: str) -> None:
    """Each of the first characters of Unicode belongs to a class of the translation when it does for ``re``."""
    alphabet = "".join(map(chr, range(0x3000)))

    expected = re.findall(flags + pattern, alphabet)

    assert expected == regex.findall(translated(flags + pattern, alphabet), alphabet, regex.V0)


@pytest.mark.parametrize("text", ["", "a", "a\n", "\na", "a\nb\n", "\n\n", " a", "ab c"])
@pytest.mark.parametrize("flags", ["", "(?m)"])
@pytest.mark.parametrize("pattern", ["^a", "a$", r"\Aa", r"a\Z", r"\b", r"\B", "^$", r"^\B$", "b$", r"\ba\b"])
def test_places_are_where_re_has_them(pattern: str, flags: str, text: str) -> None:
    """Beginnings, ends and boundaries are found where ``re`` finds them."""
    assert (re.search(flags + pattern, text) is not None) == found(flags + pattern, text)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:(a*))*b\1",  # which repetition is left in the group
        r"(?=(a))\1",
        r"(?i)(a)\1",
        r"(?:(a)|b)+(?(1)c|d)",
    ],
)
def test_what_depends_on_the_engine_is_not_translated(pattern: str) -> None:
    """References to what a repeated or asserted group captured, and without regard to case, stay with ``re``."""
    with pytest.raises(Untranslatable):
        translated(pattern, ASCII)


@pytest.mark.parametrize("pattern", ["(?>a+)b", "a++b"])
def test_atomic_groups_are_not_translated(pattern: str) -> None:
    """Atomic groups and possessive repeats, which Python has since 3.11, stay with ``re``."""
    try:
        re.compile(pattern)
    except re.error:
        return
    with pytest.raises(Untranslatable):
        translated(pattern, ASCII)
