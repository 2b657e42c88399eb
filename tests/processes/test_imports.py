"""What only a leader needs is imported by whoever is elected, and a fork beside that harms nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

SCRIPT = str(Path(__file__).parent / "importing.py")
LIBRARIES = ("requests", "websocket")


def test_only_the_elected_import_the_libraries(crew: Crew) -> None:
    """Of processes that start together one leads and has imported them; one that takes over imports them then."""
    crew.start(4)
    for _ in range(2):
        leader = crew.leader()
        assert list(LIBRARIES) == leader.ask("imported", *LIBRARIES)
        followers = crew.followers()
        # All have stood for the lead long enough to be in its thread.
        assert all(crew.until(lambda process=process: process.ask("imported", "filelock"), 20) for process in followers)
        assert [[]] * len(followers) == [process.ask("imported", *LIBRARIES) for process in followers]
        crew.dismiss(leader)


def test_a_fork_in_the_middle_of_the_import(crew: Crew, server: FeatBitServer) -> None:
    """It waits for the end of that: the child evaluates, can import the same, and its event is delivered."""
    command = [sys.executable, SCRIPT, crew.settings(start_wait=0)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)

    assert 0 == done.returncode, done.stderr
    assert ["one", True] == json.loads(done.stdout)
    assert set() == crew.lacking(["parent", "child"])
    assert 1 == server.max_open_connections
