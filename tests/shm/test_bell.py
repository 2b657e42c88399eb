"""The bell wakes whoever waits for it, and says nothing else."""

import select
from collections.abc import Callable
from pathlib import Path

import pytest

from fbshared.shm.bell import Bell, ring_bell
from fbshared.shm.region import Region


def waiting(bell: Bell) -> bool:
    return bool(select.select([bell.fileno()], [], [], 0)[0])


def test_ringing(region: Region) -> None:
    """A ring wakes until it is silenced, however often it was rung."""
    bell = Bell(region)
    assert not waiting(bell)
    assert not bell.silence()

    assert ring_bell(region)
    assert ring_bell(region)
    assert waiting(bell)
    assert bell.silence()
    assert not bell.silence()
    assert not waiting(bell)
    bell.close()
    bell.close()


def test_nobody_listens(region: Region) -> None:
    """Without a leader, or without the directory, ringing is in vain and does not wait."""
    assert not ring_bell(region)
    bell = Bell(region)
    bell.close()

    assert not ring_bell(region)


@pytest.mark.parametrize("make", [lambda path: path.write_text("!"), lambda path: path.symlink_to("/dev/null")])
def test_something_else_in_its_place(region: Region, make: Callable[[Path], object]) -> None:
    """What is no pipe makes room for one; as a plain file it would ring for ever."""
    make(Path(region.join("bell")))
    bell = Bell(region)

    assert not waiting(bell)
    assert ring_bell(region)
    assert bell.silence()
    assert 0o600 == Path(region.join("bell")).stat().st_mode & 0o777
    bell.close()


def test_it_rings_enough_already(region: Region) -> None:
    """A bell that nobody silences takes no more, and the one who rings does not wait."""
    bell = Bell(region)
    for _ in range(200_000):
        if not ring_bell(region):
            break
    else:
        pytest.fail("the bell never fills up")

    assert bell.silence()
    bell.close()


def test_the_next_leader_has_the_same_bell(region: Region) -> None:
    """The file of an earlier leader is taken over."""
    first, second = Bell(region), Bell(region)
    ring_bell(region)

    assert second.silence()
    assert not first.silence()
    assert 0o600 == Path(region.join("bell")).stat().st_mode & 0o777
    first.close()
    second.close()
