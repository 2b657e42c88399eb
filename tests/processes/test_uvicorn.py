"""A client works in the spawned workers of uvicorn."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.processes.web import running, works_in_workers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes.conftest import Crew


@pytest.mark.servers
def test_uvicorn_with_several_workers(crew: Crew, tmp_path: Path) -> None:
    """The spawned workers of uvicorn work."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    options = ["--workers=3", "--uds=SOCKET", "--lifespan=off", "asgi:application"]
    with running(crew, tmp_path, [sys.executable, "-m", "uvicorn", *options]) as web:
        works_in_workers(crew, web)
