"""Evaluation against the reference SDK: same variation, value, reason and event for any data and any user."""

from random import Random
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from fbshared.core.prepared import FBUser as PreparedUser
from fbshared.core.users import key_of, normalised
from fbshared.errors import UserError

pytest.importorskip("fbclient")

from fbclient.common_types import FBUser

from tests.differential.compare import UNEXPLAINED, ours, verdict
from tests.differential.worlds import NAMES, OBJECTS, a_user, a_world

pytestmark = pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")


@settings(max_examples=2000, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**40))
def test_evaluation_equals_the_reference(seed: int) -> None:
    """Flags, segments and users of any shape, broken ones too, give what the reference gives, but for known causes."""
    rnd = Random(seed)  # drawing every part from hypothesis itself is thirty times slower
    flag, segments = a_world(rnd)
    for user in [a_user(rnd) for _ in range(3)]:
        found = verdict(flag, segments, user)
        event(found)

        assert found != UNEXPLAINED
        assert ours(flag, segments, user) == ours(flag, segments, prepared(user))


def prepared(user: dict[Any, Any]) -> PreparedUser:
    """The user without the attributes that a prepared one refuses, which no rule sees."""
    usable = {"key": user["key"], "name": user["name"]}
    for name, value in user.items():
        try:
            PreparedUser.from_dict(usable | {name: value})
        except UserError:
            continue
        usable[name] = value
    return PreparedUser.from_dict(usable)


PARTS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(OBJECTS)
RAW_USERS = st.dictionaries(
    st.sampled_from(["key", "keyid", "name", "keyId", "Key", *NAMES])
    | st.text(max_size=4).filter(lambda n: n != "self"),
    PARTS | st.lists(PARTS, max_size=2),
    max_size=8,
)


@settings(max_examples=600, deadline=None, derandomize=True, database=None)
@given(RAW_USERS | st.builds(lambda raw: {"key": "k", "name": "n"} | raw, RAW_USERS))
def test_users_equal_the_reference(user: dict[str, Any]) -> None:
    """A user is valid for us when it is for the reference, and FeatBit is told the same about it."""
    try:
        expected = FBUser.from_dict(user)
    except ValueError:
        assert key_of(user) is None
        return

    assert expected.get("key") == key_of(user)
    assert expected.to_json_dict() == normalised(user)
