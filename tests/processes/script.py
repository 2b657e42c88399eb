"""A script as cron runs them: makes its client, evaluates, and is over; says what it saw, and whether it had to
import what a leader needs."""

import json
import sys

from worker import client_of, user_of

client = client_of(json.loads(sys.argv[1]))
value = client.variation("load", user_of(sys.argv[2]), None)
print(json.dumps([value, client.is_leader, "filelock" in sys.modules]))
