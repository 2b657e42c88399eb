"""A process that has its data lets others lead for a moment before it stands for the lead itself."""

import sys
import time
from collections.abc import Callable, Iterator

import pytest

from fbshared import standby as standby_module
from fbshared.shm.control import CONTROL_SIZE, RETIRED, Control, SyncState, birth
from fbshared.standby import Standby
from fbshared.watcher import watcher


@pytest.fixture
def control() -> Control:
    made = Control.over(bytearray(birth((1, 2), 3)))
    assert CONTROL_SIZE
    made.leader_pid, made.sync_state, made.publication = 1, SyncState.OK, 1
    return made


@pytest.fixture
def stood() -> list[float]:
    return []


Make = Callable[[], Standby]


@pytest.fixture
def make(control: Control, stood: list[float]) -> Iterator[Make]:
    made: list[Standby] = []

    def one() -> Standby:
        made.append(Standby(control, lambda: stood.append(made[-1].patience)))
        return made[-1]

    yield one
    for each in made:
        each.end()


def no() -> bool:
    return False


@pytest.mark.parametrize(
    ("name", "value"),
    [("leader_pid", 0), ("sync_state", SyncState.STARTING), ("publication", 0), ("publication", RETIRED)],
)
def test_where_it_suits(control: Control, monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    """Where a leader is at work and the leader's modules are not there yet."""
    monkeypatch.delitem(sys.modules, "fbshared.leader.duty", raising=False)
    suited = Standby.suits(control)
    monkeypatch.setitem(sys.modules, "fbshared.leader.duty", sys)
    imported = Standby.suits(control)
    monkeypatch.delitem(sys.modules, "fbshared.leader.duty")
    setattr(control, name, value)

    assert (True, False, False) == (suited, imported, Standby.suits(control))


def test_it_waits_while_the_leader_works(control: Control, make: Make, stood: list[float]) -> None:
    """Look after look, as long as the heartbeat goes on."""
    standby = make()
    for _ in range(20):
        standby.look(no)
        control.beat += 1

    assert [] == stood
    assert standby.wanted


def test_a_heartbeat_that_stands_still(make: Make, stood: list[float]) -> None:
    """Three looks are enough. A fork waits for what begins then."""
    standby = make()
    standby.look(no)
    standby.look(no)
    assert [] == stood
    standby.look(no)

    assert [5.0] == stood
    assert 0.0 == standby.patience
    assert not standby.wanted


def test_a_region_that_is_given_up(control: Control, make: Make, stood: list[float]) -> None:
    """Then there is nothing to wait for."""
    standby = make()
    control.publication = RETIRED
    standby.look(no)

    assert 1 == len(stood)


def test_its_time(control: Control, make: Make, stood: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes although the leader works, in the watcher's thread, once."""
    monkeypatch.setattr(standby_module, "PAUSE", 0.3)
    standby = make()
    standby.begin()
    deadline = time.monotonic() + 20
    while standby.wanted and time.monotonic() < deadline:
        control.beat += 1
        time.sleep(0.005)
    watcher().wait_until_idle(deadline)

    assert 1 == len(stood)


def test_it_can_be_called_off(make: Make, stood: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever leaves before its time stands for nothing."""
    monkeypatch.setattr(standby_module, "PAUSE", 60.0)
    monkeypatch.setattr(standby_module, "_STILL", 1_000)
    standby = make()
    standby.begin()
    standby.end()
    watcher().wait_until_idle(time.monotonic() + 10)

    assert [] == stood
