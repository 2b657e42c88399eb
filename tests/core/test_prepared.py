"""A prepared user: refused where it is wrong, never changed, and the same as its dict everywhere."""

import copy
import pickle
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from zlib import crc32

import pytest

from fbshared import FBSharedError, FBUser, UserError
from fbshared.core.events import IDENTIFY_TAIL, make_pack, pack_user, payload, record
from fbshared.core.prepared import read_of
from fbshared.core.users import attribute, key_of, normalised

RAW: dict[str, Any] = {"key": "u1", "name": "Ada", "age": 36, "pro": True, "score": Decimal("1.50"), "é": "\ud800"}


def test_it_is_a_mapping_of_texts() -> None:
    """Key, name and attributes read as FeatBit's rules compare them, made in either way."""
    user = FBUser.from_dict(RAW)

    assert {"key": "u1", "name": "Ada", "age": "36", "pro": "True", "score": "1.50", "é": "\ud800"} == dict(user)
    assert user == FBUser("u1", "Ada", age=36, pro=True, score="1.50", é="\ud800")
    assert FBUser("u1", "Ada", age=36) == FBUser(key="u1", name="Ada", age="36")
    assert isinstance(user, Mapping)
    assert ("u1", 6, "36") == (user.key, len(user), user["age"])


def test_what_is_missing_is_left_out() -> None:
    """None is no attribute, as it is none of a dict."""
    assert {"key": "u1", "name": "Ada"} == dict(FBUser("u1", "Ada", plan=None))


@pytest.mark.parametrize(
    ("user", "key"),
    [({"keyid": "u2", "name": "n"}, "u2"), ({"key": "", "keyid": "u2", "name": "n"}, "u2"), (RAW, "u1")],
)
def test_its_key_is_that_of_the_dict(user: dict[str, Any], key: str) -> None:
    """A dict's key may stand in its second place."""
    assert key == FBUser.from_dict(user).key == key_of(user)


REFUSED: list[tuple[Any, str]] = [
    ({"name": "Ada"}, "key"),
    ({"key": "  ", "name": "Ada"}, "key"),
    ({"key": 5, "name": "Ada"}, "key"),
    ({"key": "u1"}, "name"),
    ({"key": "u1", "name": "\n"}, "name"),
    ({"key": "u1", "name": "Ada", "tags": ["secret"]}, "'tags'"),
    ({"key": "u1", "name": "Ada", "born": b"secret"}, "'born'"),
    ({"key": "u1", "name": "Ada", "Key": "secret"}, "'Key'"),
    ({"key": "u1", "name": "Ada", "keyId": "secret"}, "'keyId'"),
    ({"key": "u1", "name": "Ada", "self": "secret"}, "'self'"),
    ({"key": "u1", "name": "Ada", 5: "secret"}, "int"),
    ("secret", "str"),
    (None, "NoneType"),
]


@pytest.mark.parametrize(("user", "named"), REFUSED)
def test_what_is_refused(user: Any, named: str) -> None:
    """A ValueError names the field and tells no value."""
    with pytest.raises(UserError, match=named) as caught:
        FBUser.from_dict(user)

    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, FBSharedError)
    assert "secret" not in str(caught.value)


def test_the_constructor_refuses_too() -> None:
    """It has the same rules."""
    with pytest.raises(UserError, match="key"):
        FBUser("", "Ada")
    with pytest.raises(UserError, match="'tags'"):
        FBUser("u1", "Ada", tags=("a",))


def test_it_never_changes() -> None:
    """No slot of it can be set or deleted, and what it was made of can change without it."""
    raw = dict(RAW)
    user = FBUser.from_dict(raw)
    raw["age"] = 37
    for name in ("key", "texts", "packed", "other"):
        with pytest.raises(AttributeError):
            setattr(user, name, "x")
        with pytest.raises(AttributeError):
            delattr(user, name)

    assert "36" == user["age"]


def test_equal_users_have_equal_hashes() -> None:
    """The order of attributes is none of its."""
    one, other = FBUser("u1", "Ada", a=1, b=2), FBUser("u1", "Ada", b=2, a=1)

    assert one == other
    assert hash(one) == hash(other)
    assert one != FBUser("u1", "Ada", a=1)
    assert 1 == len({one, other})


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_travels(protocol: int) -> None:
    """Pickled or copied it is the same user, packed the same way."""
    user = FBUser.from_dict(RAW)
    for again in (pickle.loads(pickle.dumps(user, protocol)), copy.copy(user), copy.deepcopy(user)):  # noqa: S301
        assert user == again
        assert (user.packed, user.check) == (again.packed, again.check)


def test_its_repr_is_private() -> None:
    """It tells which attributes there are, and nothing that is the user's own."""
    assert "<FBUser with 'key', 'name', 'plan'>" == repr(FBUser("u-secret", "Ada", plan="pro"))


def test_its_events_are_those_of_the_dict() -> None:
    """FeatBit is told the same, and the packed form has the checksum that the ring goes on with."""
    user = FBUser.from_dict(RAW)
    told = payload(record(pack_user(make_pack(), user), IDENTIFY_TAIL, 1))

    assert payload(record(pack_user(make_pack(), RAW), IDENTIFY_TAIL, 1)) == told
    assert normalised(RAW) == normalised(read_of(user))
    assert crc32(user.packed) == user.check


@pytest.mark.parametrize("name", ["key", "KEYID", "name", "age", "pro", "score", "é", "missing", "self"])
def test_its_properties_read_like_those_of_the_dict(name: str) -> None:
    """A rule sees the same text."""
    assert attribute(RAW, name) == attribute(read_of(FBUser.from_dict(RAW)), name)
    assert read_of(RAW) is RAW


def test_a_blank_text_is_all_space() -> None:
    """The evaluation of a dict asks ``isspace`` where ``key_of`` asks what ``strip`` leaves: for every character
    that is the same."""
    characters = map(chr, range(sys.maxunicode + 1))

    assert all(character.isspace() == (not character.strip()) for character in characters)
