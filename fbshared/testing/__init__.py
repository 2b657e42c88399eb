"""Help for tests: a local FeatBit server, and builders of the data that it serves.

The builders need nothing; the server needs aiohttp: ``pip install 'fbshared[testing]'``.
"""

from fbshared.testing.credentials import make_secret
from fbshared.testing.data import (
    bootstrap,
    condition,
    flag,
    in_segment,
    not_in_segment,
    rule,
    segment,
    segment_id,
    split,
)
from fbshared.testing.environment import message
from fbshared.testing.records import Connection, Event, Request
from fbshared.testing.sample import sample_environment
from fbshared.testing.server import FeatBitServer

__all__ = [
    "Connection",
    "Event",
    "FeatBitServer",
    "Request",
    "bootstrap",
    "condition",
    "flag",
    "in_segment",
    "make_secret",
    "message",
    "not_in_segment",
    "rule",
    "sample_environment",
    "segment",
    "segment_id",
    "split",
]
