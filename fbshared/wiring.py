"""The way from a ``Config`` to the plain values that the layers below take."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fbshared import network
from fbshared.config import Config
from fbshared.core.wire import insight_url, latest_url
from fbshared.errors import RegionError
from fbshared.member import MemberSettings
from fbshared.shm import files
from fbshared.shm.region import region_digest
from fbshared.shm.ring import FOLLOWER, MAY_LEAD

if TYPE_CHECKING:
    from fbshared.leader.leadership import DutySettings

__all__ = ["duty_settings", "member_settings", "settings_word"]


def member_settings(config: Config) -> MemberSettings:
    """Where this configuration's region is, and how it is led.

    Raises:
        ConfigError: a file that a leader needs cannot be used.
        RegionError: the directory for the region, or that for the persisted copy, cannot be used.
    """
    lead = None
    if config.role == "auto":
        network.require_usable(config)
        _persistence(config)
        lead = lambda: duty_settings(config)  # noqa: E731 - it is a setting
    digest = _digest(config)
    return MemberSettings(config.root(), digest, config.events_max_in_queue, lead, settings_word(config))


def settings_word(config: Config) -> int:
    """What ``fbshared status`` compares between the members of a region (see ``shm.ring``).

    The settings that change what the region's processes get, depending on who leads: ``events_max_in_queue``, the
    flush interval, the retry delays, the stale limit, where a copy is kept, how data is got, and how both connections
    are made: timeouts, proxies' addresses, certificates' files, verification, and the names of the TLS options and of
    the headers. The role stands beside them. Not the values of TLS options and headers and no login, which are
    secrets or hold some; not ``defaults``, which are each process's own; not
    what makes the region another one: secret, URLs, directory.
    """
    http, socket = config.http, config.websocket
    proxy = urlsplit(http.http_proxy or "")
    content = (
        int(config.events_max_in_queue),
        *map(float, (config.events_flush_interval, config.events_retry_interval)),
        *map(float, (config.streaming_first_retry_delay, config.leader_stale_limit)),
        *map(float, (http.connect_timeout, http.read_timeout, socket.timeout)),
        *(proxy.scheme, proxy.hostname, proxy.port),
        *(http.ca_certs, http.cert_file, http.disable_ssl_verification),
        *(str(config.persistence_dir), config.sync, config.polling_url, float(config.polling_interval)),
        *(float(config.full_sync_interval), sorted(map(str.lower, config.headers))),
        *(socket.proxy_type, socket.proxy_host, str(socket.proxy_port), sorted(map(str, socket.sslopt or {}))),
    )
    digest = int(blake2b(repr(content).encode(), digest_size=7, person=b"fbshared-options").hexdigest(), 16)
    return digest << 2 | (MAY_LEAD if config.role == "auto" else FOLLOWER)


def duty_settings(config: Config) -> DutySettings:
    """What a leader needs; imports the leader's libraries."""
    from fbshared.leader.connection import ConnectionSettings
    from fbshared.leader.delivery import DeliverySettings
    from fbshared.leader.leadership import DutySettings
    from fbshared.leader.polling import PollSettings
    from fbshared.leader.sync import SyncSettings

    http = network.http_options(config)
    return DutySettings(
        sync=SyncSettings(
            url=config.streaming_url,
            secret=config.env_secret,
            connection=ConnectionSettings(**network.websocket_options(config)),
            mode=config.sync,
            polling=PollSettings(
                url=latest_url(config.polling_url or config.event_url), interval=config.polling_interval, **http
            ),
            first_retry=config.streaming_first_retry_delay,
            full_every=config.full_sync_interval,
        ),
        delivery=DeliverySettings(
            url=insight_url(config.event_url),
            flush_interval=config.events_flush_interval,
            first_retry=config.events_retry_interval,
            **http,
        ),
        stale_limit=config.leader_stale_limit,
        persistence=_persistence(config),
    )


def _digest(config: Config) -> str:
    return region_digest(config.env_secret, config.streaming_url.rstrip("/"), config.event_url.rstrip("/"))


def _persistence(config: Config) -> tuple[str, str] | None:
    """The directory of the persisted copy, made where it is missing, and the environment's digest."""
    if config.persistence_dir is None:
        return None
    path = os.path.abspath(config.persistence_dir)
    parent = os.path.dirname(path)
    try:
        os.makedirs(parent, mode=0o700, exist_ok=True)
    except OSError as error:
        raise RegionError(error.errno, f"cannot create the persistence directory: {error.strerror}", path) from error
    files.private_directory(path, "persistence directory")
    return path, _digest(config)
