"""What a sync published in a test."""

from __future__ import annotations

from fbshared.core.model import Dataset, Item
from fbshared.shm.packing import Difference


class Publications(list[Dataset]):
    """The datasets, in order. Whatever was said about how one differs from the one before is checked.

    Attributes:
        told: how often something was said.
    """

    told = 0

    def add(self, dataset: Dataset, difference: Difference | None) -> None:
        if difference is not None:
            assert difference.since is self[-1]
            assert _by_key(dataset) == _by_key(self[-1]) | {(item.kind, item.key): item for item in difference.items}
            self.told += 1
        self.append(dataset)


def _by_key(dataset: Dataset) -> dict[tuple[int, str], Item]:
    return {(item.kind, item.key): item for item in dataset.items()}
