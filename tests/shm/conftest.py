"""A region in the test's own directory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fbshared.shm.region import Region


@pytest.fixture
def region(shared_directory: Path) -> Iterator[Region]:
    opened = Region(str(shared_directory), "digest")
    yield opened
    opened.close()
