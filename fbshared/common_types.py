"""What evaluation gives to an application."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, KeysView, Mapping
from typing import TYPE_CHECKING, Any, Generic

from fbshared.core.evaluation import FLAG_NOT_FOUND, Outcome
from fbshared.core.prepared import FBUser

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # a default: who writes ``EvalDetail`` alone means any value

    Value = TypeVar("Value", default=Any)
else:
    from typing import TypeVar

    Value = TypeVar("Value")

__all__ = ["AllFlagStates", "Details", "EvalDetail", "FBUser", "no_value"]

FLAG_KEY_UNKNOWN = "flag key unknown"
FLAG_NAME_UNKNOWN = "flag name unknown"


class EvalDetail(Generic[Value]):
    """One evaluation: the value, and why it is that.

    Attributes:
        reason: ``flag off``, ``target match``, ``rule match``, ``fall through all rules``; for a default value
            ``client not ready``, ``flag not found``, ``user not specified``, ``error in evaluation`` or ``wrong type``.
        variation: the value, converted to the flag's type, or the default.
        key_name: the flag's key.
        name: the flag's display name.
        variation_id: the variation's id; None for a default value.
    """

    __slots__ = ("key_name", "name", "reason", "variation", "variation_id")

    def __init__(
        self,
        reason: str,
        variation: Value,
        key_name: str | None = None,
        name: str | None = None,
        variation_id: str | None = None,
    ) -> None:
        self.reason = reason
        self.variation: Value = variation
        self.key_name = key_name
        self.name = name
        self.variation_id = variation_id

    @staticmethod
    def of(outcome: Outcome) -> EvalDetail[Any]:
        """The detail of a flag's outcome."""
        return EvalDetail(outcome.reason, outcome.value(), outcome.key, outcome.name, outcome.variation_id)

    def to_json_dict(self) -> dict[str, Any]:
        """The detail as JSON-ready values."""
        return {"reason": self.reason, "variation": self.variation, "keyName": self.key_name, "name": self.name}

    def to_json_str(self) -> str:
        """The detail as JSON."""
        return json.dumps(self.to_json_dict())

    def __repr__(self) -> str:
        return f"EvalDetail(key_name={self.key_name!r}, variation={self.variation!r}, reason={self.reason!r})"


def no_value(reason: str, key: object, default: Any) -> EvalDetail[Any]:
    """The detail of an evaluation that gives the default."""
    return EvalDetail(reason, default, key if isinstance(key, str) and key else FLAG_KEY_UNKNOWN, FLAG_NAME_UNKNOWN)


class Details(Mapping[str, EvalDetail]):
    """The details of outcomes by flag key, each made when it is asked for the first time, and kept."""

    __slots__ = ("_made", "_outcomes")

    def __init__(self, outcomes: Mapping[str, Outcome]) -> None:
        self._outcomes = outcomes
        self._made: dict[str, EvalDetail] = {}

    def __getitem__(self, key: str) -> EvalDetail:
        made = self._made.get(key)
        return made or self._made.setdefault(key, EvalDetail.of(self._outcomes[key]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._outcomes)

    def __len__(self) -> int:
        return len(self._outcomes)


class AllFlagStates:
    """All flags of one snapshot for one user.

    Getting a flag sends its evaluation event; making this and turning it into JSON do not.

    Attributes:
        success: whether a snapshot could be read; which of its flags give a value is another matter.
        reason: ``OK``, or why not.
    """

    def __init__(
        self,
        success: bool,
        reason: str,
        details: Mapping[str, EvalDetail],
        on_get: Callable[[str], None],
    ) -> None:
        self.success = success
        self.reason = "OK" if success else reason
        self._details = details
        self._on_get = on_get

    def keys(self) -> KeysView[str]:
        """The keys of all flags."""
        return self._details.keys()

    def get(self, key_name: str, default: Any = None) -> EvalDetail:
        """The detail of a flag; the default and ``flag not found`` where there is none."""
        try:
            detail = self._details.get(key_name)
        except Exception:  # noqa: BLE001 - a key that is no key, and raises what it likes
            detail = None
        if detail is None:
            return EvalDetail(FLAG_NOT_FOUND, default, key_name, FLAG_NAME_UNKNOWN)
        self._on_get(key_name)
        return detail

    def get_variation(self, key_name: str, default: Any = None) -> Any:
        """The value of a flag."""
        return self.get(key_name, default).variation

    def to_json(self) -> str:
        """A JSON object of all values by flag key, for a front end.

        It tells no reasons, names or ids, and may stand in a ``<script>`` of a page: the characters that could end
        one are escaped. A number that JSON has not (NaN, infinity) is null.
        """
        values = {key: _finite(detail.variation) for key, detail in self._details.items()}
        text = json.dumps(values, allow_nan=False, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

    def to_json_dict(self) -> dict[str, Any]:
        """All flags with their details as JSON-ready values."""
        data = [detail.to_json_dict() for detail in self._details.values()]
        return {"success": self.success, "message": self.reason, "data": data}

    def to_json_str(self) -> str:
        """All flags with their details as JSON."""
        return json.dumps(self.to_json_dict())


def _finite(value: Any) -> Any:
    """The value as JSON has it; a text of a JSON flag may hold NaN too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(each) for each in value]
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return value
