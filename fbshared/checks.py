"""What a configuration refuses that is no plain value, and how one is shown."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import fields
from importlib.util import find_spec
from typing import Any

from fbshared.errors import ConfigError

__all__ = ["masked", "refuse_parts", "require_headers", "require_socks", "require_source", "tell_once"]

log = logging.getLogger("fbshared")

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
# What the library itself or the libraries below it must say.
_NO_HEADERS = frozenset(
    {"authorization", "connection", "content-encoding", "content-length", "content-type", "expect", "host"}
    | {"if-none-match", "origin", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
)
# What the options of FeatBit's own SDK that replace its parts are here.
_OTHERWISE = {
    "data_storage": "flags live in shared memory; where they come from is data_source",
    "update_processor_imp": "give a data_source",
    "event_processor_imp": "events reach FeatBit through the leader",
}


def refuse_parts(**given: object) -> None:
    """Refuse the options of FeatBit's own SDK that replace its parts, and name what to use instead."""
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{name} is not offered: {_OTHERWISE[name]}")


def require_source(value: object) -> None:
    """Raise ``ConfigError`` unless this is a ``DataSource`` or None."""
    if value is not None:
        name = getattr(value, "name", None)
        if not isinstance(name, str) or not name or not callable(getattr(value, "run", None)):
            raise ConfigError("data_source must have a name and a run method, see fbshared.sources")


def require_socks(name: str) -> None:
    """Refuse a SOCKS proxy where the extra is missing that both channels need for it."""
    if find_spec("python_socks") is None or find_spec("socks") is None:
        raise ConfigError(f"{name} names a SOCKS proxy, which needs an extra: pip install 'fbshared[socks]'")


def require_headers(name: str, value: object) -> None:
    """Texts by names of headers that are left to the application; no error shows a value."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} must be a Mapping, not a {type(value).__name__}")
    seen: set[str] = set()
    for header, text in value.items():
        if not isinstance(header, str) or not _HEADER_NAME.fullmatch(header):
            raise ConfigError(f"{name} holds a name that is no header's: {header!r}")
        if header.lower() in _NO_HEADERS or header.lower().startswith("sec-websocket-"):
            raise ConfigError(f"{name} may not replace {header}")
        if header.lower() in seen:
            raise ConfigError(f"{name} holds {header} twice")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable() or text != text.strip():
            raise ConfigError(f"{name} must hold printable ASCII text without spaces around it for {header}")
        seen.add(header.lower())


def masked(config: Any) -> str:
    """A configuration's fields without secrets, and without the logins that stand in URLs."""
    shown = []
    for each in fields(config):
        value = getattr(config, each.name)
        if each.name == "data_source" and value is not None:
            value = value.name
        if isinstance(value, str):
            value = re.sub(r"(?<=://)[^/?#]*@", "***@", value)
        if each.repr:
            shown.append(f"{each.name}={value!r}")
    return f"{type(config).__name__}({', '.join(shown)})"


_told: set[str] = set()


def tell_once(text: str) -> None:
    """Warn, but not again in this process."""
    if text not in _told:
        _told.add(text)
        log.warning("%s", text)
