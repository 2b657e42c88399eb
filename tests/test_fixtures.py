"""The language-neutral cases in ``tests/fixtures`` hold for us, and for the reference where they say nothing else."""

import ast
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fbshared.core.addresses import environment_id, token
from fbshared.core.evaluation import CompiledFlag, Compiler
from fbshared.core.events import make_pack, metrics_tail, pack_user, payload, record
from fbshared.core.items import parse_item, version_of
from fbshared.core.model import EMPTY, FLAG, SEGMENT, unpack
from fbshared.core.rollout import END, place
from fbshared.core.session import Session
from fbshared.core.users import key_of
from fbshared.errors import EvaluationError
from fbshared.testing.credentials import decode_token

Case = dict[str, Any]

FIXTURES = Path(__file__).with_name("fixtures")
LOADED = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FIXTURES.glob("*.json"))}

pytestmark = pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")


def cases(file: str, section: str, *, equal: bool | None = None) -> list[Any]:
    """The cases of one section; only those in which the reference is equal, or is not, if that is asked for."""
    return [
        pytest.param(case, id=f"{number}-{case.get('name', case.get('op', ''))}")
        for number, case in enumerate(LOADED[file][section])
        if equal in (None, "reference" not in case)
    ]


def flag_with(condition: Case) -> Case:
    """A flag that gives "yes" where a condition holds, and "no" elsewhere."""
    everybody = [{"id": "yes", "rollout": [0, 1]}]
    return {
        "key": "ff",
        "name": "A flag",
        "variationType": "string",
        "variations": [{"id": "yes", "value": "yes"}, {"id": "no", "value": "no"}],
        "targetUsers": [],
        "rules": [{"id": "r", "conditions": [condition], "variations": everybody}],
        "isEnabled": True,
        "disabledVariationId": "no",
        "fallthrough": {"variations": [{"id": "no", "rollout": [0, 1]}]},
    }


def flag_of(case: Case) -> Case:
    """What a case of a condition or of an assignment is about, as a flag."""
    if "op" in case:
        return flag_with({"op": case["op"], "property": case["property"], "value": case["value"]})
    default = {"dispatchKey": case["dispatchKey"], "variations": case["ranges"]}
    variations = [{"id": part["id"], "value": part["id"]} for part in case["ranges"]]
    flag = flag_with({}) | {"key": case["flagKey"], "rules": [], "fallthrough": default, "variations": variations}
    return flag | {"disabledVariationId": "A"}


def compiled(flag: Case, segments: list[Case]) -> CompiledFlag:
    items = [parse_item(SEGMENT, raw) for raw in segments]
    blobs = {item.key: item.blob for item in items if not item.archived}
    return Compiler(lambda id_: unpack(blobs[id_]) if id_ in blobs else None).flag(unpack(parse_item(FLAG, flag).blob))


def ours(case: Case) -> Case:
    """What we answer to a case of the evaluation."""
    key = key_of(case["user"])
    if key is None:
        return {"reason": "user not specified"}
    try:
        outcome = compiled(case["flag"], case["segments"]).evaluate(key, case["user"])
    except EvaluationError:
        return {"reason": "error in evaluation"}
    return {"variationId": outcome.variation_id, "value": outcome.value(), "reason": outcome.reason}


def theirs(case: Case) -> Case:
    """What the reference answers to it."""
    from tests.differential.compare import Answer, FBUser, Reference

    try:
        FBUser.from_dict(case["user"])
    except ValueError:
        return {"reason": "user not specified"}
    except TypeError:
        return {"reason": "error in evaluation"}
    segments = {raw["id"]: raw for raw in case["segments"] if not raw["isArchived"]}
    answer = Reference(case["flag"], segments, case["user"]).answer
    if not isinstance(answer, Answer):
        return {"reason": answer}
    return {"variationId": answer.variation_id, "value": ast.literal_eval(answer.value), "reason": answer.reason}


def as_evaluation(case: Case) -> Case:
    """A condition or an assignment as a case of the evaluation, without its expectation."""
    user = case.get("user") or {"key": "u1", "name": "Ann", **case["attributes"]}
    return {"flag": flag_of(case), "segments": [], "user": user}


def expected_variation(case: Case) -> str | None:
    """The variation that a condition or an assignment leads to, None for an error."""
    return {True: "yes", False: "no", "error": None}.get(case["expected"], case["expected"])


@pytest.mark.parametrize("case", cases("conditions", "cases") + cases("rollout", "assignments"))
def test_conditions_and_assignments(case: Case) -> None:
    """A condition holds, and a range takes a user, where the case says so."""
    assert expected_variation(case) == ours(as_evaluation(case)).get("variationId")


@pytest.mark.parametrize("case", cases("conditions", "cases", equal=True) + cases("rollout", "assignments", equal=True))
def test_conditions_and_assignments_of_the_reference(case: Case) -> None:
    """So it is in the reference."""
    pytest.importorskip("fbclient")

    assert expected_variation(case) == theirs(as_evaluation(case)).get("variationId")


@pytest.mark.parametrize("case", cases("evaluation", "cases"))
def test_evaluation(case: Case) -> None:
    """A flag gives a user the variation, the value and the reason of the case."""
    assert case["expected"] == ours(case)


@pytest.mark.parametrize("case", cases("evaluation", "cases", equal=True))
def test_evaluation_of_the_reference(case: Case) -> None:
    """So does the reference."""
    pytest.importorskip("fbclient")

    assert case["expected"] == theirs(case)


@pytest.mark.parametrize(
    "case",
    cases("evaluation", "cases", equal=False)
    + cases("conditions", "cases", equal=False)
    + cases("rollout", "assignments", equal=False),
)
def test_every_deviation_is_one(case: Case) -> None:
    """Where a case says that the reference answers otherwise, it does."""
    pytest.importorskip("fbclient")
    evaluation = case if "flag" in case else as_evaluation(case)

    assert ours(evaluation) != theirs(evaluation)


@pytest.mark.parametrize("case", cases("rollout", "places"))
def test_places(case: Case) -> None:
    """A text lies where the other SDKs put it."""
    assert case["place"] == place(case["text"]) / END
    assert abs(case["integer"]) == place(case["text"])


@pytest.mark.parametrize("case", cases("events", "evaluations"))
def test_evaluation_events(case: Case) -> None:
    """FeatBit is told this about an evaluation, the experiment included."""
    key = key_of(case["user"])
    assert key is not None
    try:
        tail = compiled(case["flag"], []).evaluate(key, case["user"]).event
    except EvaluationError:
        tail = None
    packed = pack_user(make_pack(), case["user"])
    event = None if tail is None else payload(record(packed, tail, case["timestamp"] * 1_000_000))

    assert case["expected"] == event


@pytest.mark.parametrize("case", cases("events", "evaluations", equal=True))
def test_evaluation_events_of_the_reference(case: Case) -> None:
    """So is it by the reference, which says nothing about experiments any more."""
    pytest.importorskip("fbclient")
    from tests.differential.compare import Answer, Reference

    answer = Reference(case["flag"], {}, case["user"]).answer
    event = answer.event if isinstance(answer, Answer) else None

    assert without_time_and_experiment(case["expected"]) == event


def without_time_and_experiment(event: Case | None) -> Case | None:
    if event is None:
        return None
    dropped = ("timestamp", "sendToExperiment")
    kept = [{k: v for k, v in entry.items() if k not in dropped} for entry in event["variations"]]
    return event | {"variations": kept}


@pytest.mark.parametrize("case", cases("events", "metrics"))
def test_metric_events(case: Case) -> None:
    """FeatBit is told this about metrics."""
    tail = metrics_tail(tuple(metric) for metric in case["metrics"])
    packed = pack_user(make_pack(), case["user"])
    said = tail.packed != metrics_tail(()).packed
    event = payload(record(packed, tail, case["timestamp"] * 1_000_000)) if said else None

    assert case["expected"] == event


@pytest.mark.parametrize("case", cases("sync", "cases"))
def test_sync(case: Case) -> None:
    """After these messages this is known, this is the cursor, and so many parts were refused."""
    session = Session(EMPTY, 0, synced=False)
    for message in case["messages"]:
        session.received(json.dumps(message), 0)

    assert case["expected"] == {
        "flags": {key: item.version for key, item in session.dataset.flags.items() if not item.archived},
        "segments": {key: item.version for key, item in session.dataset.segments.items() if not item.archived},
        "cursor": session.dataset.cursor,
        "synced": session.synced,
        "rejected": session.rejected,
    }


@pytest.fixture
def reference_stream() -> Iterator[Any]:
    """The reference's message handler and what it stores into, without a connection."""
    pytest.importorskip("fbclient")
    from fbclient.config import Config
    from fbclient.data_storage import InMemoryDataStorage
    from fbclient.notice_broadcaster import NoticeBroadcater
    from fbclient.status import DataUpdateStatusProviderImpl
    from fbclient.streaming import Streaming

    import tests.differential.compare  # noqa: F401 - undoes what importing the reference does to logging

    storage, broadcaster = InMemoryDataStorage(), NoticeBroadcater()
    config = Config("secret", "http://localhost", "ws://localhost")
    streaming = Streaming(config, broadcaster, DataUpdateStatusProviderImpl(storage), threading.Event())
    yield streaming, storage
    streaming.stop()
    broadcaster.stop()


def stored(stream: Any, case: Case) -> Case:
    """What the reference has stored after the messages of a case."""
    from fbclient.category import FEATURE_FLAGS, SEGMENTS

    streaming, storage = stream
    for message in case["messages"]:
        streaming._on_message(None, json.dumps(message))
    tables = [
        {key: item["timestamp"] for key, item in storage.get_all(kind).items()} for kind in (FEATURE_FLAGS, SEGMENTS)
    ]
    return {"flags": tables[0], "segments": tables[1], "cursor": storage.latest_version, "synced": storage.initialized}


@pytest.mark.parametrize("case", cases("sync", "cases"))
def test_sync_of_the_reference(case: Case, reference_stream: Any) -> None:
    """The reference has the same store after them, except where the case says what it does instead."""
    expected = {name: value for name, value in case["expected"].items() if name != "rejected"}

    assert ("reference" not in case) == (expected == stored(reference_stream, case))


@pytest.mark.parametrize("case", cases("sync", "versions"))
def test_versions(case: Case) -> None:
    """A time is this version."""
    assert case["version"] == version_of(case["updatedAt"])


@pytest.mark.parametrize("case", cases("sync", "versions"))
def test_versions_of_the_reference(case: Case) -> None:
    """So it is for the reference, which rounds where a case says so."""
    pytest.importorskip("fbclient")
    from fbclient.utils import from_str_datetime_to_millis

    import tests.differential.compare  # noqa: F401 - undoes what importing the reference does to logging

    assert ("reference" not in case) == (case["version"] == from_str_datetime_to_millis(case["updatedAt"]))


@pytest.mark.parametrize("case", cases("tokens", "written"))
def test_tokens_are_written(case: Case) -> None:
    """The token of a secret, a time and a position is this one."""
    length = len(case["secret"].rstrip("="))

    assert case["token"] == token(case["secret"], case["time"], (case["position"] + 0.5) / length)


@pytest.mark.parametrize("case", cases("tokens", "written") + cases("tokens", "read"))
def test_tokens_are_read(case: Case) -> None:
    """A server reads this secret and this time in a token."""
    assert (case["secret"].rstrip("="), case["time"]) == decode_token(case["token"])


def test_the_reference_writes_tokens_that_are_read() -> None:
    """What the reference writes is the token of its time and position by these rules."""
    pytest.importorskip("fbclient")
    from fbclient.utils import build_token

    import tests.differential.compare  # noqa: F401 - undoes what importing the reference does to logging

    secret = LOADED["tokens"]["written"][0]["secret"]
    written = build_token(secret)
    position = int("".join(str("QBWSPHDXZU".index(letter)) for letter in written[:3]))

    assert written == token(secret, decode_token(written).timestamp, (position + 0.5) / len(secret))


@pytest.mark.parametrize("case", cases("tokens", "environments"))
def test_environments(case: Case) -> None:
    """A secret of FeatBit's form names this environment."""
    assert case["environment"] == environment_id(case["secret"])


def test_every_file_is_used_and_described() -> None:
    """Each file of cases, and each of its sections, is in the README beside it and run here."""
    readme, here = (FIXTURES / "README.md").read_text(), Path(__file__).read_text()
    sections = [(file, section) for file, content in LOADED.items() for section in content if section != "about"]

    assert [] == [pair for pair in sections if f'cases("{pair[0]}", "{pair[1]}"' not in here]
    assert [] == [pair for pair in sections if f"`{pair[0]}.json`" not in readme or f"`{pair[1]}`" not in readme]
