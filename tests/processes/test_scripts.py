"""A script beside a web server of the same environment, as cron runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

SCRIPT = str(Path(__file__).parent / "script.py")
ROUNDS = 4


def test_scripts_beside_a_server(crew: Crew, server: FeatBitServer) -> None:
    """A script has its first value from shared memory, without the network and without importing what only a leader
    needs; it opens no connection, leaves its event to the server's processes, and is forgotten."""
    crew.start(2, events_flush_interval=0.2)
    leader = crew.leader().pid
    server.mute_data_sync()  # whoever connected now would wait for ever
    reports = []
    for number in range(ROUNDS):
        command = [sys.executable, SCRIPT, crew.settings(), f"script-{number}"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=30)
        reports.append(json.loads(done.stdout))

    assert [["one", False, False]] * ROUNDS == reports
    assert set() == crew.lacking([f"script-{number}" for number in range(ROUNDS)])
    assert 1 == len(server.connections)
    assert leader == crew.leader().pid
    assert crew.until(lambda: len(crew.files("ring.")) == 2, 20), crew.files()
