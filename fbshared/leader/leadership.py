"""One leadership: all that a leader holds from its election to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from fbshared.core.model import Dataset
from fbshared.errors import CorruptError, MessageError
from fbshared.leader.delivery import Delivery
from fbshared.leader.election import Term, remove_old_locks
from fbshared.leader.feed import Feed
from fbshared.leader.persistence import Persistence, Restored
from fbshared.leader.rings import Rings
from fbshared.leader.settings import DutySettings
from fbshared.leader.siblings import Siblings
from fbshared.leader.sync import Sync
from fbshared.leader.wake import Wake
from fbshared.leader.workers import DELIVERY, PERSISTENCE, SYNC
from fbshared.shm import files
from fbshared.shm.bell import Bell
from fbshared.shm.control import RETIRED, Control, SyncState
from fbshared.shm.packing import Difference
from fbshared.shm.publisher import Publisher
from fbshared.shm.region import OwnRing, Region, booted_at_ms, now_ms

__all__ = ["Leadership"]

log = logging.getLogger("fbshared.leader")


class Leadership:
    """All that one term holds: lock, publisher, connection, rings, bell."""

    def __init__(
        self,
        region: Region,
        term: Term,
        settings: DutySettings,
        own_rings: Callable[[], Mapping[str, OwnRing | None]],
        seed: tuple[Dataset, bool],
    ) -> None:
        self.region = region
        self.term = term
        self.bell = Bell(region)
        self.siblings = Siblings(region)
        self.publisher = Publisher(region, term.epoch)
        self.rings = Rings(region, term.epoch, own_rings)
        control = region.control
        self.persistence: Persistence | None = None
        if settings.persistence is not None:
            directory, digest = settings.persistence
            self.persistence = Persistence(directory, digest, lambda: control.data_current_at, term.holds)
        published = _published(region)
        dataset, synced = published or seed
        if not synced and self.persistence is not None and (restored := self.persistence.load()) is not None:
            dataset, synced = _shown(restored, control), True
        behind = synced and published is None and _is_older(dataset, control)
        if behind:
            log.warning("others may have newer data: what is known here is not published before FeatBit has answered")
        self._restored = dataset if control.restored else None  # what is on the disk already
        if control.sync_state == SyncState.OK:
            control.sync_since = now_ms()
            control.sync_state = SyncState.INTERRUPTED if synced else SyncState.STARTING
        kind = Sync if settings.sync.source is None else Feed
        self.sync = kind(settings.sync, dataset, self._publish, control, term.holds, synced=synced, behind=behind)
        self.delivery = Delivery(settings.delivery, self.rings, self.bell, control, term.holds)
        if synced:
            # Under the new epoch's name, so that every file has one owner.
            self.sync.republish()

    def _publish(self, dataset: Dataset, synced: bool, difference: Difference | None) -> None:
        self.publisher.publish(dataset, synced=synced, difference=difference)
        if self.persistence is not None and dataset is not self._restored:
            self.persistence.offer(dataset)

    def bodies(self) -> dict[str, Callable[[Wake], None]]:
        """What runs in a thread of its own, by thread name."""
        found: dict[str, Callable[[Wake], None]] = {SYNC: self.sync.run, DELIVERY: self.delivery.run}
        if self.persistence is not None:
            found[PERSISTENCE] = self.persistence.run
        return found

    def tick(self, now: float) -> None:
        """Show that both duties are alive."""
        if now < self.sync.healthy_until and now < self.delivery.healthy_until:
            self.region.control.beat += 1

    def keep_house(self, now: float) -> None:
        """Repair and remove what others left."""
        if not self.publisher.heal():
            self.sync.republish()
        files.sweep(self.region.path)
        remove_old_locks(self.region, self.term.epoch)
        self.siblings.look(now)

    def unreachable_for(self, now: float) -> float:
        """Seconds since it was last in sync; 0 while it is, or while FeatBit refuses everybody anyway."""
        if self.region.control.sync_state == SyncState.REFUSED:
            return 0.0
        return max(now - self.sync.failing_since, 0.0)

    def end(self) -> None:
        """Close everything; the next leader may begin."""
        self.sync.close()
        self.rings.close()
        self.bell.close()
        self.term.give_back()

    def abandon(self) -> None:
        """Let go of the connection and the lead while a request still hangs; the request's thread closes the rest."""
        self.term.resign()
        self.sync.drop()
        self.term.give_back()

    def drop(self) -> None:
        """In a forked child: close the copies of descriptors, and touch nothing that is shared."""
        self.sync.drop()
        self.rings.close()
        self.bell.close()
        self.term.close()


def _shown(restored: Restored, control: Control) -> Dataset:
    """The restored data, with its age shown to all, unless they have newer data."""
    age = max(now_ms() - restored.current_at, 0) / 1000
    log.info("beginning with the persisted data, which was current %d s ago", age)
    if not _is_older(restored.dataset, control):
        control.data_current_at, control.restored = restored.current_at, 1
    return restored.dataset


def _is_older(dataset: Dataset, control: Control) -> bool:
    """Whether some process may have something newer; none has where the machine was started after it was published."""
    return dataset.cursor < control.data_version and control.published_at >= booted_at_ms()


def _published(region: Region) -> tuple[Dataset, bool] | None:
    """The data of the current snapshot; None where there is none that can be believed in full."""
    for _ in range(3):
        word = region.control.publication
        if word in (0, RETIRED):
            return None
        try:
            snapshot = region.snapshot(word)
            items = tuple(snapshot.items())
        except FileNotFoundError:
            continue
        except (CorruptError, MessageError, UnicodeDecodeError, OSError) as error:
            log.warning("the published snapshot is not used: %s", error)
            return None
        dataset, _ = Dataset({}, {}, snapshot.cursor).merge(items)
        return dataset, snapshot.synced
    return None
