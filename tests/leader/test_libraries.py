"""What a leader works with is imported by who leads, and by nobody else."""

import importlib.abc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fbshared
from fbshared import gates
from fbshared.leader import libraries

OF_A_LEADER = {"leadership", "sync", "feed", "connection", "polling", "delivery", "http", "persistence", "siblings"}
HEAVY = {"requests", "urllib3", "websocket"}
# What reads FeatBit's messages, and what publishes.
WRITING = ("core.items", "core.session", "core.wire", "shm.packing", "shm.publisher")
OF_WRITING = {f"fbshared.{name}" for name in WRITING}


class Broken(importlib.abc.MetaPathFinder):
    """An installation in which a module raises something when it is imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name in ("fbshared.leader.leadership", "fbshared.leader.delivery"):
            raise AttributeError("module 'lib' has no attribute 'X'")


def test_a_candidate_is_light() -> None:
    """None of the leader's modules, but those that lead, imports what talks to FeatBit."""
    names = {path.stem for path in (Path(fbshared.__file__).parent / "leader").glob("*.py")} - OF_A_LEADER
    imports = "\n".join(f"import fbshared.leader.{name}" for name in sorted(names - {"__init__"}))
    nothing = HEAVY | OF_A_LEADER | OF_WRITING
    code = f"import sys\n{imports}\nprint({nothing} & {{*sys.modules, *dir(fbshared.leader)}})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert {"duty", "candidacy", "election", "leaving", "settings"} <= names
    assert "set()\n" == done.stdout


@pytest.mark.parametrize("ask", [libraries.leadership, libraries.delivery])
def test_whatever_is_wrong_with_them(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an ``ImportError`` that names it, forks wait no longer, and a later try may succeed."""
    real = ask()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
        patched.delitem(sys.modules, real.__module__)
        with pytest.raises(ImportError) as caught:
            ask()

    assert "AttributeError: module 'lib' has no attribute 'X'" == str(caught.value)
    assert [] == gates._imports
    assert real is ask()
