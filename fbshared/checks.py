"""What a configuration refuses that is no plain value, and how one is shown."""

from __future__ import annotations

import logging
import re
from dataclasses import fields
from typing import Any

from fbshared.errors import ConfigError

__all__ = ["masked", "refuse_parts", "require_source", "tell_once"]

log = logging.getLogger("fbshared")

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
