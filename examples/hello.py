"""Three processes, one connection: run it beside ``fbshared serve`` as the README says."""

import os

from fbshared import Config, FBClient

SECRET = "cttm-oFEnEq94XLQ5EWE1gz0A-n4mULUS9wW7rQN9fCg"
client = FBClient(Config(SECRET, event_url="http://127.0.0.1:5100", streaming_url="ws://127.0.0.1:5100"))
for plan in ("free", "team", "pro"):
    if os.fork() == 0:  # as gunicorn, Celery and multiprocessing do
        user = {"key": f"anna-{plan}", "name": "Anna", "plan": plan}
        print(plan, client.variation("new-checkout", user, default=False), flush=True)
        os._exit(0)
    os.wait()
client.stop()
