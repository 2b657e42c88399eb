"""States and their errors bear the names of fb-python-sdk."""

import time

import pytest

from fbshared import status_types
from fbshared.status_types import State, StateType

reference = pytest.importorskip("fbclient.status_types")


def test_the_errors_are_the_references() -> None:
    """Every error type of the reference is here with the same text."""
    named = {name: text for name, text in vars(reference).items() if name.isupper()}
    assert len(named) > 10
    ours = {name: getattr(status_types, name) for name in named}

    assert named == ours


def test_the_states_are_the_references() -> None:
    """Every kind of state is here with the same number."""
    ours = {kind.name: kind.value for kind in StateType}

    assert {kind.name: kind.value for kind in reference.StateType} == ours


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("intializing_state", ()),
        ("ok_state", ()),
        ("interrupted_state", ("Network error", "gone")),
        ("normal_off_state", ()),
        ("error_off_state", ("Request invalid", "no")),
    ],
)
def test_making_states(name: str, arguments: tuple[str, ...]) -> None:
    """What makes a state in the reference makes the same one here, since now."""
    theirs, ours = (getattr(kind, name)(*arguments) for kind in (reference.State, State))

    assert theirs.state_type.name == ours.state_type.name
    assert abs(time.time() - ours.state_since) < 60
    if not arguments:
        assert ours.error_track is None
    else:
        assert arguments == (ours.error_track.error_type, ours.error_track.message)
        assert 0 == ours.error_track.detail
