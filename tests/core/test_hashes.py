"""The hashes are the standard ones, whatever module they come from."""

import hashlib
import importlib
import sys
from collections.abc import Iterator

import pytest

from fbshared.core import hashes


@pytest.fixture(params=["own modules", "hashlib"])
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """As it is, and in an interpreter that was built without modules of its own for them."""
    if request.param == "hashlib":
        for name in ("_md5", "_blake2"):
            monkeypatch.setitem(sys.modules, name, None)
        importlib.reload(hashes)
    yield hashes
    monkeypatch.undo()
    importlib.reload(hashes)


def test_md5(module: object) -> None:
    """It is the one of FeatBit's rollouts."""
    assert hashlib.md5(b"flag-1", usedforsecurity=False).digest() == hashes.md5(b"flag-1").digest()


def test_blake2b(module: object) -> None:
    """It is the one that names regions and sorts the index of a snapshot."""
    options = {"digest_size": 8, "salt": b"\x01", "person": b"fbshared"}

    assert hashlib.blake2b(b"flag-1", **options).digest() == hashes.blake2b(b"flag-1", **options).digest()  # type: ignore[arg-type]
