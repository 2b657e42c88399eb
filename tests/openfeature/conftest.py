"""A local FeatBit server with known flags, and OpenFeature's global state put back after every test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from openfeature import _event_support, api
from openfeature.client import OpenFeatureClient
from openfeature.provider import ProviderStatus

from fbshared import Config
from fbshared.openfeature import FeatBitProvider
from fbshared.testing import FeatBitServer, bootstrap, condition, flag, in_segment, rule, segment
from tests.waiting import eventually

Raw = dict[str, Any]
KEY = "5c3d8535-f81a-4478-a6d3-afaa4d51199e"
TEMPLATE = {"showImages": True, "title": "Check out these pics!", "imagesPerPage": 100}
TYPES = {bool: "boolean", str: "string", int: "number", float: "number", dict: "json"}
EMAIL = condition("email", "Equal", "ballmer@macrosoft.com")


def named(key: str, variants: Mapping[str, Any], served: str, **options: Any) -> Raw:
    """A flag whose variations have these names as their ids."""
    values = list(variants.values())
    raw = flag(key, TYPES[type(values[0])], values, serve=variants[served], **options)
    text = json.dumps(raw)
    for variation, name in zip(raw["variations"], variants, strict=True):
        text = text.replace(variation["id"], name)
    found: Raw = json.loads(text)
    return found


def zero(kind: str, none: Any, some: Any) -> list[Raw]:
    variants = {"zero": none, "non-zero": some}
    return [
        named(f"{kind}-zero-flag", variants, "zero"),
        named(f"{kind}-targeted-zero-flag", variants, "zero", rules=[rule(none, EMAIL)]),
    ]


SWITCH = {"on": True, "off": False}
FLAGS = [
    named("boolean-flag", SWITCH, "on"),
    named("string-flag", {"greeting": "hi", "parting": "bye"}, "greeting"),
    named("integer-flag", {"one": 1, "ten": 10}, "ten"),
    named("float-flag", {"tenth": 0.1, "half": 0.5}, "half"),
    named("object-flag", {"empty": {}, "template": TEMPLATE}, "template"),
    named("list-flag", {"some": {}}, "some") | {"variations": [{"id": "some", "value": "[1,2]"}]},
    *zero("boolean", False, True),
    *zero("string", "", "str"),
    *zero("integer", 0, 1),
    *zero("float", 0.0, 1.0),
    *zero("object", {}, TEMPLATE),
    named("large-integer-flag", {"one": 1, "max-int32": 2**31 - 1}, "max-int32"),
    named("huge-integer-flag", {"one": 1, "max-safe": 2**53 - 1}, "max-safe"),
    named("integral-float-flag", {"tenth": 0.1, "ten": 10.0}, "ten"),
    named(
        "context-aware",
        {"internal": "INTERNAL", "external": "EXTERNAL"},
        "external",
        rules=[rule("INTERNAL", condition("customer", "IsFalse"))],
    ),
    named("wrong-flag", {"one": "uno", "two": "dos"}, "one"),
    named("metadata-flag", SWITCH, "on"),
    named("async-flag", SWITCH, "on"),
    named("boolean-disabled-flag", SWITCH, "on", off=False, enabled=False),
    named("string-disabled-flag", {"greeting": "hi", "parting": "bye"}, "greeting", off="bye", enabled=False),
    named(
        "targeting-key-flag",
        {"hit": "hit", "miss": "miss"},
        "miss",
        rules=[rule("hit", condition("keyId", "Equal", KEY))],
    ),
    named("targeted-flag", SWITCH, "off", targets=[(True, ["ada"])]),
    named("staff-flag", SWITCH, "off", rules=[rule(True, in_segment("staff"))]),
    named("changing-flag", {"foo": "foo", "bar": "bar"}, "foo"),
    named("broken-flag", SWITCH, "on") | {"fallthrough": 5},
    flag("odd-boolean-flag", "boolean", ["True", "False"]),
    flag("null-flag", "json", ["null"]),
    flag("endless-flag", "number", ["1e400"]),
]


@pytest.fixture(autouse=True, scope="session")
def handlers_threads() -> None:
    """The SDK starts threads for event handlers as it needs them and keeps them: let it have them all beforehand."""
    count = _event_support._event_executor._max_workers
    together = threading.Barrier(count + 1)
    for _ in range(count):
        _event_support._event_executor.submit(together.wait, 10)
    together.wait(10)


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(bootstrap(FLAGS, [segment("staff", included=["ada"])])) as running:
        yield running


@pytest.fixture
def config(server: FeatBitServer) -> Config:
    return Config(
        *(server.secret, server.event_url, server.streaming_url),
        events_flush_interval=0.02,
        streaming_first_retry_delay=0.05,
    )


@pytest.fixture(autouse=True)
def clean_openfeature(shared_directory: object) -> Iterator[None]:
    """No provider, hook, handler or context outlives its test."""
    yield
    api.shutdown()


@pytest.fixture
def provider(config: Config) -> FeatBitProvider:
    """The registered provider, ready."""
    made = FeatBitProvider(config)
    api.set_provider_and_wait(made)
    return made


@pytest.fixture
def client(provider: FeatBitProvider) -> OpenFeatureClient:
    return api.get_client()


def has_status(client: OpenFeatureClient, status: ProviderStatus, timeout: float = 10.0) -> bool:
    return eventually(lambda: client.get_provider_status() is status, timeout)


def pytest_bdd_apply_tag(tag: str, function: Callable[..., Any]) -> bool:
    """The specification's tags are no marks of ours; one of them asks for what FeatBit does in another way."""
    if tag == "disabled-flags":
        pytest.mark.skip("a disabled flag of FeatBit has a value of its own, which wins over the default")(function)
    return True
