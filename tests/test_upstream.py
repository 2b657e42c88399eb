"""Tests of the reference SDK that concern what an application sees pass against this package, its names changed."""

import os
import re
from pathlib import Path

import pytest

from tests import upstream

ARCHIVE = os.environ.get("FBSHARED_TEST_REFERENCE", "")  # the source distribution of fb-python-sdk 1.2.1

ONLINE = [
    "test_fbclient::test_eval_detail_variation_id_is_backward_compatible",
    "test_fbclient::test_construct_null_config",
    "test_fbclient::test_construct_empty_envsecret",
    "test_fbclient::test_construct_illegal_envsecret",
    "test_fbclient::test_construct_empty_url",
    "test_fbclient::test_construct_invalid_url",
    "test_evaluator::test_evaluation_when_disable_flag",
    "test_evaluator::test_evaluation_when_match_target_user",
    "test_evaluator::test_evaluation_when_match_true_condition",
    "test_evaluator::test_evaluation_when_match_equal_condition",
    "test_evaluator::test_evaluation_when_match_than_condition",
    "test_evaluator::test_evaluation_when_match_contain_condition",
    "test_evaluator::test_evaluation_when_match_isoneof_condition",
    "test_evaluator::test_evaluation_when_match_startend_condition",
    "test_evaluator::test_evaluation_when_match_regex_condition",
    "test_evaluator::test_evaluation_when_match_fallthroug_condition",
]
OFFLINE = [
    "test_fbclient::test_bool_variation",
    "test_fbclient::test_numeric_variation",
    "test_fbclient::test_string_variation",
    "test_fbclient::test_segment",
    "test_fbclient::test_json_variation",
    "test_fbclient::test_flag_known",
    "test_fbclient::test_get_all_latest_flag_variations",
    "test_fbclient::test_variation_argument_error",
    "test_fbclient::test_variation_error_default_value",
    "test_fbclient::test_invalid_external_json_does_not_raise",
    "test_fbclient::test_unserializable_json_default_does_not_raise",
    "test_fbclient::test_empty_offline_bootstrap_controls_initialization_state",
    "test_runtime_safety::test_concurrent_evaluation_is_thread_safe",
]

# Pattern of names -> why these say nothing about this package.
NOT_OURS = {
    r"test_fbclient::test_(start_|variation_when_client_not_initialized|configured_boolean_default)": (
        "replaces the synchronisation by a class of the reference, which a configuration here refuses"
    ),
    r"test_fbclient::test_variation_unexpected_error": "breaks the reference's storage; ours is bytes in a file",
    r"test_data_storage::": "the reference's storage class; here sync.json of the fixtures",
    r"test_data_update_status_provider::": "the class that joins the reference's storage and status",
    r"test_event_processor::": "the reference's threads, queue and sender; here tests/leader/test_delivery.py",
    r"test_flag_change_notification::": "the reference's broadcaster, and a tracker made of it",
    r"test_insights_enabled::": "looks into a client's parts and replaces its event processor; here events.json",
    r"test_runtime_safety::test_(streaming|terminal_streaming|notice|repeatable|http_client)": "a class of its insides",
    r"test_runtime_safety::test_(client_public|status_listener|concurrent_client_stop)": "replaces parts of the client",
    r"test_runtime_safety::test_repeated_clients": "looks for threads by the names that the reference gives them",
    r"test_runtime_safety::test_(default_config|config_copy)": (
        "streams from an http:// address, which is refused here; tests/test_config.py has both promises"
    ),
}

needs_archive = pytest.mark.skipif(
    not ARCHIVE, reason="FBSHARED_TEST_REFERENCE does not name the source distribution of fb-python-sdk 1.2.1"
)


def run(name: str) -> None:
    file, test = name.split("::")
    upstream.call(upstream.load(file, upstream.sources(Path(ARCHIVE))[file])[test])


@needs_archive
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
@pytest.mark.parametrize("name", ONLINE)
def test_the_reference_s_own_test(name: str) -> None:
    """What the reference's test says of it is true of this package."""
    run(name)


@needs_archive
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
@pytest.mark.parametrize("name", OFFLINE)
def test_the_reference_s_own_test_of_an_offline_client(name: str) -> None:
    """So it is for a client without a connection."""
    run(name)


@needs_archive
def test_every_test_of_the_reference_is_accounted_for() -> None:
    """Each of its tests runs here, or is named with the one reason why it does not."""
    found = [
        f"{file}::{name}"
        for file, source in upstream.sources(Path(ARCHIVE)).items()
        for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)
    ]
    reasons = {name: [why for pattern, why in NOT_OURS.items() if re.match(pattern, name)] for name in found}
    ours = [*ONLINE, *(entry if isinstance(entry, str) else entry.values[0] for entry in OFFLINE)]

    assert set() == set(ours) - set(found)
    assert [] == [name for name in found if len(reasons[name]) != (0 if name in ours else 1)]


@needs_archive
def test_a_test_of_the_reference_can_fail() -> None:
    """A test that expects another answer fails here too."""
    source = upstream.sources(Path(ARCHIVE))["test_evaluator"].replace('"teamB"', '"teamX"')
    test = upstream.load("test_evaluator", source)["test_evaluation_when_match_target_user"]

    with pytest.raises(AssertionError):
        upstream.call(test)
