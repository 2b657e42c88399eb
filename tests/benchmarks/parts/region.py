"""Shared directories of a benchmark's own, and what lies in them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def region() -> Iterator[Path]:
    """A shared directory of its own."""
    former = os.environ.get("FBSHARED_DIR")
    with tempfile.TemporaryDirectory(prefix="fbt-", dir=former or "/dev/shm") as directory:
        os.environ["FBSHARED_DIR"] = directory
        try:
            yield Path(directory)
        finally:
            if former is None:
                del os.environ["FBSHARED_DIR"]
            else:
                os.environ["FBSHARED_DIR"] = former


def occupied(directory: Path) -> float:
    """Bytes of all files below a directory."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_blocks * 512 if path.is_file() else 0
        except FileNotFoundError:
            continue
    return float(total)


def snapshot_and_rings(directory: Path) -> tuple[float, float]:
    """Bytes of the largest snapshot file, and of all rings and small files together."""
    sizes = {path: path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file()}
    snapshots = [size for path, size in sizes.items() if path.name.startswith("snapshot.")]
    return float(max(snapshots)), float(sum(sizes.values()) - sum(snapshots))
