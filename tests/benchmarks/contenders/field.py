"""Who takes part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from tests.benchmarks.contenders import featbit
from tests.benchmarks.contenders.contender import Contender, Maker
from tests.benchmarks.flags import Flag
from tests.benchmarks.rows import REFERENCE

DICT = "fbshared, dict"
PREPARED = "fbshared, FBUser"
STATSIG = "Statsig"
PACKAGES = {  # contender -> distribution
    REFERENCE: "fb-python-sdk",
    "LaunchDarkly": "launchdarkly-server-sdk",
    "Unleash": "UnleashClient",
    "GrowthBook": "growthbook",
    STATSIG: "statsig-python-core",
}
_MODULES = {"LaunchDarkly": "launchdarkly", "Unleash": "unleash", "GrowthBook": "growthbook", STATSIG: "statsig"}


def makers() -> tuple[dict[str, Maker], list[str]]:
    """Those that can be imported here, and a sentence about each that can't."""
    found: dict[str, Maker] = {
        DICT: partial(featbit.ours, prepared=False),
        PREPARED: partial(featbit.ours, prepared=True),
    }
    left_out = []
    for name in PACKAGES:
        try:
            if name == REFERENCE:
                import_module("fbclient")
                found[name] = featbit.reference
            else:
                found[name] = import_module(f"tests.benchmarks.contenders.{_MODULES[name]}").make
        except ImportError as error:
            left_out.append(f"{name} is left out: {error}.")
    return found, left_out


@contextmanager
def at_work(makers: dict[str, Maker], flags: Sequence[Flag]) -> Iterator[dict[str, Contender]]:
    """All of them with these flags."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(make(flags)) for name, make in makers.items()}


def versions() -> dict[str, str]:
    """Of whatever is installed."""
    found = {}
    for package in ("fbshared", *PACKAGES.values()):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found
