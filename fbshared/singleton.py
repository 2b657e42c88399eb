"""The one client of an application that wants no object of its own."""

from __future__ import annotations

import os
import sys
import threading

from fbshared.client import FBClient
from fbshared.config import Config, require_config
from fbshared.errors import ConfigError

__all__ = ["get", "set_config"]

_mutex = threading.Lock()
_config: Config | None = None
_client: FBClient | None = None


def set_config(config: Config) -> None:
    """Set the configuration that ``get`` uses. A client made with another one is stopped.

    Raises:
        ConfigError: it is no ``Config``.
    """
    global _config, _client
    require_config(config)
    with _mutex:
        before, _client, _config = _client, None, config
    if before is not None:
        before.stop()


def get() -> FBClient:
    """The client, made on first use. It waits for data as long as ``fbshared.start_wait`` says.

    Raises:
        ConfigError: ``set_config`` was not called.
    """
    global _client
    client = _client
    if client is not None:
        return client
    with _mutex:
        if _client is None:
            if _config is None:
                raise ConfigError("call set_config first")
            _client = FBClient(_config, start_wait=sys.modules["fbshared"].start_wait)
        return _client


def _after_in_child() -> None:
    """Another thread of the parent may have been making the client, and will never let go here."""
    global _mutex
    _mutex = threading.Lock()


os.register_at_fork(after_in_child=_after_in_child)
