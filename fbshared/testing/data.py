"""Builders of valid raw flags and segments, so that a test says only what it is about.

Ids are derived from keys and values, so that the same call gives the same item::

    flag("dark-mode")                                            # boolean, serves True to everyone
    flag("ranking", "string", ["a", "b"], serve=split(("a", 0.1), ("b", 0.9)))
    flag("pro", rules=[rule(True, condition("plan", "IsOneOf", ["pro", "team"]))], serve=False)
    flag("lab", rules=[rule(True, in_segment("staff"))], serve=False)
    segment("staff", included=["u1"], rules=[[condition("mail", "EndsWith", "@example.com")]])
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fbshared.testing.environment import Raw, updated_at_of

_NAMESPACE = uuid.UUID("5f0c2d0e-2b60-4f1c-9a3e-6d1a7a0f3b52")
_ENVIRONMENT = str(uuid.uuid5(_NAMESPACE, "environment"))
_UPDATED_AT = "2026-01-05T09:30:00.25Z"


class Split(NamedTuple):
    """A percentage rollout, see ``split``."""

    shares: tuple[tuple[Any, float], ...]
    by: str | None
    experiment: float | None


class Rule(NamedTuple):
    """A rule of a flag, see ``rule``."""

    serve: Any
    conditions: tuple[Raw, ...]
    name: str


def split(*shares: tuple[Any, float], by: str | None = "keyId", experiment: float | None = None) -> Split:
    """Serve each value to its share of the users, as fractions of 1.

    Args:
        shares: pairs of value and share, in order.
        by: the user attribute whose value decides; None is the user's key.
        experiment: the fraction of all users that takes part in an experiment; None for no experiment.
    """
    return Split(shares, by, experiment)


def condition(property: str, op: str | None, value: object = None) -> Raw:  # noqa: A002 - its name on the wire
    """One condition; a list becomes the JSON text that multi-value operators expect.

    The value of IsTrue and IsFalse is the operator itself, as the FeatBit UI writes it.
    """
    if value is None and op in ("IsTrue", "IsFalse"):
        value = op
    return {
        "id": _id("condition", property, op, text_of(value)),
        "property": property,
        "op": op,
        "value": text_of(value),
    }


def in_segment(*keys: str) -> Raw:
    """The condition that the user is in one of these segments, named by key or id."""
    return condition("User is in segment", None, [segment_id(key) for key in keys])


def not_in_segment(*keys: str) -> Raw:
    """The condition that the user is in none of these segments."""
    return condition("User is not in segment", None, [segment_id(key) for key in keys])


def rule(serve: object, *conditions: Raw, name: str = "rule") -> Rule:
    """Serve a value, or a ``split``, to users for whom all conditions hold."""
    return Rule(serve, conditions, name)


def flag(
    key: str,
    type: str = "boolean",  # noqa: A002 - as short as the word
    variations: Sequence[object] = (True, False),
    *,
    serve: object = ...,
    off: object = ...,
    targets: Iterable[tuple[object, Sequence[str]]] = (),
    rules: Iterable[Rule] = (),
    name: str | None = None,
    enabled: bool = True,
    archived: bool = False,
    experiment_on_targets: bool = False,
    insights_enabled: bool | None = None,
    tags: Sequence[str] = (),
    updated_at: str | int = _UPDATED_AT,
) -> Raw:
    """A raw flag.

    Args:
        type: "boolean", "string", "number" or "json".
        variations: the values, as Python objects or already as text.
        serve: the value, or the ``split``, of the default rule; the first variation if not given.
        off: the value of the disabled flag; the last variation if not given.
        targets: pairs of a value and the user keys that get it.
        insights_enabled: the field is absent for None, as in FeatBit 5.
        updated_at: as text, or in Unix milliseconds.

    Raises:
        ValueError: a value that is served is none of the variations.
    """
    texts = [text_of(value) for value in variations]
    ids = {text: _id("variation", key, index) for index, text in enumerate(texts)}

    def id_of(value: object) -> str:
        text = text_of(value)
        if text not in ids:
            raise ValueError(f"{text!r} is no variation of {key}")
        return ids[text]

    def served(value: object) -> Raw:
        """The fields that rules and the default rule have in common."""
        choice = value if isinstance(value, Split) else Split(((value, 1.0),), None, None)
        shares, lower = [], 0.0
        for one, share in choice.shares:
            upper = round(lower + share, 10)
            experiment = 1 if choice.experiment is None else choice.experiment
            shares.append({"id": id_of(one), "rollout": [lower, upper], "exptRollout": experiment})
            lower = upper
        return {
            "dispatchKey": choice.by,
            "includedInExpt": choice.experiment is not None,
            "variations": shares,
        }

    raw = {
        "id": _id("flag", key),
        "envId": _ENVIRONMENT,
        "name": name or key,
        "description": "",
        "key": key,
        "variationType": type,
        "variations": [{"id": ids[text], "name": text[:20], "value": text} for text in texts],
        "targetUsers": [{"keyIds": list(keys), "variationId": id_of(value)} for value, keys in targets],
        "rules": [
            {
                "id": _id("rule", key, index),
                "name": one.name,
                "conditions": list(one.conditions),
                **served(one.serve),
            }
            for index, one in enumerate(rules)
        ],
        "isEnabled": enabled,
        "disabledVariationId": id_of(variations[-1] if off is ... else off),
        "fallthrough": served(variations[0] if serve is ... else serve),
        "exptIncludeAllTargets": experiment_on_targets,
        "tags": list(tags),
        "isArchived": archived,
        "updatedAt": updated_at if isinstance(updated_at, str) else updated_at_of(updated_at),
    }
    if insights_enabled is not None:
        raw["insightsEnabled"] = insights_enabled
    return raw


def segment(
    key: str,
    *,
    included: Iterable[str] = (),
    excluded: Iterable[str] = (),
    rules: Iterable[Sequence[Raw]] = (),
    name: str | None = None,
    archived: bool = False,
    updated_at: str | int = _UPDATED_AT,
) -> Raw:
    """A raw segment; each rule is a list of conditions that must all hold."""
    return {
        "id": segment_id(key),
        "envId": _ENVIRONMENT,
        "name": name or key,
        "description": "",
        "included": list(included),
        "excluded": list(excluded),
        "rules": [
            {
                "id": _id("segment rule", key, index),
                "name": f"rule {index + 1}",
                "conditions": list(conditions),
            }
            for index, conditions in enumerate(rules)
        ],
        "isArchived": archived,
        "updatedAt": updated_at if isinstance(updated_at, str) else updated_at_of(updated_at),
    }


def segment_id(key: str) -> str:
    """The id of the segment with this key; an id stays what it is."""
    try:
        return str(uuid.UUID(key))
    except ValueError:
        return _id("segment", key)


def bootstrap(flags: Iterable[Mapping[str, Any]] = (), segments: Iterable[Mapping[str, Any]] = ()) -> Raw:
    """A bootstrap message with these raw items."""
    data = {"eventType": "full", "featureFlags": list(flags), "segments": list(segments)}
    return {"messageType": "data-sync", "data": data}


def text_of(value: object) -> str:
    """A value as FeatBit keeps it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _id(*parts: object) -> str:
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts)))
