"""The page of FeatBit's requirements names tests that exist, and leaves no requirement without a word."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "tests" / "CONFORMANCE.md"
WORDS = ("**Deviation", "**Not offered")


def rows(text: str) -> list[tuple[str, str]]:
    """Requirement and proof of every line of a table, without the heads."""
    cells = [re.fullmatch(r"\| (.+) \| (.+) \|", line) for line in text.splitlines()]
    found = [(match[1], match[2]) for match in cells if match]
    return [row for row in found if row[0] not in ("What", "Requirement")]


def named(text: str) -> set[str]:
    return set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", text))


def missing(text: str) -> list[str]:
    """The tests that a text names and that do not exist."""
    return sorted(name for name in named(text) if not exists(*name.split("::")))


def exists(file: str, test: str) -> bool:
    return test in functions_of(ROOT / file)


@cache
def functions_of(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    return frozenset(node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))


def unproved(text: str) -> list[str]:
    """The requirements that have neither a test nor a word that says why."""
    return [what for what, proof in rows(text) if not named(proof) and not proof.startswith(WORDS)]


def test_every_named_test_exists() -> None:
    """Nothing on the page is proved by a test that is not there."""
    assert [] == missing(PAGE.read_text())


def test_every_requirement_has_a_proof_or_a_word() -> None:
    """Each line has a test, or says that and why it has none; the page has a line for each part of the checklist."""
    page = PAGE.read_text()

    assert [] == unproved(page)
    assert len(rows(page)) == sum(line.startswith("| ") for line in page.splitlines()) - page.count("|---|---|")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("| a | `tests/test_conformance.py::test_every_named_test_exists` |", ([], [])),
        ("| a | `tests/test_conformance.py::test_nothing` |", (["tests/test_conformance.py::test_nothing"], [])),
        ("| a | `tests/nowhere.py::test_nothing` |", (["tests/nowhere.py::test_nothing"], [])),
        ("| a | somehow |", ([], ["a"])),
        ("| a | **Deviation:** so. |", ([], [])),
        ("| a | **Open** |", ([], ["a"])),
    ],
)
def test_a_missing_test_is_noticed(line: str, expected: tuple[list[str], list[str]]) -> None:
    """A name that leads nowhere is found, and so is a line without a proof."""
    assert expected == (missing(line), unproved(line))
