"""A client works in the children of Celery's prefork pool."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes.web import HERE, serve

if TYPE_CHECKING:
    from pathlib import Path

    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew


@pytest.mark.servers
def test_celery(crew: Crew, server: FeatBitServer, tmp_path: Path) -> None:
    """Children of Celery's prefork pool work while they are recycled, over one connection, and lose no event."""
    celery = pytest.importorskip("celery", reason="celery is not installed")
    server.put_flag(serve("one"))
    environment = os.environ | {"FBSHARED_TEST_SETTINGS": crew.settings(), "FBSHARED_TEST_QUEUE": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    options = ["-A", "celery_tasks", "worker", "--pool=prefork", "--concurrency=2", "--max-tasks-per-child=5"]
    folders = dict.fromkeys(("data_folder_in", "data_folder_out", "control_folder"), str(tmp_path))
    broker = celery.Celery(broker="filesystem://", backend=f"file://{tmp_path}", broker_transport_options=folders)

    def send(name: str, *arguments: Any) -> Any:
        return broker.send_task("run", (name, arguments))

    log = (tmp_path / "log").open("wb")
    pool = subprocess.Popen(
        [sys.executable, "-m", "celery", *options], env=environment, cwd=tmp_path, stdout=log, stderr=log
    )
    try:
        tasks = [send("put", f"task-{number}", 3) for number in range(20)]
        answers = [task.get(timeout=30, interval=0.05) for task in tasks]
        server.put_flag(serve("two"))
        seen = send("wait_value", "load", "two", 10.0).get(timeout=30, interval=0.05)[1]
    finally:
        pool.terminate()
        code = pool.wait(30)
        log.close()

    assert len({pid for pid, _ in answers}) >= 4, "children were recycled"
    assert "two" == seen
    assert set() == crew.lacking([key for _, keys in answers for key in keys])
    assert 1 == len(server.connections)
    assert 0 == code
