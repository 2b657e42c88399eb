"""The protocol of one websocket connection: messages in, messages out; the clock is passed in as seconds."""

from __future__ import annotations

import math

from fbshared.core.model import Dataset, Item
from fbshared.core.wire import PING, SyncMessage, data_sync, parse
from fbshared.errors import MessageError

DOUBT = 5.0  # seconds until an empty environment is asked for again


class SessionOver(Exception):  # noqa: N818 - an end, not an error
    """This connection is of no use any more; the message says why."""


class Session:
    """What one connection knows, and what it has to say next.

    ``dataset`` is what is known now. ``answered`` turns true with the answer to this connection's data-sync,
    ``synced`` when with that answer the dataset is the whole environment. ``rejected`` counts messages and items
    that were refused, ``rejection`` is the last reason, ``ignored`` counts messages that mean nothing here, ``fulls``
    those that replaced everything. ``full_at`` may be moved: an answered session asks for a full then, on the same
    connection, so that a patch that was lost and a deletion, which is never sent, are known in the end.

    Args:
        dataset: what is known from before.
        now: the clock when the connection was opened.
        synced: the dataset comes from a full, so a patch is enough.
        full: ask for a full all the same, at once.
        overlap_ms: how far behind the cursor a patch begins, because items can appear out of order.
        ping_every: seconds between pings.
        silence_limit: seconds without any message after which the connection counts as dead.
        answer_limit: seconds without an answer after which data-sync is asked again, and once more over.
    """

    def __init__(
        self,
        dataset: Dataset,
        now: float,
        *,
        synced: bool,
        full: bool = False,
        overlap_ms: int = 60_000,
        ping_every: float = 15.0,
        silence_limit: float = 45.0,
        answer_limit: float = 10.0,
    ) -> None:
        self.dataset = dataset
        self.synced = False
        self.answered = False
        self.rejected = 0
        self.rejection = ""
        self.ignored = 0
        self.fulls = 0
        self.full_at = math.inf
        self._whole = synced  # whether the dataset is an environment and not a part of one
        self._awaits_full = full or not synced
        self._cursor = dataset.cursor
        self._request = data_sync(0 if self._awaits_full else max(1, dataset.cursor - overlap_ms))
        self._ping_every = ping_every
        self._silence_limit = silence_limit
        self._answer_limit = answer_limit
        self._heard = now
        self._pinged = now
        self._asked: float | None = now  # since when an answer is awaited
        self._repeated = False  # and whether it was asked for twice
        self._unsure = False  # and whether a patch came that may be it
        self._doubted: float | None = None  # since when an empty full is not believed
        self._meanwhile: list[Item] = []  # patched while a full was awaited

    def opening(self) -> str:
        """The first message to send."""
        return self._request

    def received(self, text: str | bytes, now: float) -> tuple[Item, ...]:
        """Take a message: the items that are different now; one that a full no longer has is a tombstone here."""
        self._heard = now
        try:
            message = parse(text)
        except MessageError as error:
            self.rejected += 1
            self.rejection = str(error)
            return ()
        if message is None:
            self.ignored += 1
            return ()
        if message.rejected:
            self.rejected += len(message.rejected)
            self.rejection = message.rejected[-1]
        return self._replace(message, now) if message.full else self._patch(message)

    def due(self, now: float) -> list[str]:
        """The messages to send now.

        Raises:
            SessionOver: the service is silent, or does not answer data-sync.
        """
        if now - self._heard >= self._silence_limit:
            raise SessionOver("nothing received for too long")
        messages = []
        if self._asked is not None:
            waited = now - self._asked
            if waited >= 2 * self._answer_limit:
                raise SessionOver("no answer to data-sync")
            if not self._repeated and (self._unsure or waited >= self._answer_limit):
                self._repeated = True
                messages.append(self._request)
        if self._asked is None and now >= self._full_due():
            self.full_at = math.inf
            self._request = data_sync(0)
            self._asked, self._repeated, self._unsure = now, False, False
            messages.append(self._request)
        if now - self._pinged >= self._ping_every:
            self._pinged = now
            messages.append(PING)
        return messages

    def next_due(self, now: float) -> float:
        """Seconds until there is something due."""
        times = [self._heard + self._silence_limit, self._pinged + self._ping_every]
        if self._asked is not None:
            if self._unsure and not self._repeated:
                return 0.0
            times.append(self._asked + self._answer_limit * (2 if self._repeated else 1))
        else:
            times.append(self._full_due())
        return max(0.0, min(times) - now)

    def _full_due(self) -> float:
        """When everything is asked for again."""
        return self.full_at if self._doubted is None else self._doubted + DOUBT

    def _patch(self, message: SyncMessage) -> tuple[Item, ...]:
        if self._asked is not None:
            self._meanwhile.extend(message.items)
        if not self._whole:
            return ()  # part of an environment is none: it waits for the full
        self.dataset, changed = self.dataset.merge(message.items)
        if not self.answered and not self._awaits_full:
            if self._is_answer(message):
                self._answer()
            else:
                self._unsure = True
        return changed

    def _is_answer(self, message: SyncMessage) -> bool:
        """Whether a patch is the answer and not a push that overtook it.

        A push is exactly one item, newer than what we have. An answer begins behind the cursor, so as a rule it
        also has something old. When unsure we ask once more, and then any patch will do.
        """
        count = len(message.items) + len(message.rejected)
        return self._repeated or count != 1 or any(item.version <= self._cursor for item in message.items)

    def _replace(self, message: SyncMessage, now: float) -> tuple[Item, ...]:
        if not message.items and _living(self.dataset) and self._doubted is None:
            # A service that fills its cache may answer with nothing; twice the same is the truth.
            self._asked, self._doubted, self._awaits_full = None, now, True
            return ()
        before = self.dataset
        # A push can overtake the full that was read before it happened.
        self.dataset = Dataset.of(message.items).merge(self._meanwhile)[0]
        self._whole, self._awaits_full = True, False
        self.fulls += 1
        self._answer()
        return _differences(before, self.dataset)

    def _answer(self) -> None:
        self.answered = self.synced = True
        self._asked = self._doubted = None
        self._meanwhile.clear()


def _living(dataset: Dataset) -> bool:
    return any(not item.archived for item in dataset.items())


def _differences(before: Dataset, after: Dataset) -> tuple[Item, ...]:
    changed = []
    tables = ((before.flags, after.flags), (before.segments, after.segments))
    for old, new in tables:
        changed += [item for key, item in new.items() if old.get(key) != item]
        gone = [item for key, item in old.items() if key not in new and not item.archived]
        changed += [Item(item.kind, item.key, item.version, True, b"") for item in gone]
    return tuple(changed)
