"""The benchmark's command works with whatever SDKs are installed, and what it writes can be read again."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=True).stdout


def test_its_command(tmp_path: Path) -> None:
    """It prints and writes a row for each work and contender; those that can't be imported are named."""
    path = tmp_path / "results.json"
    printed = run("--quick", "--only", ": boolean", "--json", str(path))
    written = json.loads(path.read_text())
    rows = [row for row in written["rows"] if row["work"] == "boolean, event"]

    assert ["fbshared, dict", "fbshared, FBUser"] == [row["contender"] for row in rows][:2]
    assert 7 == len(rows) + len(written["left_out"])
    assert all(0 < row["low"] <= row["median"] <= row["high"] for row in written["rows"] if row["ratio"])
    assert all(row["limit"] > 0 for row in rows if row["contender"].startswith("fbshared"))
    assert all(sentence in " ".join(printed.split()) for sentence in written["left_out"])
    assert {"evaluation", "threads"} == {row["benchmark"] for row in written["rows"]}
    assert printed == run("--redraw", str(path))


def test_equal_work() -> None:
    """Every contender that is installed answers all work with a value that is right, or nothing is measured."""
    printed = run("--quick", "--only", "evaluation: ")

    for work in (
        "rollout, event",
        "5 rules of 2 conditions",
        "segment of 10000, user last",
        "all flags of 1000, every value read",
    ):
        assert f"evaluation: {work}\n" in printed
