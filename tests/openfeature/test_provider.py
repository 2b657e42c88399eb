"""The provider beyond the scenarios: whose client it is, what it tolerates, how many threads it has."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode
from openfeature.provider import ProviderStatus
from openfeature.track import TrackingEventDetails

from fbshared import Config, ConfigError, FBClient
from fbshared.openfeature import FeatBitProvider
from fbshared.testing import FeatBitServer, segment
from tests.openfeature.conftest import has_status
from tests.waiting import eventually

ADA = EvaluationContext("ada")


def watching() -> int:
    return sum(thread.name == "fbshared-watcher" for thread in threading.enumerate())


def test_a_client_stays_the_applications(config: Config, server: FeatBitServer) -> None:
    """A client that was given is used and not stopped; what was asked and tracked through it arrives."""
    with FBClient(config) as mine:
        provider = FeatBitProvider(mine)
        api.set_provider_and_wait(provider)
        assert api.get_client().get_boolean_value("boolean-flag", False, ADA)
        api.shutdown()

        assert provider.client is mine
        assert eventually(lambda: not watching())
        assert mine.variation("string-flag", {"key": "ada", "name": "Ada"}) == "hi"
        assert server.wait_for(lambda s: s.event_count == 2)


def test_a_client_of_a_configuration_is_stopped(config: Config, server: FeatBitServer) -> None:
    """A client that the provider made is stopped with it, and the connection is closed."""
    provider = FeatBitProvider(config)
    assert provider.client is None
    api.set_provider_and_wait(provider)
    assert provider.client is not None
    assert 1 == server.open_connections
    api.shutdown()

    assert provider.client is None
    assert server.wait_for(lambda s: s.open_connections == 0)


def test_two_domains_share_one_connection(config: Config, server: FeatBitServer) -> None:
    """Providers of one environment share its region, and each ends for itself."""
    api.set_provider_and_wait(FeatBitProvider(config), "one")
    api.set_provider_and_wait(FeatBitProvider(config), "two")
    api.set_provider_and_wait(FeatBitProvider(config), "one")
    clients = [api.get_client("one"), api.get_client("two")]

    assert [True, True] == [client.get_boolean_value("boolean-flag", False, ADA) for client in clients]
    assert 1 == watching()
    assert 1 == server.max_open_connections


@pytest.mark.parametrize("source", [None, "secret", {}, FeatBitProvider])
def test_a_wrong_source(source: Any) -> None:
    """What is neither client nor configuration is refused."""
    with pytest.raises(ConfigError, match="Config"):
        FeatBitProvider(source)


@pytest.mark.parametrize("start_wait", [None, "1", math.nan, math.inf, True])
def test_a_wrong_start_wait(config: Config, start_wait: Any) -> None:
    """A waiting time that is no number is refused by its name."""
    with pytest.raises(ConfigError, match="start_wait"):
        FeatBitProvider(config, start_wait=start_wait)


def test_a_shutdown_during_initialization(config: Config, server: FeatBitServer) -> None:
    """Shut down while it waits for data, it waits no more and leaves nothing behind."""
    server.stall()
    provider = FeatBitProvider(config, start_wait=60)
    api.set_provider(provider)
    assert eventually(lambda: provider.client)
    api.shutdown()

    assert provider.client is None
    assert eventually(lambda: not any(thread.name in ("fbshared", "fbshared-watcher") for thread in threads()))


def threads() -> list[threading.Thread]:
    return threading.enumerate()


def test_initialized_twice(config: Config, server: FeatBitServer) -> None:
    """The client of the first initialization is stopped, and there is one thread that listens."""
    provider = FeatBitProvider(config)
    provider.initialize(EvaluationContext())
    first = provider.client
    provider.initialize(EvaluationContext())
    second = provider.client
    assert first is not None
    assert second is not None
    first.track_metric({"key": "ada", "name": "Ada"}, "unsent")
    second.track_metric({"key": "ada", "name": "Ada"}, "sent")
    assert server.wait_for(lambda s: s.event_count > 0)
    provider.shutdown()

    assert ["sent"] == [event.payload["eventName"] for event in server.events]
    assert eventually(lambda: not watching())


def test_a_stopped_client(config: Config) -> None:
    """Where the application stops its own client under the provider, that is an error, and flags keep their value."""
    mine = FBClient(config)
    api.set_provider_and_wait(FeatBitProvider(mine))
    mine.stop()

    assert has_status(api.get_client(), ProviderStatus.ERROR)
    assert api.get_client().get_boolean_value("boolean-flag", False, ADA)


def test_not_initialized(config: Config) -> None:
    """Asked directly before it is initialized, it answers the default, and tracking does nothing."""
    provider = FeatBitProvider(config)
    details = provider.resolve_string_details("string-flag", "default", ADA)
    provider.track("purchase", ADA)

    assert ("default", ErrorCode.PROVIDER_NOT_READY) == (details.value, details.error_code)


class Evil(dict[str, Any]):
    """Raises when it is looked at."""

    def get(self, *_: object) -> Any:
        raise RuntimeError("secret")

    items = get


def test_an_evil_context(client: OpenFeatureClient, caplog: pytest.LogCaptureFixture) -> None:
    """Attributes that raise give the default and no exception, and their text reaches no log."""
    details = client.provider.resolve_boolean_details("boolean-flag", False, EvaluationContext("ada", Evil()))
    client.provider.track("purchase", EvaluationContext("ada", Evil()))

    assert (False, ErrorCode.GENERAL) == (details.value, details.error_code)
    assert "secret" not in caplog.text


def test_configured_defaults_play_no_part(config: Config) -> None:
    """On an error the default of the call is the answer, as everywhere in OpenFeature."""
    api.set_provider_and_wait(FeatBitProvider(replace(config, defaults={"no-such-flag": True})))
    details = api.get_client().get_boolean_details("no-such-flag", False, ADA)

    assert (False, ErrorCode.FLAG_NOT_FOUND) == (details.value, details.error_code)


def test_objects_are_fresh(client: OpenFeatureClient) -> None:
    """Whoever changes an object, or metadata, changes only their own."""
    first = client.get_object_details("object-flag", {}, ADA)
    assert isinstance(first.value, dict)
    first.value.clear()
    first.flag_metadata.clear()  # type: ignore[attr-defined]  # declared as a mapping, given as a dict
    again = client.get_object_details("object-flag", {}, ADA)

    assert 100 == again.value["imagesPerPage"]  # type: ignore[call-overload]  # an object, as asked
    assert "featbit.reason" in again.flag_metadata


@pytest.mark.parametrize(
    ("name", "context", "value", "sentence"),
    [
        ("", ADA, 1.0, "needs a name"),
        ("purchase", ADA, math.nan, "finite number"),
        ("purchase", EvaluationContext(), 1.0, "targeting key"),
    ],
)
def test_tracking_what_cannot_be_tracked(
    client: OpenFeatureClient,
    server: FeatBitServer,
    caplog: pytest.LogCaptureFixture,
    name: str,
    context: EvaluationContext,
    value: float,
    sentence: str,
) -> None:
    """It is left out with a warning, and what follows is sent."""
    client.track(name, context, TrackingEventDetails(value))
    assert sentence in caplog.text
    assert [logging.WARNING] == [record.levelno for record in caplog.records]

    client.track("next", ADA)
    assert server.wait_for(lambda s: s.event_count == 1)
    assert "next" == server.events[0].payload["eventName"]


def test_a_refusal_with_data_is_an_error_that_evaluates(client: OpenFeatureClient, server: FeatBitServer) -> None:
    """Refused while there is data, the provider says so and goes on with it: only without data is that fatal."""
    errors: list[EventDetails] = []
    api.add_handler(ProviderEvent.PROVIDER_ERROR, errors.append)
    server.refuse(4003)
    server.drop_connections()

    assert has_status(client, ProviderStatus.ERROR)
    assert client.get_boolean_value("boolean-flag", False, ADA)
    assert eventually(lambda: errors)
    assert (ErrorCode.GENERAL, "fbshared") == (errors[0].error_code, errors[0].provider_name)
    assert "refuses" in (errors[0].message or "")


def test_a_changed_segment_is_a_change(client: OpenFeatureClient, server: FeatBitServer) -> None:
    """A segment's change is told as one of the flags that need it, and served."""
    changes: list[EventDetails] = []
    api.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, changes.append)
    before = client.get_boolean_value("staff-flag", False, EvaluationContext("bob"))
    server.put_segment(segment("staff", included=["bob"]))

    assert eventually(lambda: changes)
    assert [["staff-flag"]] == [details.flags_changed for details in changes]
    assert (False, True) == (before, client.get_boolean_value("staff-flag", False, EvaluationContext("bob")))


def test_the_same_from_many_threads(client: OpenFeatureClient) -> None:
    """Threads that ask at the same time get the same answers, and there is one thread that looks."""
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(300):
            details = client.get_integer_details("integer-flag", 0, ADA)
            if (details.value, details.reason) != (10, "STATIC"):
                wrong.append(details)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(30)

    assert [] == wrong
    assert 1 == watching()


def test_without_the_sdk() -> None:
    """Where the extra is missing, the error says what to install."""
    code = "import sys; sys.modules['openfeature'] = None; import fbshared.openfeature"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert 1 == done.returncode
    assert "ModuleNotFoundError: fbshared.openfeature needs openfeature-sdk: pip install 'fbshared[openfeature]'" in (
        done.stderr
    )
