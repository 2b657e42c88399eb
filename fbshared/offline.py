"""What an offline client has instead of a membership: data of its own, in this process's memory.

Nothing is shared, opened or started. A forked child inherits the data with the rest of the process, and a pickled
client takes the text along; what is loaded later stays in the process that loads it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fbshared.core.evaluation import CompiledFlag
from fbshared.core.model import Dataset
from fbshared.errors import CorruptError, MessageError
from fbshared.gates import importing
from fbshared.shm.control import PUBLICATION, Control, SyncState, birth
from fbshared.shm.region import now_ms
from fbshared.shm.snapshot import Snapshot
from fbshared.view import Damaged, View, sound

__all__ = ["OfflineLife", "OfflineMember"]

if TYPE_CHECKING:
    from fbshared.config import Config
    from fbshared.member import Member

log = logging.getLogger("fbshared")


class OfflineMember:
    """Stands where a ``Member`` stands, see there.

    Attributes:
        text: the bootstrap that was loaded last.
    """

    leads = False

    def __init__(self) -> None:
        # In here, for who is online needs neither; and not where the bootstrap comes, which may be in a process that
        # has no descriptor left.
        with importing():
            from fbshared.core.wire import parse
            from fbshared.shm.packing import pack
        self._parse, self._pack = parse, pack
        self.cell = (1,)  # never empty: a child needs no membership of its own
        self.region = _Memory()
        self.words = self.region.control.words
        self.view = View()
        self.outbox = _Nowhere()
        self.users: set[int] = set()
        self.text: str | bytes | None = None

    def load_bootstrap(self, text: object) -> bool:
        """Evaluate from this data-sync message; False, and nothing has changed, where it is not understood."""
        try:
            if not isinstance(text, (str, bytes)):
                raise MessageError("not a text")
            message = self._parse(text)
            if message is None:
                raise MessageError("not a data-sync message")
        except MessageError as error:
            log.warning("the bootstrap is not used: %s", error)
            return False
        if message.rejected:
            count = len(message.rejected)
            log.warning("%d items of the bootstrap are not used, one because: %s", count, message.rejected[0])
        self._publish(Dataset.of(message.items), broken=len(message.rejected))
        self.text = text
        return True

    def run(self) -> None:
        """There is no lead to stand for."""

    def waits_in_vain(self) -> bool:
        """Whether no data comes by waiting."""
        return True

    def refresh(self) -> View:
        """The view; nobody else publishes."""
        return self.view

    def load(self, key: str) -> CompiledFlag | Damaged | None:
        """A flag that is used for the first time."""
        view = self.view
        return view.flags[key] if key in view.flags else view.load(key)

    def all_flags(self) -> tuple[dict[str, CompiledFlag], bool]:
        """Every flag, by key, and that these are all."""
        return sound(self.view.all()), True

    def report(self, word: int, error: CorruptError | OSError) -> None:
        """Nothing in this process's own memory is damaged by others."""

    def flush(self, timeout: float) -> bool:
        """There are no events."""
        return True

    def close(self, deadline: float) -> None:
        """There is nothing to leave."""

    def _publish(self, dataset: Dataset, *, broken: int) -> None:
        control = self.region.control
        word = self.view.word + 1
        content = b"".join(self._pack(dataset, word, control.identity, now_ms(), synced=True))
        snapshot = Snapshot(memoryview(content), word, control.identity)
        # The view first: who finds the word changed asks for the view.
        self.view = self.view.successor(word, control.identity, snapshot, lambda: snapshot)
        self.words[PUBLICATION] = word
        control.items_broken += broken
        control.data_version = dataset.cursor
        control.published_at = now_ms()  # and current for ever: nobody confirms it
        if control.sync_state != SyncState.OK:
            control.sync_state, control.sync_since = SyncState.OK, now_ms()


class _Memory:
    """A control page in private memory."""

    def __init__(self) -> None:
        self.control = Control.over(bytearray(birth((0, 0), now_ms())))


class _Nowhere:
    """An outbox that keeps nothing."""

    def __init__(self) -> None:
        self.failures = 0

    def count_failure(self) -> None:
        """Count an evaluation that failed."""
        self.failures += 1

    def put(self, *_: object) -> None:
        """Forget an event."""


class OfflineLife:
    """The part of a client that is for offline use."""

    _config: Config
    _member: Member | OfflineMember

    def is_offline(self) -> bool:
        """Whether it was configured to be offline."""
        return self._config.offline

    def initialize_from_external_json(self, json_str: str) -> bool:
        """Offline, evaluate from this bootstrap: the text of a data-sync message. It replaces what was there before,
        in this process, in children forked later and in pickled copies.

        Returns:
            Whether it is used; where it is not, the reason is in the log. Items that are not understood are left out.
        """
        if isinstance(self._member, OfflineMember):
            return self._member.load_bootstrap(json_str)
        log.warning("a bootstrap is used by an offline client only")
        return False

    def __setstate__(self, bootstrap: str) -> None:
        self.initialize_from_external_json(bootstrap)
