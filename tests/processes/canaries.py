"""A process of ``test_private``: does what applications do, with everything logged, and shows all that it holds.

Its settings are environment variables, those of ``Config.from_env`` among them.
"""

import gc
import json
import logging
import os
import sys

logging.basicConfig(level=logging.DEBUG)

from fbshared import Config, FBClient, FBUser, HTTPConfig  # noqa: E402 - what imports log is looked at, too

USER = json.loads(os.environ["CANARY_USER"])
PREPARED = FBUser.from_dict(USER)


class Listener:
    """Fails with the user in its hands."""

    def on_flag_change(self, notice: object) -> None:
        raise RuntimeError(f"{notice} {USER}")


def use(client: FBClient) -> None:
    client.flag_tracker.add_flag_changed_listener(Listener())
    for user in (USER, PREPARED, USER | {"age": object()}, USER | {"key": ""}):
        client.variation("load", user, "default")
        client.variation_detail("missing", user, "default")
        client.get_all_latest_flag_variations(user).get("load", "default")
        client.identify(user)
        client.track_metric(user, "metric", float("nan"))
        client.track_metric(user, "metric", 1.0)
    client.variation("load", [USER], "default")  # type: ignore[arg-type]  # what an application may do by mistake
    client.flush(1.0)


def show() -> None:
    """Every object of the package that the collector knows, and every exception with its text."""
    for each in gc.get_objects():
        kind = type(each)
        if str(kind.__module__).partition(".")[0] == "fbshared" or isinstance(each, BaseException):
            print(kind.__qualname__, repr(each), str(each) if isinstance(each, BaseException) else "")


if __name__ == "__main__":
    headers = {"X-Canary": os.environ["CANARY_HEADER"]}
    http = HTTPConfig(**json.loads(os.environ.get("CANARY_HTTP", "{}")))
    with FBClient(
        Config.from_env(headers=headers, http=http), start_wait=float(os.environ.get("CANARY_WAIT", "5"))
    ) as made:
        use(made)
        print("ready", flush=True)
        for command in sys.stdin:
            use(made)
            show()
            print(command, end="", flush=True)
