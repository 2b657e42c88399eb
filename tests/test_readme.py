"""The manual says what the code has: each option with its default and variable, each word that a state or reason is."""

import ast
import inspect
import re
from dataclasses import MISSING, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from fbshared import Config, FBClient, HTTPConfig, StateType, WebSocketConfig, status_types
from fbshared.cli import _parser
from fbshared.core import outcomes
from fbshared.environ import SECRET_FILE, VARIABLES
from fbshared.shm.control import DeliveryState, SyncError, SyncState, Transport

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PARTS: dict[str, Any] = {"": Config, "http.": HTTPConfig, "websocket.": WebSocketConfig}


def section(title: str) -> str:
    return re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's tables, without the heads."""
    tables = re.findall(r"^\|[-|]+\|\n((?:\|.*\n)+)", section(title), re.MULTILINE)
    return [[cell.strip() for cell in line[1:-1].split("|")] for table in tables for line in table.splitlines()]


def defaults() -> dict[str, object]:
    """The default of every option, by the name that the manual has for it."""
    found: dict[str, object] = {}
    for prefix, kind in PARTS.items():
        made = {each.name: each.default_factory() for each in fields(kind) if each.default_factory is not MISSING}
        for name, parameter in inspect.signature(kind).parameters.items():
            found[prefix + name] = made.get(name, parameter.default)
    return found


def shown(default: object) -> str:
    return f"{type(default).__name__}()" if isinstance(default, (HTTPConfig, WebSocketConfig)) else repr(default)


def test_options() -> None:
    """Each option there is has one row, in the order of its arguments, with its default; there is no other row."""
    expected = [(f"`{name}`", f"`{shown(default)}`") for name, default in defaults().items()]

    assert expected == [(row[0], row[2]) for row in rows("Options")]


def test_every_option_is_explained() -> None:
    """A row says what the option means, and but for those that are refused of which type it is."""
    assert [] == [row[0] for row in rows("Options") if len(row) != 5 or not row[3].strip()]
    assert {"`data_storage`", "`update_processor_imp`", "`event_processor_imp`"} == {
        row[0] for row in rows("Options") if not row[1].strip()
    }


def test_variables() -> None:
    """Each variable stands in the row of its option, and none is named that does not exist."""
    expected = {f"`{each.field}`": f"`{each.name}`" for each in VARIABLES}

    assert expected == {row[0]: row[4] for row in rows("Options") if row[4]}
    assert {SECRET_FILE, *(each.name for each in VARIABLES)} == set(re.findall(r"FBSHARED_[A-Z_]*[A-Z]", README))


def test_reasons() -> None:
    """Each reason that an evaluation can give is in the table, and no other."""
    reasons = {value for name, value in vars(outcomes).items() if name.isupper() and isinstance(value, str)}

    assert {f"`{reason}`" for reason in reasons} == {row[0] for row in rows("Evaluating")}


def test_states() -> None:
    """Each state and each error of sync is in the tables."""
    table = rows("Listeners and states")
    types = {value for name, value in vars(status_types).items() if name.isupper() and isinstance(value, str)}

    assert {f"`{state.name}`" for state in StateType} == {row[0] for row in table if len(row) == 2}
    assert {f"`{error.name.lower()}`" for error in SyncError if error} == {
        row[1] for row in table if row[2:] and row[1]
    }
    assert {row[0] for row in table if row[2:]} <= {f"`{text}`" for text in types}


@pytest.mark.parametrize("kind", [SyncState, DeliveryState, Transport])
def test_words_of_the_status(kind: type[IntEnum]) -> None:
    """Each word that ``fbshared status`` may show is said."""
    text = section("Commands")

    assert [] == [word.name for word in kind if f"`{word.name.lower()}`" not in text]


def test_commands() -> None:
    """Each command has a row with each of its options."""
    (choices,) = [action.choices for action in _parser()._actions if isinstance(action.choices, dict)]
    table = {row[0].split()[1].strip("`"): row[1] for row in rows("Commands")}

    assert set(choices) == set(table)
    for name, parser in choices.items():
        options = {text for action in parser._actions for text in action.option_strings if text.startswith("--")}
        assert options - {"--help"} == set(re.findall(r"--[a-z-]+", table[name]))


def programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(programs())))
def test_programs(number: int) -> None:
    """What a program on the page imports is there, and so is what it asks of a client."""
    tree = ast.parse(programs()[number])
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    asked = re.findall(r"\bclient\.(\w+)", ast.unparse(tree))

    exec(compile(ast.Module(imports, []), "README.md", "exec"), {})
    assert [] == [name for name in asked if not hasattr(FBClient, name)]


def test_methods() -> None:
    """Each public name of the client is said."""
    typed = {f"{kind}_variation_detail" for kind in ("bool", "int", "float", "str", "json")} - {"bool_variation_detail"}
    names = {name for name in dir(FBClient) if not name.startswith("_")} - typed

    assert [] == sorted(name for name in names if not re.search(rf"[`.]{name}\b", README))


def test_links() -> None:
    """Each link on the page leads to a file or a heading."""
    targets = re.findall(r"\]\(([^)]+)\)", README)
    headings = {
        re.sub(r"[^\w -]", "", text).strip().lower().replace(" ", "-")
        for text in re.findall(r"^## (.*)$", README, re.M)
    }

    assert [] == [to for to in targets if to.startswith("#") and to[1:] not in headings]
    assert [] == [to for to in targets if not to.startswith(("#", "http")) and not (ROOT / to).exists()]
    assert headings - {"contents", "try-it"} == {to[1:] for to in targets if to.startswith("#")}
