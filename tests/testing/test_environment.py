"""Bootstraps, versions and stamps."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from fbshared.errors import MessageError
from fbshared.testing import bootstrap, flag, message, segment
from fbshared.testing.environment import Environment, updated_at_of, version_of

DATA = bootstrap([flag("a", updated_at=1_000)], [segment("s", updated_at=2_000)])


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T00:00:01.5Z", 1_500),
        ("1970-01-01T00:00:01.9999999Z", 1_999),
        ("1970-01-01T00:00:01.999999999Z", 1_999),
        ("1970-01-01T01:00:01.250+01:00", 1_250),
        ("1969-12-31T23:30:00-00:30", 0),
        ("2026-02-30T00:00:00Z", 0),
        ("yesterday", 0),
        (None, 0),
    ],
)
def test_versions_are_truncated_milliseconds(text: object, version: int) -> None:
    """Up to nine digits of a second are understood; what is no time is version 0."""
    assert version == version_of(text)


@pytest.mark.parametrize(("version", "ticks"), [(1_000, 0), (1_250, 0), (1_001, 9_999), (1_790_000_000_123, 1)])
def test_written_versions_are_read_back(version: int, ticks: int) -> None:
    """Ticks below a millisecond never change the version."""
    assert version == version_of(updated_at_of(version, ticks))


def test_trailing_zeros_are_trimmed() -> None:
    """A time is written as .NET writes it, with up to seven digits."""
    assert "1970-01-01T00:00:01Z" == updated_at_of(1_000)
    assert "1970-01-01T00:00:01.25Z" == updated_at_of(1_250)
    assert "1970-01-01T00:00:01.2501234Z" == updated_at_of(1_250, 1234)


def test_every_form_of_a_bootstrap_is_the_same(tmp_path: Path) -> None:
    """A path, its text, JSON text, a message and bare data all load the same."""
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(DATA), encoding="utf-8")
    forms: list[Any] = [path, str(path), json.dumps(DATA), DATA, DATA["data"]]

    for form in forms:
        assert json.dumps(DATA, separators=(",", ":")) == Environment(form).answer(0)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "{}",
        {"data": []},
        {"featureFlags": {}},
        {"featureFlags": [None]},
        {"featureFlags": [{"key": 1}]},
        {"segments": [{"key": "s"}]},
    ],
)
def test_what_is_no_bootstrap_changes_nothing(content: Any) -> None:
    """A bootstrap that is not understood is refused as a whole."""
    environment = Environment(DATA)

    with pytest.raises(MessageError):
        environment.load(content)

    assert message("full", DATA["data"]["featureFlags"], DATA["data"]["segments"]) == environment.answer(0)


def test_what_is_loaded_is_copied() -> None:
    """Changing the object that was loaded changes nothing in the environment."""
    mine = bootstrap([flag("a")])
    environment = Environment(mine)

    mine["data"]["featureFlags"][0]["isEnabled"] = False

    assert environment.flags["a"]["isEnabled"] is True


def test_a_patch_has_what_is_strictly_newer() -> None:
    """An item whose version is the asked timestamp is not sent again."""
    environment = Environment(DATA)
    flags, segments = DATA["data"]["featureFlags"], DATA["data"]["segments"]

    assert message("patch", flags, segments) == environment.answer(999)
    assert message("patch", [], segments) == environment.answer(1_000)
    assert message("patch") == environment.answer(2_000)
    assert environment.has_newer(1_999)
    assert not environment.has_newer(2_000)


def test_stamps_grow_strictly() -> None:
    """Many changes within a millisecond have different versions, not far from the present."""
    environment = Environment()
    before = int(time.time() * 1000)

    flags, segments = environment.put([flag(f"f{n}") for n in range(50)], [segment("s")])

    versions = [version_of(item["updatedAt"]) for item in (*flags, *segments)]
    assert sorted(set(versions)) == versions
    assert before <= versions[0]
    assert versions[-1] <= int(time.time() * 1000) + 51


def test_stamps_are_newer_than_loaded_data() -> None:
    """A change wins over data from the future, also after such data was replaced."""
    future = int(time.time() * 1000) + 3_600_000
    environment = Environment(bootstrap([flag("a", updated_at=future)]))
    environment.load(bootstrap())

    (changed,), _ = environment.put([flag("a")], [])

    assert future + 1 == version_of(changed["updatedAt"])
