"""The one client of an application that wants no object of its own.

Takes no lock: a child may be forked, in C too, while another thread makes the client, and a signal handler may ask
for it in the middle of that.
"""

from __future__ import annotations

import sys

from fbshared.client import FBClient
from fbshared.config import Config, require_config
from fbshared.errors import ConfigError

__all__ = ["get", "set_config"]


class _Choice:
    """A configuration, and the client that was made with it."""

    __slots__ = ("clients", "config")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clients: dict[None, FBClient] = {}


_choice: _Choice | None = None


def set_config(config: Config) -> None:
    """Set the configuration that ``get`` uses. A client made with another one is stopped.

    Raises:
        ConfigError: it is no ``Config``.
    """
    global _choice
    require_config(config)
    before, _choice = _choice, _Choice(config)
    if before is not None and None in before.clients:
        before.clients[None].stop()


def get() -> FBClient:
    """The client, made on first use. It waits for data as long as ``fbshared.start_wait`` says.

    Raises:
        ConfigError: ``set_config`` was not called.
    """
    while True:
        choice = _choice
        if choice is None:
            raise ConfigError("call set_config first")
        client = choice.clients.get(None)
        if client is not None:
            return client
        made = FBClient(choice.config, start_wait=sys.modules["fbshared"].start_wait)
        # Threads that come here together share a member; the first one's client stays.
        client = choice.clients.setdefault(None, made)
        if client is not made or choice is not _choice:
            made.stop()
        if choice is _choice:
            return client
