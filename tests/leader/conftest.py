"""A region, a server, and patience."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fbshared.leader.wake import Wake
from fbshared.shm.region import Region
from fbshared.testing import FeatBitServer, bootstrap, flag, segment
from tests import waiting

DATA = bootstrap(
    [flag("dark-mode", updated_at=1_700_000_000_000), flag("old", archived=True, updated_at=1_700_000_001_000)],
    [segment("staff", included=["ada"], updated_at=1_700_000_002_000)],
)


@pytest.fixture
def region(shared_directory: Path) -> Iterator[Region]:
    opened = Region(str(shared_directory), "digest")
    yield opened
    opened.close()


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(DATA) as started:
        yield started


@pytest.fixture
def halt() -> Iterator[Wake]:
    wake = Wake()
    yield wake
    wake.close()


@pytest.fixture
def eventually() -> Callable[..., bool]:
    """Whether something comes true in time."""
    return waiting.eventually
