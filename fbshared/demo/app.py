"""The web application that the demo runs: plain WSGI, and not one line about processes or forks.

``GET /?flag=KEY&user=KEY`` evaluates one flag for one user.
"""

import json
import os
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any
from urllib.parse import parse_qs

from fbshared import Config, FBClient

client = FBClient(
    Config(
        os.environ["FBSHARED_DEMO_SECRET"],
        event_url=os.environ["FBSHARED_DEMO_EVENT_URL"],
        streaming_url=os.environ["FBSHARED_DEMO_STREAMING_URL"],
        leader_stale_limit=float(os.environ["FBSHARED_DEMO_STALE_LIMIT"]),
    ),
    start_wait=5.0,
)
evaluations = count(1)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Say which process answers, what the flag is for this user, and whether this process leads."""
    query = parse_qs(environ["QUERY_STRING"])
    user = {"key": query["user"][0], "name": query["user"][0], "country": "nl", "plan": "free", "age": 42}
    detail = client.variation_detail(query["flag"][0], user, None)
    body = json.dumps(
        {
            "pid": os.getpid(),
            "value": detail.variation,
            "variation": detail.variation_id,
            "reason": detail.reason,
            "is_leader": client.is_leader,
            "evaluations": next(evaluations),
        }
    ).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
