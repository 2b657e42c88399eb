"""What a leader needs to know: plain values, which a candidate keeps until it is elected.

So nothing here imports what only a leader works with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fbshared.sources import DataSource

__all__ = [
    "AGAIN",
    "ConnectionSettings",
    "DeliverySettings",
    "DutySettings",
    "HTTPSettings",
    "Mode",
    "PollSettings",
    "SyncSettings",
]

AGAIN = (300.0, 3600.0)  # seconds between two tries of a websocket while polling
Mode = Literal["auto", "streaming", "polling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPSettings:
    """Where requests go, and how; times in seconds."""

    url: str = field(repr=False)  # may hold a login
    secret: str = field(repr=False)
    user_agent: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool | str = True
    cert: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """How the websocket is reached; times in seconds."""

    user_agent: str
    timeout: float = 5.0
    sslopt: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: Mapping[str, Any] = field(default_factory=dict, repr=False)
    largest_message: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PollSettings(HTTPSettings):
    """Where all data can be had by HTTP, and how often it is asked for; times in seconds."""

    interval: float = 30.0
    again: tuple[float, float] = AGAIN
    largest_message: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSettings:
    """Where data comes from; times in seconds.

    Attributes:
        polling: how to poll; None where only a websocket will do.
        full_every: everything is asked for again after about so long.
    """

    url: str = field(repr=False)  # may hold a login
    secret: str = field(repr=False)
    connection: ConnectionSettings
    mode: Mode = "auto"
    polling: PollSettings | None = None
    first_retry: float = 1.0
    source: DataSource | None = None  # instead of the url; see ``leader.feed``
    full_every: float = 14_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings(HTTPSettings):
    """How events reach FeatBit; times in seconds."""

    flush_interval: float = 1.0
    first_retry: float = 0.1
    longest_retry: float = 30.0
    refused_pause: float = 300.0  # after a refusal that concerns all events


@dataclass(frozen=True, slots=True, kw_only=True)
class DutySettings:
    """What a member needs that may lead; times in seconds.

    Attributes:
        stale_limit: without a heartbeat for so long, a leader is replaced.
        offer_after: without a connection for so long, a leader offers the lead to others; doubles with each leader
            in a row that could not connect, up to 64 times as long.
        offer_pause: how long the one that offered stands back.
        settled_age: a younger process, which may be gone in a moment, leads only if no older one does.
        persistence: directory and digest of the copy that outlives a reboot; None for none.
    """

    sync: SyncSettings
    delivery: DeliverySettings
    stale_limit: float = 10.0
    offer_after: float = 30.0
    offer_pause: float = 2.0
    settled_age: float = 5.0
    persistence: tuple[str, str] | None = None
