"""What an HTTP client of the server sees."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from fbshared.testing import FeatBitServer, make_secret, message

Post = Callable[..., requests.Response]
EVENT = {
    "user": {"keyId": "u1", "name": "Ada", "customizedProperties": []},
    "variations": [
        {
            "featureFlagKey": "dark-mode",
            "timestamp": 1_700_000_000_123,
            "variation": {"id": "v1", "value": "true", "reason": "target match"},
        }
    ],
}


@pytest.fixture
def post(server: FeatBitServer) -> Post:
    """Posts a body to the insight endpoint."""

    def posted(body: Any = (EVENT,), **headers: str) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": server.secret, "Content-Type": "application/json"} | headers
        url = f"{server.event_url}/api/public/insight/track"
        return requests.post(url, data=data, headers=headers, timeout=60)

    return posted


def latest(server: FeatBitServer, secret: str | None = None, **query: Any) -> requests.Response:
    url = f"{server.event_url}/api/public/sdk/server/latest-all"
    return requests.get(url, params=query, headers={"Authorization": secret or server.secret}, timeout=60)


def test_accepted_events_are_recorded(server: FeatBitServer, post: Post) -> None:
    """An answer of 200 with an empty body means that the events are there."""
    answer = post([EVENT, {"user": EVENT["user"]}])

    assert (200, b"") == (answer.status_code, answer.content)
    assert 2 == server.event_count
    first, second = server.events
    assert ("variation", EVENT["user"], EVENT["variations"][0]) == (first.kind, first.user, first.payload)  # type: ignore[index]
    assert ("user", {}) == (second.kind, second.payload)
    assert first.request == second.request == server.requests[0].number == 1
    assert 2 == server.requests[0].events


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_name_its_charset(post: Post, content_type: str) -> None:
    """Only the media type counts."""
    assert 200 == post(**{"Content-Type": content_type}).status_code


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_other_content_is_refused(server: FeatBitServer, post: Post, content_type: str) -> None:
    """A body that is not declared as JSON gets 415."""
    assert 415 == post(**{"Content-Type": content_type}).status_code
    assert 0 == server.event_count


@pytest.mark.parametrize("secret", ["", "short", "Bearer v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"])
def test_malformed_secrets_are_refused(server: FeatBitServer, post: Post, secret: str) -> None:
    """The raw secret stands in the header, else 401 with an empty body."""
    answer = post(Authorization=secret)

    assert (401, b"") == (answer.status_code, answer.content)
    assert (401, 0) == (server.insight_requests[0].status, server.event_count)


def test_events_of_another_environment_are_lost(server: FeatBitServer, post: Post) -> None:
    """A well-formed secret is accepted although nobody knows it."""
    assert 200 == post(Authorization=make_secret()).status_code
    assert 0 == server.event_count


def test_bad_bodies_lose_the_batch(server: FeatBitServer, post: Post) -> None:
    """One event that does not fit the model refuses the others, too."""
    assert 400 == post([EVENT, {"user": {"keyId": 1}}]).status_code
    assert 400 == post(b"{").status_code
    assert 500 == post([None]).status_code
    assert 0 == server.event_count


def test_only_posts_are_insights(server: FeatBitServer) -> None:
    """Another method is not allowed."""
    assert 405 == requests.get(f"{server.event_url}/api/public/insight/track", timeout=60).status_code


def test_large_batches_are_accepted(server: FeatBitServer, post: Post) -> None:
    """A few megabytes are no problem for a real server either."""
    assert 200 == post([EVENT] * 10_000).status_code
    assert 10_000 == server.event_count


def test_latest_data_is_a_full(server: FeatBitServer) -> None:
    """Without a timestamp, or with zero, everything is the answer."""
    assert server.message() == latest(server).text
    assert server.message() == latest(server, timestamp=0).text
    assert "application/json" == latest(server).headers["Content-Type"].partition(";")[0]


def test_latest_data_since_a_time(server: FeatBitServer) -> None:
    """With a timestamp the answer is a patch, or an empty body when nothing is newer."""
    assert server.message(2_999) == latest(server, timestamp=2_999).text
    assert '"patch"' in latest(server, timestamp=2_999).text
    answer = latest(server, timestamp=3_000)
    assert (200, b"", "0") == (answer.status_code, answer.content, answer.headers["Content-Length"])


def test_latest_data_of_another_environment_is_empty(server: FeatBitServer) -> None:
    """A well-formed secret that nobody knows gets an empty full or nothing."""
    assert message("full") == latest(server, make_secret()).text
    assert "" == latest(server, make_secret(), timestamp=1).text


def test_latest_data_refuses(server: FeatBitServer) -> None:
    """Malformed secrets and timestamps and other methods are errors."""
    assert 401 == latest(server, "short").status_code
    assert 400 == latest(server, timestamp="now").status_code
    assert 405 == requests.post(latest(server).url, timeout=60).status_code


@pytest.mark.parametrize(
    ("path", "status"), [("/health/liveness", 200), ("/health/readiness", 200), ("/", 404), ("/streaming", 404)]
)
def test_other_paths(server: FeatBitServer, path: str, status: int) -> None:
    """Health needs no secret, the stream needs an upgrade, and the rest is not found."""
    assert status == requests.get(server.event_url + path, timeout=60).status_code


def test_requests_are_recorded(server: FeatBitServer, post: Post) -> None:
    """Every plain request is there with its answer; posts of insights can be had alone."""
    latest(server, timestamp=7)
    post([EVENT], **{"User-Agent": "me"})

    first, second = server.requests
    assert ("GET", {"timestamp": "7"}, 200) == (first.method, first.query, first.status)
    assert "me" == second.headers["User-Agent"]
    assert len(json.dumps([EVENT])) == second.size
    assert [second] == server.insight_requests


def test_posts_fail_in_turn(server: FeatBitServer, post: Post) -> None:
    """Each chosen status is the answer to one post; then all is well again, and only 2xx counts."""
    server.fail_insights(503, 202, 429, retry_after=2)

    answers = [post() for _ in range(4)]

    assert [503, 202, 429, 200] == [answer.status_code for answer in answers]
    assert ["2", None, "2", None] == [answer.headers.get("Retry-After") for answer in answers]
    assert [503, 202, 429, 200] == [request.status for request in server.insight_requests]
    assert 2 == server.event_count


def test_posts_fail_until_healed(server: FeatBitServer, post: Post) -> None:
    """A lasting status comes after those in turn."""
    server.fail_insights(500)
    server.fail_insights_forever(401)
    failed = [post().status_code for _ in range(3)]
    server.heal_insights()

    assert [500, 401, 401] == failed
    assert 200 == post().status_code


def test_posts_can_be_cut_off(server: FeatBitServer, post: Post) -> None:
    """The status None ends the connection instead of an answer."""
    server.fail_insights(None)

    with pytest.raises(requests.ConnectionError):
        post()

    assert [0] == [request.status for request in server.insight_requests]
    assert 0 == server.event_count


def test_answers_can_be_late(server: FeatBitServer, post: Post) -> None:
    """A slow server has the events before the client knows."""
    server.insight_delay = 30
    url, headers = f"{server.event_url}/api/public/insight/track", {"Authorization": server.secret}

    with pytest.raises(requests.ReadTimeout):
        requests.post(url, json=[EVENT], headers=headers, timeout=0.2)

    assert server.wait_for(lambda s: s.event_count == 1)
    server.heal_insights()
    assert 200 == post().status_code


def test_dates_follow_the_clock(server: FeatBitServer) -> None:
    """Every answer tells the server's idea of the time."""
    right = latest(server).headers["Date"]
    server.clock_offset = -86_400 * 400

    assert right[12:16] != latest(server).headers["Date"][12:16]


def test_latest_data_can_be_refused(server: FeatBitServer) -> None:
    """With a status, in the form of the rate limiter for 429, until that is taken back; nothing else is refused."""
    server.refuse_latest(429, retry_after=7)
    answer = latest(server)
    assert (429, "7", True) == (answer.status_code, answer.headers["Retry-After"], "error" in answer.json())
    server.refuse_latest(503)
    assert 503 == latest(server).status_code

    server.refuse_latest(None)
    assert server.message() == latest(server).text
    assert [429, 503, 200] == [request.status for request in server.latest_requests]


def test_latest_data_can_be_somebody_elses(server: FeatBitServer) -> None:
    """A portal answers with a page and status 200."""
    server.answer_latest("<html>")

    assert (200, "<html>") == (latest(server).status_code, latest(server).text)
    server.refuse_latest(None)
    assert server.message() == latest(server).text
