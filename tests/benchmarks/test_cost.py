"""An evaluation costs what it cost before: counted, so that no machine and no load decides."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.cost import BASELINE, VERSION, baseline

ROOT = Path(__file__).parents[2]
TOLERATED = 0.02  # patch releases of an interpreter may compile a little differently
WRITE = "python -m tests.benchmarks.cost --write"

known = pytest.mark.skipif(not baseline(), reason=f"no baseline for Python {VERSION}, which is not supported yet")


def test_every_supported_interpreter_has_a_baseline() -> None:
    """The package's classifiers and the baseline name the same versions."""
    supported = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())

    assert supported == list(json.loads(BASELINE.read_text()))


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """In a process of its own: nothing else traces there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTHON"))}
    command = [sys.executable, "-m", "tests.benchmarks.cost", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, check=True)
    return json.loads(done.stdout)


@known
@pytest.mark.parametrize("what", ["instructions", "calls"])
def test_no_evaluation_costs_more(what: str, counted: Any) -> None:
    """No evaluation runs more instructions or calls more functions than the baseline says."""
    before = {work: cost[what] for work, cost in baseline().items()}
    more = {
        work: f"{before[work]} -> {cost[what]}"
        for work, cost in counted.items()
        if cost[what] > before[work] * (1 + TOLERATED)
    }

    assert {} == more, f"more {what} on {VERSION}; if it is worth it: {WRITE}"


@known
@pytest.mark.parametrize("what", ["instructions", "calls"])
def test_the_baseline_is_current(what: str, counted: Any) -> None:
    """The baseline has no room in which a later regression could hide."""
    before = {work: cost[what] for work, cost in baseline().items()}
    less = {
        work: f"{before[work]} -> {cost[what]}"
        for work, cost in counted.items()
        if cost[what] < before[work] * (1 - TOLERATED)
    }

    assert before.keys() == counted.keys()
    assert {} == less, f"fewer {what} on {VERSION}, well done: {WRITE}"
