"""A client works in the spawned workers of uvicorn."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.processes.conftest import GATE
from tests.processes.web import held, left_after_the_next_start, running, serve, works_in_workers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes.conftest import Crew


@pytest.mark.servers
def test_uvicorn_with_several_workers(crew: Crew, tmp_path: Path) -> None:
    """The spawned workers of uvicorn work, one takes over when the leading one is killed, and a stop leaves nothing."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    options = ["--workers=3", "--uds=SOCKET", "--lifespan=off", "asgi:application"]
    with running(crew, tmp_path, [sys.executable, "-m", "uvicorn", *options]) as web:
        workers = works_in_workers(crew, web)
        control = crew.control()
        epoch, leader = control.epoch, control.leader_pid

        assert leader in workers

        keys = web.ask_of(leader, "put", "last words", 20)
        killed = time.monotonic()
        os.kill(leader, signal.SIGKILL)

        assert crew.takeover(epoch, killed) < GATE

        crew.server.put_flag(serve("three"))

        assert leader not in web.all_say("three", "value", "load", but=leader)
        assert set() == crew.lacking(keys)
        assert crew.until(lambda: crew.server.open_connections == 1, 20)

        last = web.ask("put", "last", 20)[1]
        web.stop()

        assert [] == held(crew)
        assert 0 == crew.server.open_connections
    # uvicorn's workers end without a word.
    assert [] == left_after_the_next_start(crew)
    assert set() == crew.lacking(last)
