"""The benchmark runs with its documented command, and measures evaluations that agree."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fbclient")


def test_its_command() -> None:
    """It prints a row for each case with and without its event, with the times of all contenders."""
    command = [sys.executable, "-m", "tests.benchmarks.evaluation", "--rounds", "1", "--json"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=50, check=True
    )
    rows = json.loads(done.stdout)["rows"]

    cases = ["boolean", "rollout", "rules"]
    assert [(case, event) for case in cases for event in (False, True)] == [(r["case"], r["event"]) for r in rows]
    assert all({"fbshared, dict", "fbshared, FBUser", "fb-python-sdk"} == row["ns"].keys() for row in rows)
    assert all(ns > 0 for row in rows for ns in row["ns"].values())
