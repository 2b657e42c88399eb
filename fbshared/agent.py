"""The agent: a process that does nothing but be a leader.

For a service manager, a sidecar or uWSGI's ``--attach-daemon``: it runs in the foreground, logs to standard error,
tells a service manager when it is ready (``READY=1`` to ``$NOTIFY_SOCKET``), and ends cleanly on SIGTERM and SIGINT.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading

from fbshared.client import FBClient
from fbshared.config import Config
from fbshared.errors import ConfigError

__all__ = ["run_agent"]

log = logging.getLogger("fbshared.agent")

_LOOK = 0.1


def run_agent(config: Config) -> None:
    """Lead, or stand by while another process leads, until a signal ends it.

    Raises:
        ConfigError: it is to be offline.
        RegionError: the shared directory cannot be used.
    """
    if config.offline:
        raise ConfigError("offline must be false for an agent: it would lead nothing")
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with FBClient(config, start_wait=0) as client:
        log.info("the agent runs as process %d", os.getpid())
        while not stopping.wait(_LOOK) and not client.initialize:
            pass
        if client.initialize:
            log.info("ready: there is data to evaluate")
            _notify("READY=1")
        stopping.wait()
        log.info("stopping")
        _notify("STOPPING=1")


def _notify(state: str) -> None:
    """Tell the service manager, if there is one; the name of an abstract socket begins with @."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.connect("\0" + address[1:] if address.startswith("@") else address)
            manager.sendall(state.encode())
    except OSError as error:
        log.warning("the service manager cannot be told %s: %s", state, error)
