"""Which dicts are users, and how their properties read."""

from decimal import Decimal
from enum import Enum
from typing import Any

import pytest

from fbshared.core.users import attribute, key_of, normalised, plain, text_of, well_formed


class Word(str, Enum):
    """A text of a class of its own, as StrEnum makes them."""

    KEY = "u1"


class Text(str):
    __slots__ = ()


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"key": "u1", "name": "n"}, "u1"),
        ({"keyid": "u1", "name": "n"}, "u1"),
        ({"key": "", "keyid": "u1", "name": "n"}, "u1"),
        ({"key": "u1", "keyid": "u2", "name": "n"}, "u1"),
        ({"key": " u1 ", "name": "n"}, " u1 "),
        ({"key": Word.KEY, "name": "n"}, "u1"),
        ({"key": "u1"}, None),
        ({"key": "u1", "name": " "}, None),
        ({"key": "u1", "name": 5}, None),
        ({"key": " ", "name": "n"}, None),
        ({"key": 5, "keyid": "u1", "name": "n"}, None),
        ({"keyId": "u1", "name": "n"}, None),
        ({"name": "n"}, None),
        ({"key": Unprintable(), "name": "n"}, None),
        ({}, None),
        (None, None),
        ("u1", None),
        ([("key", "u1"), ("name", "n")], None),
    ],
)
def test_key_of(user: object, expected: str | None) -> None:
    """A user is a dict with a key and a name that are not blank; everything else is none."""
    assert expected == key_of(user)


def test_keys_are_plain_texts() -> None:
    """A key of another class becomes a plain text, which every table finds and every packer packs."""
    assert type(key_of({"key": Word.KEY, "name": "n"})) is str


ATTRIBUTES: list[Any] = [
    ("abc", "abc"),
    ("", ""),
    (Text("abc"), "abc"),
    (True, "True"),
    (1, "1"),
    (1.0, "1.0"),
    (1e20, "1e+20"),
    (float("nan"), "nan"),
    (Decimal("1.50"), "1.50"),
    (10**25, "1" + "0" * 25),
    pytest.param(10**5000, None, id="huge"),
    (None, None),
    ([1], None),
    ({"a": 1}, None),
    ((1,), None),
    (b"1", None),
    (bytearray(b"1"), None),
    (object(), None),
    (Unprintable(), None),
]


@pytest.mark.parametrize(("value", "expected"), ATTRIBUTES)
def test_attributes(value: object, expected: str | None) -> None:
    """Texts, truth values and whatever prints as a number are attributes; the rest is missing."""
    user = {"key": "u1", "name": "n", "p": value}

    assert expected == text_of(value)
    assert expected == attribute(user, "p")
    assert expected == plain(user).get("p")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("key", "u1"), ("keyId", "u1"), ("KEYID", "u1"), ("name", "n"), ("NAME", "n"), ("P", None), ("self", None)],
)
def test_names(name: str, expected: str | None) -> None:
    """Key and name are found in any case, other properties exactly; "self" is none, as in the reference."""
    assert expected == attribute({"key": "u1", "name": "n", "p": "x", "self": "x", "NAME": "x"}, name)


def test_normalised() -> None:
    """FeatBit is told key, name and the attributes as texts, without what only looks like a key or a name."""
    user: dict[Any, Any] = {"Key": "x", "key": "u1", "NAME": "x", "name": "n", "p": 1, "self": "x", 5: "x", "l": []}

    assert {
        "keyId": "u1",
        "name": "n",
        "customizedProperties": [{"name": "p", "value": "1"}],
    } == normalised(user)


def test_lone_surrogates() -> None:
    """No text that UTF-8 cannot carry reaches FeatBit; a pair is the character that it means."""
    user = {"key": "\ud800u", "name": "n\udfff", "\ud800": "x\ud800y"}

    assert {
        "keyId": "\ufffdu",
        "name": "n\ufffd",
        "customizedProperties": [{"name": "\ufffd", "value": "x\ufffdy"}],
    } == normalised(user)
    assert "😀é" == well_formed("\ud83d\ude00é")
