"""Forks children that evaluate and exit, and counts the warnings about threads."""

import json
import os
import sys
import warnings

from worker import client_of, user_of

FORKS = 200

client = client_of(json.loads(sys.argv[1]))
failed = 0
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for number in range(FORKS):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if client.variation("load", user_of(f"child-{number}"), None) == "one" else 1)
        failed += os.waitpid(pid, 0)[1] != 0
        client.variation("load", user_of(f"parent-{number}"), None)
print(json.dumps({"failed": failed, "leads": client.is_leader, "warnings": [str(one.message) for one in caught]}))
