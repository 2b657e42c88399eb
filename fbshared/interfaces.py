"""What an application may implement, under the reference's names."""

from __future__ import annotations

from abc import ABC, abstractmethod

__all__ = ["Notice"]


class Notice(ABC):
    """Tells a listener in this process that something happened; nothing is sent to FeatBit."""

    @property
    @abstractmethod
    def notice_type(self) -> str:
        """What kind of thing happened."""
