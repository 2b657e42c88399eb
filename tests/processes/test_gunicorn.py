"""A client works in gunicorn's workers, of every kind, with --preload and without."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.processes.web import running, works_in_workers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes.conftest import Crew


@pytest.mark.servers
@pytest.mark.parametrize("preload", [["--preload"], []], ids=["preload", "plain"])
@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_gunicorn(crew: Crew, tmp_path: Path, kind: str, preload: list[str]) -> None:
    """Workers of gunicorn work, with --preload and without; a killed one's successor too, and its events arrive."""
    if kind == "gevent":
        pytest.importorskip("gevent", reason="gevent is not installed")
    (tmp_path / "settings.py").write_text("control_socket_disable = True\n")
    arguments = [
        *preload,
        f"--worker-class={kind}",
        "--workers=3",
        "--bind=unix:SOCKET",
        "--config=settings.py",
        "wsgi",
    ]
    with running(crew, tmp_path, [sys.executable, "-m", "gunicorn", *arguments]) as web:
        works_in_workers(crew, web)
        pid, keys = web.ask("put", "last words", 20)
        os.kill(pid, signal.SIGKILL)

        assert pid not in web.all_say("two", "value", "load", but=pid)
        assert set() == crew.lacking(keys)


@pytest.mark.servers
@pytest.mark.parametrize("preload", [["--preload"], []], ids=["preload", "plain"])
def test_gunicorn_with_uvicorn_workers(crew: Crew, tmp_path: Path, preload: list[str]) -> None:
    """ASGI workers of gunicorn work, with --preload and without."""
    pytest.importorskip("uvicorn_worker", reason="uvicorn-worker is not installed")
    (tmp_path / "settings.py").write_text("control_socket_disable = True\n")
    options = ["--worker-class=uvicorn_worker.UvicornWorker", "--workers=3", "--bind=unix:SOCKET", "asgi:application"]
    with running(crew, tmp_path, [sys.executable, "-m", "gunicorn", *preload, "--config=settings.py", *options]) as web:
        works_in_workers(crew, web)
