"""What an application gets from an evaluation."""

import json
import math

import pytest

from fbshared import AllFlagStates, EvalDetail
from fbshared.core.evaluation import FLAG_NOT_FOUND

DETAIL = EvalDetail("flag off", {"a": 1}, "key", "Name", "v1")


def test_a_detail() -> None:
    """It says value and reason, and is JSON without the variation's id, as in the reference SDK."""
    expected = {"reason": "flag off", "variation": {"a": 1}, "keyName": "key", "name": "Name"}

    assert expected == DETAIL.to_json_dict()
    assert expected == json.loads(DETAIL.to_json_str())
    assert "v1" == DETAIL.variation_id
    assert "EvalDetail(key_name='key', variation={'a': 1}, reason='flag off')" == repr(DETAIL)


def test_all_flags() -> None:
    """Getting a flag tells so; looking at keys or at the JSON does not."""
    got: list[str] = []
    states = AllFlagStates(True, "whatever", {"key": DETAIL}, got.append)
    assert {"key"} == states.keys()
    assert {"success": True, "message": "OK", "data": [DETAIL.to_json_dict()]} == json.loads(states.to_json_str())
    assert [] == got

    assert DETAIL is states.get("key")
    assert {"a": 1} == states.get_variation("key")
    assert ["key", "key"] == got


def test_json_for_a_front_end() -> None:
    """It has all values and nothing else, may stand in a page's script, and is JSON whatever the values are."""
    odd = {"x": [math.nan, 1.5], "</script><!--": "&amp;\u2028"}
    values = {"on": True, "text": "</script>", "odd": odd, "inf": math.inf, "none": None, "é": 7}
    details = {key: EvalDetail("rule match", value, key, "Secret name", "v1") for key, value in values.items()}
    got: list[str] = []
    text = AllFlagStates(True, "OK", details, got.append).to_json()

    assert values | {"odd": odd | {"x": [None, 1.5]}, "inf": None} == json.loads(text)
    assert not set("<>&") & set(text)
    assert text.isascii()
    assert "Secret" not in text
    assert "{}" == AllFlagStates(False, "client not ready", {}, print).to_json()
    assert [] == got


def test_an_unknown_flag() -> None:
    """It has the default, its reason, and no event."""
    got: list[str] = []
    states = AllFlagStates(True, "OK", {}, got.append)

    detail = states.get("other", 7)
    assert (FLAG_NOT_FOUND, 7, "other", None) == (detail.reason, detail.variation, detail.key_name, detail.variation_id)
    assert states.get_variation("other") is None
    assert [] == got


@pytest.mark.parametrize("key", [None, 5, [], {}])
def test_an_odd_key(key: object) -> None:
    """It is an unknown flag, also when nothing can be looked up by it."""
    assert "x" == AllFlagStates(True, "OK", {}, print).get_variation(key, "x")  # type: ignore[arg-type]


def test_no_success() -> None:
    """The reason is told."""
    states = AllFlagStates(False, "client not ready", {}, print)

    assert {"success": False, "message": "client not ready", "data": []} == states.to_json_dict()
