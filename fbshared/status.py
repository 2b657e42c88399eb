"""What regions of this user look like, without being a member of any."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fbshared.config import default_root
from fbshared.errors import CorruptError
from fbshared.members import own_rings
from fbshared.shm import files
from fbshared.shm.control import CONTROL_SIZE, RETIRED, Control, DeliveryState, SyncError, SyncState, Transport
from fbshared.shm.region import GENERATION_BITS, pid_namespace, process_start, snapshot_name
from fbshared.shm.ring import CHUNK, FOLLOWER, HEADER, MAY_LEAD, Ring
from fbshared.shm.snapshot import Snapshot

__all__ = ["RegionStatus", "RingStatus", "read_regions"]

_HEARTBEATS = 0.5  # seconds, in which a living leader shows several
_ROLES = {MAY_LEAD: "auto", FOLLOWER: "follower"}


@dataclass(frozen=True, slots=True)
class RingStatus:
    """One ring: whose it is, and what waits in it.

    ``alive``: the owner still writes to it; ``pid`` is its number in its own PID namespace. ``role`` is its owner's;
    ``settings`` is a digest of its other settings, empty where it is unknown (``fbshared.wiring.settings_word`` says
    which count).
    """

    id: str
    pid: int
    alive: bool
    backlog_events: int
    backlog_bytes: int
    delivered: int
    dropped: int
    failed_evaluations: int
    capacity_bytes: int
    allocated_bytes: int
    role: str
    settings: str


@dataclass(frozen=True, slots=True)
class RegionStatus:
    """One region. Ages are seconds; None stands for "never".

    ``differing`` names the members whose settings are not those that the leader has, or, among followers, most of
    them: a follower and its leader may well differ, for most settings are the leader's business. ``transport`` is
    how data came last: ``streaming`` or ``polling``, ``none`` before there was any. ``restored``: the data is the
    persisted copy, and no sync has confirmed it since.
    """

    path: str
    identity: str
    leader_pid: int
    leader_alive: bool
    epoch: int
    published_epoch: int
    generation: int
    heartbeat: int
    sync_state: str
    sync_error: str
    sync_detail: int
    sync_since_s: float | None
    data_version: int
    data_age_s: float | None
    transport: str
    restored: bool
    published_age_s: float | None
    flags: int
    segments: int
    delivery_state: str
    delivery_status: int
    connections: int
    publications: int
    events_delivered: int
    events_refused: int
    events_lost: int
    records_corrupt: int
    items_broken: int
    members: tuple[int, ...]
    differing: tuple[int, ...]
    rings: tuple[RingStatus, ...]

    @property
    def well(self) -> bool:
        """Whether a living leader is in sync, and has published what it knows."""
        published = self.published_epoch == self.epoch  # at a takeover the state is the former leader's for a moment
        return self.leader_alive and published and self.sync_state == SyncState.OK.name.lower()

    def why_stale(self) -> str:
        """One sentence on what keeps this region's data from being current; empty when nothing does."""
        if self.well:
            return ""
        if not self.leader_alive:
            return "no process leads: start an application, or an agent"
        if self.sync_state == SyncState.REFUSED.name.lower():
            code = self.sync_detail or 4003
            causes = "wrong secret, wrong secret type, or clock off by over 30 s"
            return f"FeatBit refuses this environment ({code}): {causes}"
        if self.published_epoch != self.epoch:
            return "a new leader has not published yet"
        if self.sync_error == SyncError.SOURCE.name.lower():
            return "the data source gives no newer data; the reason is in the leader's log"
        detail = f" ({self.sync_detail})" if self.sync_detail else ""
        return f"the leader's connection is {self.sync_state}: {self.sync_error}{detail}"

    def to_json_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values."""
        return {**asdict(self), "well": self.well, "why_stale": self.why_stale()}


def read_regions(root: str | Path | None = None) -> list[RegionStatus]:
    """All regions of this user below ``root``; without one, ``$FBSHARED_DIR`` or the usual place."""
    # As members name it: ``_rings`` must know the rings of this process by their paths.
    base = os.path.realpath(root or os.environ.get("FBSHARED_DIR") or default_root())
    home = os.path.join(base, f"fbshared-{os.geteuid()}")
    try:
        names = sorted(os.listdir(home))
    except OSError:
        return []
    return [status for name in names if (status := _read(os.path.join(home, name))) is not None]


def _read(path: str) -> RegionStatus | None:
    try:
        control = Control.over(memoryview(files.read_only_map(os.path.join(path, "control")))[:CONTROL_SIZE])
    except (OSError, CorruptError):
        return None
    word = control.publication
    snapshot = _snapshot(path, word, control.identity)
    now = time.time()
    rings = tuple(_rings(path))
    pid = control.leader_pid
    alive = pid > 0 and _leader_lives(control)
    return RegionStatus(
        path=path,
        identity=f"{control.identity[0]:016x}{control.identity[1]:016x}",
        leader_pid=pid,
        leader_alive=alive,
        epoch=control.epoch,
        published_epoch=0 if word == RETIRED else word >> GENERATION_BITS,
        generation=0 if word == RETIRED else word & (1 << GENERATION_BITS) - 1,
        heartbeat=control.beat,
        sync_state=_name(SyncState, control.sync_state),
        sync_error=_name(SyncError, control.sync_error),
        sync_detail=control.sync_detail,
        sync_since_s=_age(control.sync_since, now),
        data_version=control.data_version,
        data_age_s=_age(control.data_current_at, now),
        transport=_name(Transport, control.transport),
        restored=bool(control.restored),
        published_age_s=_age(control.published_at, now),
        flags=0 if snapshot is None else snapshot.flags,
        segments=0 if snapshot is None else snapshot.segments,
        delivery_state=_name(DeliveryState, control.delivery_state),
        delivery_status=control.delivery_status,
        connections=control.connections,
        publications=control.publications,
        events_delivered=control.events_delivered,
        events_refused=control.events_refused,
        events_lost=control.events_lost,
        records_corrupt=control.records_corrupt,
        items_broken=control.items_broken,
        members=tuple(sorted({ring.pid for ring in rings if ring.alive} | ({pid} if alive else set()))),
        differing=_differing(rings, pid),
        rings=rings,
    )


def _differing(rings: Iterable[RingStatus], leader: int) -> tuple[int, ...]:
    """The living processes whose settings are not those of the leader or of most, role by role."""
    found: set[int] = set()
    for role in _ROLES.values():
        settings = {ring.pid: ring.settings for ring in rings if ring.alive and ring.role == role}
        counts = Counter(settings.values())
        # Of two that are as frequent, the one of the lowest process number: the answer must not change by chance.
        usual = max(sorted(settings), key=lambda pid: counts[settings[pid]], default=0)
        expected = settings.get(leader, settings.get(usual))
        found.update(pid for pid, its in settings.items() if its != expected)
    return tuple(sorted(found))


def _leader_lives(control: Control) -> bool:
    """Whether the leader's process is there; one in another PID namespace shows that by its heartbeat."""
    if control.leader_namespace in (0, pid_namespace()):
        return process_start(control.leader_pid) == control.leader_start
    beat, deadline = control.beat, time.monotonic() + _HEARTBEATS
    while control.beat == beat and time.monotonic() < deadline:
        time.sleep(0.01)
    return control.beat != beat


def _snapshot(path: str, word: int, identity: tuple[int, int]) -> Snapshot | None:
    if word in (0, RETIRED):
        return None
    try:
        return Snapshot(files.content_of(os.path.join(path, snapshot_name(word))), word, identity)
    except (OSError, CorruptError):
        return None


def _rings(path: str) -> Iterator[RingStatus]:
    own: Mapping[str, Ring] = own_rings()
    try:
        names = sorted(name for name in os.listdir(path) if name.startswith("ring."))
    except OSError:
        return
    for name in names:
        file = os.path.join(path, name)
        try:
            if file in own:
                # Opening it again and closing that would drop this process's owner lock.
                yield _ring_status(name, own[file], os.path.getsize(file))
            else:
                content = memoryview(files.read_only_map(file))
                yield _ring_status(name, _frozen(content), len(content), file)
        except (OSError, CorruptError):
            continue


def _frozen(content: memoryview) -> Ring:
    return Ring(content, lambda number: content[HEADER + number * CHUNK : HEADER + (number + 1) * CHUNK])


def _is_locked(path: str) -> bool:
    """Whether another process has the ring's owner lock."""
    file = files.map_file(path)
    try:
        return not files.lock_owner(file.fd)
    finally:
        file.close()


def _ring_status(name: str, ring: Ring, size: int, foreign: str = "") -> RingStatus:
    pid, start = ring.owner
    position, head, events = ring.tail, ring.head, 0
    while position < head:
        records, position, _ = ring.read(position, 1000)
        events += len(records)
    return RingStatus(
        id=name.partition(".")[2],
        pid=pid,
        alive=not ring.retired and (0 < start == process_start(pid) or (bool(foreign) and _is_locked(foreign))),
        backlog_events=events,
        backlog_bytes=ring.backlog(),
        delivered=ring.delivered,
        dropped=ring.dropped + ring.oversized,
        failed_evaluations=ring.failures,
        capacity_bytes=ring.most * CHUNK,
        allocated_bytes=size,
        role=_ROLES.get(ring.settings & 3, "unknown"),
        settings=f"{ring.settings >> 2:014x}" if ring.settings else "",
    )


def _name(kind: type[SyncState | SyncError | DeliveryState | Transport], value: int) -> str:
    try:
        return kind(value).name.lower()
    except ValueError:
        return "unknown"


def _age(at_ms: int, now: float) -> float | None:
    return round(max(now - at_ms / 1000, 0.0), 3) if at_ms else None
