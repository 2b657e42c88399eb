"""Feature flags of FeatBit for applications with many processes.

One elected process of a host holds the connection; all of them evaluate from shared memory::

    import fbshared

    fbshared.set_config(fbshared.Config(env_secret, event_url, streaming_url))
    fbshared.get().variation("checkout-v2", {"key": "u1", "name": "Ann"}, default=False)
"""

from fbshared.client import FBClient
from fbshared.common_types import AllFlagStates, EvalDetail
from fbshared.config import Config, HTTPConfig, WebSocketConfig
from fbshared.core.prepared import FBUser
from fbshared.errors import (
    ConfigError,
    CorruptError,
    EvaluationError,
    FBSharedError,
    MessageError,
    PatternTimeoutError,
    RegionError,
    UserError,
)
from fbshared.flag_change_notification import FlagChangedListener, FlagChangedNotice
from fbshared.singleton import get, set_config
from fbshared.sources import DataSource, FileDataSource
from fbshared.status_types import State, StateType

__all__ = [
    "AllFlagStates",
    "Config",
    "ConfigError",
    "CorruptError",
    "DataSource",
    "EvalDetail",
    "EvaluationError",
    "FBClient",
    "FBSharedError",
    "FBUser",
    "FileDataSource",
    "FlagChangedListener",
    "FlagChangedNotice",
    "HTTPConfig",
    "MessageError",
    "PatternTimeoutError",
    "RegionError",
    "State",
    "StateType",
    "UserError",
    "WebSocketConfig",
    "get",
    "set_config",
]

__version__ = "0.1.0"

start_wait: float = 15.0  # seconds that ``get`` waits for data when it makes the client
