"""A mule of uWSGI: a process without requests, which evaluates now and then with a client of its own."""

import json
import os
import time

from worker import client_of, user_of

client = client_of(json.loads(os.environ["FBSHARED_TEST_SETTINGS"]))
number = 0
while True:
    number += 1
    client.variation("load", user_of(f"mule-{number}"), None)
    time.sleep(0.05)
