"""Kills this process at a named step of leading: the places where a death could leave something half done."""

import os
import signal
from collections.abc import Callable
from typing import Any

from fbshared.leader.rings import Rings
from fbshared.shm import files
from fbshared.shm.control import Control
from fbshared.shm.publisher import Publisher
from fbshared.shm.ring import Ring


def die() -> None:
    """End at once, as by the kernel's out-of-memory killer."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(step: str) -> None:
    """Die when this process comes to the step for the next time."""
    _ARMS[step]()


def _before(owner: Any, name: str) -> None:
    setattr(owner, name, lambda *args, **options: die())


def _after(owner: Any, name: str, when: Callable[[Any], bool] = lambda result: True) -> None:
    call = getattr(owner, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        result = call(*args, **options)
        if when(result):
            die()
        return result

    setattr(owner, name, wrapped)


def _inside(owner: Any, name: str, arm_inner: Callable[[], None]) -> None:
    """Arm a step that is meant only where it is a part of this call."""
    call = getattr(owner, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        arm_inner()
        return call(*args, **options)

    setattr(owner, name, wrapped)


def _half_written() -> None:
    def write_half(fd: int, parts: Any) -> None:
        content = b"".join(parts)
        os.write(fd, content[: len(content) // 2])
        die()

    files.write_all = write_half


def _after_store(page: type, word: str) -> None:
    """Die behind the store of a shared word, the first thing that others can see."""
    descriptor = page.__dict__[word]

    class Deadly:
        def __get__(self, instance: Any, owner: Any) -> Any:
            return descriptor.__get__(instance, owner)

        def __set__(self, instance: Any, value: int) -> None:
            descriptor.__set__(instance, value)
            die()

    setattr(page, word, Deadly())


def _part_of_a_batch() -> None:
    """Die between two rings of one batch; a batch of one ring goes by."""
    accept = Rings.accept

    def wrapped(self: Rings, batch: Any) -> None:
        if len({id(entry.followed) for entry in batch}) > 1:
            _after(Ring, "advance")
        accept(self, batch)

    Rings.accept = wrapped  # type: ignore[method-assign]


_ARMS: dict[str, Callable[[], None]] = {
    "before the new file is made": lambda: _inside(files, "replace", lambda: _before(files, "temporary")),
    "when the new file is made": lambda: _inside(files, "replace", lambda: _after(files, "temporary")),
    "when half of the new file is written": lambda: _inside(files, "replace", _half_written),
    "before the new file gets its name": lambda: _before(os, "rename"),
    "when the new file has its name": lambda: _after(os, "rename"),
    "when the word is stored": lambda: _after_store(Control, "publication"),
    "when an old snapshot is removed": lambda: _inside(Publisher, "_remove_older", lambda: _after(files, "remove")),
    "when the ring of a dead process is locked": lambda: _inside(
        Rings, "_attend", lambda: _after(files, "lock_owner", bool)
    ),
    "when the ring of a dead process is retired": lambda: _after_store(Ring, "retired"),
    "before the ring of a dead process is removed": lambda: _before(Rings, "_forget"),
    "when the ring of a dead process is removed": lambda: _inside(Rings, "_forget", lambda: _after(files, "remove")),
    "before a batch is accepted": lambda: _before(Rings, "accept"),
    "when a part of a batch is accepted": _part_of_a_batch,
    "when a batch is accepted": lambda: _after(Rings, "accept"),
}
