"""Where data comes from, when it is not FeatBit's stream.

A data source is any object with a ``name`` and a ``run`` method. Only the leader runs it, in a thread of its own; all
processes of the host see what it hands over. A source that asks some service every minute::

    class Inventory:
        name = "inventory"

        def run(self, sink, stop):
            while not stop.is_set():
                sink.receive(requests.get(URL, timeout=5).content)
                stop.wait(60)

    Config(data_source=Inventory())

**Forks.** Before a fork ``run`` is told to stop, and waited for half a second; it is called again in the parent, and in
a child only when the child leads one day. So it opens what it needs after it was called, and closes that before it
returns. **Pickling.** A client that is handed to another process by pickling takes its source along, which must be
picklable then.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import KW_ONLY, dataclass
from typing import Protocol

from fbshared.core.hashes import blake2b
from fbshared.errors import ConfigError, MessageError

__all__ = ["DataSource", "FileDataSource", "FileWatch", "Sink", "Stop"]

_SETTLED_NS = 2_000_000_000  # a file may change twice within one tick of its clock


class Sink(Protocol):
    """Takes what a source has; to be used while ``run`` runs, in its thread or in others.

    Does nothing once the leadership is over, which ``Stop.is_set`` tells.
    """

    @property
    def cursor(self) -> int:
        """The newest ``updatedAt`` that is known, in milliseconds; 0 where a full is needed: before the first one, and
        where other processes may know more than this one."""

    def receive(self, message: str | bytes) -> None:
        """Publish what a data-sync message of FeatBit's form says: a full replaces everything, a patch adds what is
        newer than what is known of it. An item that is not understood is left out, counted and logged.

        Raises:
            MessageError: the message is not understood, or it is a patch while ``cursor`` is 0; nothing has changed.
        """

    def confirm(self) -> None:
        """Say that what was received last is still current."""

    def interrupted(self, reason: str) -> None:
        """Say that there is nothing new to be had; the former data stays in use. The reason is logged once, until
        data comes again."""


class Stop(Protocol):
    """When a source must come to its end."""

    def is_set(self) -> bool:
        """Whether ``run`` must return now."""

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; whether ``run`` must return now."""


class DataSource(Protocol):
    """A source of data.

    Attributes:
        name: what tells it from other sources, the same in all processes that share its data; no secret.
    """

    @property
    def name(self) -> str: ...

    def run(self, sink: Sink, stop: Stop) -> None:
        """Hand over data until ``stop`` is set. While it waits, what it handed over last counts as current.

        Returning earlier means that nothing more will come. An exception shows as an interruption, and ``run`` is
        called again after a while. A call that for 30 seconds neither waits for ``stop`` nor uses ``sink`` is taken
        for stuck: another process leads then, and this one may be called again beside the call that hangs.
        """


class FileWatch:
    """Notices when the content of a file changes; also when it is replaced, or a link on the way to it is."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._seen: tuple[int, int, int, int] | None = None
        self._digest = b""

    def changed(self) -> bytes | None:
        """The content, or None where it is what the last call found.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            found = os.stat(self._path)
            seen = found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
            if seen == self._seen and abs(time.time_ns() - found.st_mtime_ns) > _SETTLED_NS:
                return None
            with open(self._path, "rb") as file:
                content = file.read()
        except OSError:
            self._seen, self._digest = None, b""
            raise
        before, self._digest = self._digest, blake2b(content).digest()
        self._seen = seen
        return content if self._digest != before else None


@dataclass(frozen=True, slots=True)
class FileDataSource:
    """A bootstrap file, which is what FeatBit answers to a full data-sync; every change of it is published.

    A file that is missing or broken leaves the former data in use, and shows as an interruption.

    Attributes:
        path: the file; a relative path is taken from the directory that is current at the moment.
        interval: seconds between two looks at it.

    Raises:
        ConfigError: a value is refused.
    """

    path: str | os.PathLike[str]
    _: KW_ONLY
    interval: float = 1.0

    def __post_init__(self) -> None:
        try:
            usable = bool(self.path) and "\0" not in os.fspath(self.path)
            patient = 0 < self.interval < math.inf
        except TypeError:
            usable = patient = False
        if not usable or not patient:
            raise ConfigError("a FileDataSource needs a path, and an interval of seconds greater than 0")
        object.__setattr__(self, "path", os.path.abspath(self.path))

    @property
    def name(self) -> str:
        """The file's path; equal paths share one region."""
        return f"file:{self.path}"

    def run(self, sink: Sink, stop: Stop) -> None:
        """Read the file, and look for changes until ``stop`` is set."""
        watch = FileWatch(self.path)
        trouble = ""
        while not stop.is_set():
            before, trouble = trouble, self._look(watch, sink, trouble)
            if trouble and trouble == before:  # once is no trouble: somebody may be in the middle of writing it
                sink.interrupted(trouble)
            stop.wait(self.interval)

    def _look(self, watch: FileWatch, sink: Sink, trouble: str) -> str:
        """What is wrong with the file; empty when nothing is."""
        from fbshared.core.wire import parse_bootstrap  # the leader has it; nobody else needs it

        try:
            content = watch.changed()
            if content is not None:
                parse_bootstrap(content)
                sink.receive(content)
            elif trouble:
                return trouble
            else:
                sink.confirm()
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        except MessageError as error:
            return f"{self.path}: {error}"
        return ""
