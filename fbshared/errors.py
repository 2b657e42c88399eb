"""What can go wrong, as a tree::

    FBSharedError
    ├── ConfigError          (ValueError)    a setting is refused; the message names the field
    ├── UserError            (ValueError)    an ``FBUser`` is refused; the message names the attribute
    ├── MessageError         (ValueError)    a FeatBit message, bootstrap or record is not understood
    ├── EvaluationError      (ValueError)    a flag's data gives no answer; never reaches the application
    ├── PatternTimeoutError  (TimeoutError)  a flag's regular expression takes too long; nor does this one
    ├── CorruptError         (ValueError)    bytes in shared memory are not what they should be
    └── RegionError          (OSError)       the shared directory cannot be used; the message names the path

``variation`` and its relatives raise none of these: they answer with the default value and a reason.
"""

__all__ = [
    "ConfigError",
    "CorruptError",
    "EvaluationError",
    "FBSharedError",
    "MessageError",
    "PatternTimeoutError",
    "RegionError",
    "UserError",
]


class FBSharedError(Exception):
    """The root of everything that this package raises."""


class ConfigError(FBSharedError, ValueError):
    """A configuration value is refused; the message names the field."""


class UserError(FBSharedError, ValueError):
    """An ``FBUser`` cannot be made of this; the message names the attribute and tells no value."""


class MessageError(FBSharedError, ValueError):
    """A FeatBit message, a bootstrap file or an event record is not understood."""


class EvaluationError(FBSharedError, ValueError):
    """A flag's data gives no answer for this user."""


class CorruptError(FBSharedError, ValueError):
    """Bytes in shared memory are torn, truncated, foreign or of another layout."""


class PatternTimeoutError(FBSharedError, TimeoutError):
    """A flag's regular expression takes too long on this user's text.

    No EvaluationError: a segment takes those for "not in", and this is no answer at all.
    """


class RegionError(FBSharedError, OSError):
    """The shared directory cannot be used; the message names the path."""
