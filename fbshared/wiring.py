"""The way from a ``Config`` to the plain values that the layers below take."""

from __future__ import annotations

import logging
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from fbshared import network
from fbshared.config import Config
from fbshared.core.addresses import insight_url, latest_url
from fbshared.core.hashes import blake2b
from fbshared.errors import RegionError
from fbshared.member import Member, MemberSettings
from fbshared.shm import files
from fbshared.shm.region import region_digest
from fbshared.shm.ring import FOLLOWER, MAY_LEAD

if TYPE_CHECKING:
    from fbshared.leader.settings import DutySettings

__all__ = ["compare", "duty_settings", "member_settings", "settings_word"]

log = logging.getLogger("fbshared")

# Not shared, or part of what makes a region: URLs that differ by a slash only are the same.
_EACH_ITS_OWN = ("defaults", "directory", "event_url", "streaming_url", "data_source")


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
    silent = not config.event_url
    shown = settings_word(config)
    return MemberSettings(config.root(), _digest(config), config.events_max_in_queue, lead, shown, silent)


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


_first: WeakKeyDictionary[Member, Config] = WeakKeyDictionary()
_told: set[tuple[str, ...]] = set()


def compare(member: Member, config: Config) -> None:
    """Warn where a client finds a member that was made with other settings, which hold for both clients."""
    names = _differing(_first.setdefault(member, config), config)
    if names and (member.settings.digest, *names) not in _told:
        _told.add((member.settings.digest, *names))
        log.warning(
            "this process has a client of the same environment with other settings, which hold for this one too: %s",
            ", ".join(names),
        )


def _differing(first: Any, second: Any, prefix: str = "") -> list[str]:
    """The names of the fields that two configurations of one region differ in, except those that each client keeps."""
    names: list[str] = []
    for each in fields(first):
        one, other = getattr(first, each.name), getattr(second, each.name)
        if each.name in ("http", "websocket"):
            names += _differing(one, other, f"{each.name}.")
        elif each.name not in _EACH_ITS_OWN and one != other:
            names.append(prefix + each.name)
    return names


def duty_settings(config: Config) -> DutySettings:
    """What a leader needs."""
    from fbshared.leader import settings  # no business of a process that never leads

    http = network.http_options(config)
    return settings.DutySettings(
        sync=settings.SyncSettings(
            url=config.streaming_url,
            secret=config.env_secret,
            connection=settings.ConnectionSettings(**network.websocket_options(config)),
            mode=config.sync,
            polling=settings.PollSettings(
                url=latest_url(config.polling_url or config.event_url), interval=config.polling_interval, **http
            ),
            first_retry=config.streaming_first_retry_delay,
            source=config.data_source,
            full_every=config.full_sync_interval,
        ),
        delivery=settings.DeliverySettings(
            url=insight_url(config.event_url),
            flush_interval=config.events_flush_interval,
            first_retry=config.events_retry_interval,
            **http,
        ),
        stale_limit=config.leader_stale_limit,
        persistence=_persistence(config),
    )


def _digest(config: Config) -> str:
    source = config.data_source
    origin = config.streaming_url.rstrip("/") if source is None else f"source {source.name}"
    secret = config.env_secret if config.event_url else ""  # not needed, so who has one meets who has none
    return region_digest(secret, origin, config.event_url.rstrip("/"))


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
