"""A client handed to a child by pickling works there, whatever started the child."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fbshared.testing import flag

if TYPE_CHECKING:
    from fbshared.testing import FeatBitServer
    from tests.processes.conftest import Crew

HERE = Path(__file__).parent


@pytest.mark.parametrize("kind", ["process", "pool", "executor"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_client_is_handed_over(crew: Crew, server: FeatBitServer, method: str, kind: str) -> None:
    """Children of every start method evaluate at once with their parent's client, over its one connection, and
    their events arrive."""
    server.put_flag(flag("load", "string", ["one", "two"], serve="one"))
    command = [sys.executable, str(HERE / "starting.py"), crew.settings(), method, kind]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=150)

    assert {"results": [["one", False]] * 4, "leads": True} == json.loads(done.stdout)
    assert set() == crew.lacking([f"{method}-{kind}-{number}" for number in range(4)])
    assert 1 == len(server.connections)
