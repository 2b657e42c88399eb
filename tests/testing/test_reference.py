"""The reference SDK takes the server for a FeatBit."""

import threading
from collections.abc import Iterator

import pytest

from fbshared.testing import FeatBitServer, bootstrap, flag

fbclient = pytest.importorskip("fbclient")

ADA = {"key": "ada", "name": "Ada"}


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(bootstrap([flag("dark-mode")])) as started:
        yield started


def test_the_reference_sdk_works_with_it(server: FeatBitServer) -> None:
    """It initializes, evaluates, sees a push, and its events arrive."""
    from fbclient.client import FBClient
    from fbclient.config import Config
    from fbclient.status_types import StateType

    client = FBClient(Config(server.secret, server.event_url, server.streaming_url), start_wait=10)
    seen, cut = threading.Event(), threading.Event()
    client.update_status_provider.add_listener(
        lambda state: cut.set() if state.state_type is StateType.INTERRUPTED else None
    )
    try:
        client.flag_tracker.add_flag_value_changed_listener(
            "dark-mode", ADA, lambda key, old, new: seen.set() if (old, new) == (True, False) else None
        )

        assert client.initialize
        assert client.variation("dark-mode", ADA, None) is True
        server.update_flag("dark-mode", isEnabled=False)
        assert seen.wait(10)
        assert client.variation("dark-mode", ADA, None) is False
        client.track_metric(ADA, "checkout", 2.5)
        client.flush()
        assert server.wait_for(lambda s: any(event.kind == "metric" for event in s.events))
    finally:
        # Its reader and its stop may wait for the same close frame: let the reader see an end first.
        server.stop()
        assert cut.wait(10)
        client.stop()
    sent = {event.payload["variation"]["value"] for event in server.events if event.kind == "variation"}
    assert {"true", "false"} == sent
    assert [0] == server.connections[0].cursors
