"""A client works in workers of uWSGI, which runs no fork hook."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.processes.web import HERE, running, serve, works_in_workers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes.conftest import Crew


def test_uwsgi_with_default_options(crew: Crew, tmp_path: Path) -> None:
    """Workers of uWSGI, which runs no fork hook, work; when the leading master stands still one of them takes over."""
    pytest.importorskip("pyuwsgi", reason="pyuwsgi is not installed")
    run = "import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])"
    options = ["--master", "--processes=3", "--http-socket=SOCKET", f"--wsgi-file={HERE / 'wsgi.py'}", "--need-app"]
    with running(crew, tmp_path, [sys.executable, "-c", run, *options], leader_stale_limit=1.0) as web:
        workers = works_in_workers(crew, web)
        control = crew.control()
        epoch, leader = control.epoch, control.leader_pid

        assert web.popen.pid == leader

        # Not killed: its workers would not outlive it.
        os.kill(leader, signal.SIGSTOP)
        try:
            assert crew.takeover(epoch, time.monotonic()) < 1.0 + 2.0
            assert control.leader_pid in workers

            crew.server.put_flag(serve("three"))
            web.all_say("three", "value", "load")
        finally:
            os.kill(leader, signal.SIGCONT)
        assert crew.until(lambda: crew.server.open_connections == 1, 5)
        assert set() == crew.lacking(web.ask("put", "after", 20)[1])
