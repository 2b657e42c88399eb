"""The control page: one page of named words that every member maps.

Word 0 to 7 are written once, at the region's birth. The publication word has a cache line of its own: every
evaluation in every process loads it. Who writes: the leader, except ``epoch`` (a candidate that takes the lead),
``damaged`` (any member that read bad bytes, the value being the publication it read), ``events_lost`` (any member
that has no ring; members that count at the same moment may lose a count) and ``publication`` itself when the region
is given up (``RETIRED``, any member). Times are milliseconds of the wall clock; ``beat`` is a
counter, for clocks of different processes must not be compared.

==== ==================================================================================================
0    magic
1    layout
2-3  identity of the region, random
4    birth time
8    publication: epoch << 40 | generation of the newest snapshot; ``RETIRED`` when all must meet again
9    place of the newest record of the journal, which lies behind this page
16   epoch
17   beat: heartbeat counter
18   leader's process id
19   leader's start time, as the kernel counts it
20   leader's PID namespace; its process id means nothing in another one
24   sync state, see ``SyncState``
25   since when
26   sync error, see ``SyncError``
27   close code or HTTP status that belongs to the error
28   when the leader tries again
29   leaderships in a row that never connected
32   delivery state, see ``DeliveryState``
33   since when
34   HTTP status that belongs to it
35   when the leader tries again
40   data version: the cursor
41   when the data was last known to be current
42   when the newest snapshot was published
43   restored: 1 while the data is the persisted copy of an earlier time and no sync has confirmed it
44   when the newest full was received
45   transport of the newest connection, see ``Transport``
46   how long a leader that is well may confirm nothing, in milliseconds
48   damaged: a publication word that somebody could not read
49-  counters: connections, publications, events delivered, refused and lost, corrupt records, broken items
==== ==================================================================================================
"""

from __future__ import annotations

import enum

from fbshared.errors import CorruptError
from fbshared.shm.words import LARGEST, Word, WordPage, words_of

__all__ = [
    "CONTROL_SIZE",
    "JOURNAL",
    "LAYOUT",
    "PUBLICATION",
    "RETIRED",
    "Control",
    "DeliveryState",
    "SyncError",
    "SyncState",
    "Transport",
]

LAYOUT = 7  # changes with every byte format of this folder
CONTROL_SIZE = 4096
PUBLICATION = 8
JOURNAL = 9
RETIRED = LARGEST
_MAGIC = int.from_bytes(b"fbsharC1", "little")


class SyncState(enum.IntEnum):
    """What the leader's connection to FeatBit does."""

    STARTING = 0
    OK = 1
    INTERRUPTED = 2
    REFUSED = 3
    OFF = 4


class SyncError(enum.IntEnum):
    """Why sync is not OK."""

    NONE = 0
    NETWORK = 1
    CLOSED = 2  # the detail is the close code
    HANDSHAKE = 3  # the detail is the HTTP status
    SILENCE = 4
    REQUEST_REFUSED = 5  # close code 4003
    DATA = 6
    STORAGE = 7  # no room for the snapshot
    UNKNOWN = 8
    HTTP = 9  # a poll was refused; the detail is the HTTP status
    PROXY = 10  # the detail is the proxy's HTTP status
    SOURCE = 11  # a data source has nothing new to give; its reason is in the leader's log


class Transport(enum.IntEnum):
    """How the leader gets data."""

    NONE = 0
    STREAMING = 1
    POLLING = 2


class DeliveryState(enum.IntEnum):
    """What the leader's event delivery does."""

    IDLE = 0
    OK = 1
    RETRYING = 2
    PAUSED = 3


class Control(WordPage):
    """The control page over any buffer of ``CONTROL_SIZE`` bytes."""

    __slots__ = ()

    publication = Word(PUBLICATION)
    epoch = Word(16)
    beat = Word(17)
    leader_pid = Word(18)
    leader_start = Word(19)
    leader_namespace = Word(20)
    sync_state = Word(24)
    sync_since = Word(25)
    sync_error = Word(26)
    sync_detail = Word(27)
    sync_retry_at = Word(28)
    unreachable = Word(29)
    delivery_state = Word(32)
    delivery_since = Word(33)
    delivery_status = Word(34)
    delivery_retry_at = Word(35)
    data_version = Word(40)
    data_current_at = Word(41)
    published_at = Word(42)
    restored = Word(43)
    full_at = Word(44)
    transport = Word(45)
    longest_silence = Word(46)
    damaged = Word(48)
    connections = Word(49)
    publications = Word(50)
    events_delivered = Word(51)
    events_refused = Word(52)
    records_corrupt = Word(53)
    items_broken = Word(54)
    events_lost = Word(55)

    @classmethod
    def over(cls, buffer: bytearray | memoryview) -> Control:
        """The page in this buffer; ``CorruptError`` where it holds something else."""
        if len(buffer) < CONTROL_SIZE:
            raise CorruptError("the control page is too short")
        words = words_of(buffer, CONTROL_SIZE)
        if words[0] != _MAGIC or words[1] != LAYOUT:
            raise CorruptError("the control page is of another layout")
        return cls(words)

    @property
    def identity(self) -> tuple[int, int]:
        """The region's random identity."""
        return self.words[2], self.words[3]

    @property
    def born_at(self) -> int:
        """The region's birth, in milliseconds of the wall clock."""
        at: int = self.words[4]
        return at

    def retire(self) -> None:
        """Tell every process that still maps this page to meet again at the path."""
        self.words[PUBLICATION] = RETIRED


def birth(identity: tuple[int, int], now_ms: int) -> bytes:
    """The bytes of a new control page."""
    page = bytearray(CONTROL_SIZE)
    words = words_of(page, CONTROL_SIZE)
    words[0], words[1], words[2], words[3], words[4] = _MAGIC, LAYOUT, *identity, now_ms
    return bytes(page)
