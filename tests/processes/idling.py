"""Children of every kind that multiprocessing knows, which get a client and do nothing with it until they are asked.

``idling.py SETTINGS METHOD`` makes a pool, an executor and single processes, says so, and when its input ends tells
what the first evaluation in each of them gave.
"""

import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from worker import client_of, user_of

NEEDED = 1.0  # seconds that a task keeps a child busy, so that each child gets one

client: Any = None


def keep(given: Any) -> None:
    global client
    client = given


def evaluate(name: str) -> Any:
    value = client.variation("load", user_of(name), None)
    time.sleep(NEEDED)
    return value


def wait(given: Any, go: Any, answers: Any, name: str) -> None:
    go.wait()
    answers.put(given.variation("load", user_of(name), None))


def idle(_: int) -> None:
    time.sleep(NEEDED)


def main() -> None:
    settings, method = json.loads(sys.argv[1]), sys.argv[2]
    made = client_of(settings)
    made.variation("load", user_of("import"), None)
    context = multiprocessing.get_context(method)
    go, answers = context.Event(), context.Queue()
    processes = [context.Process(target=wait, args=(made, go, answers, f"{method}-process-{n}")) for n in range(2)]
    for process in processes:
        process.start()
    with context.Pool(2, keep, (made,)) as pool, ProcessPoolExecutor(2, context, keep, (made,)) as executor:
        list(executor.map(idle, range(2)))  # which start it
        print("ready", flush=True)
        sys.stdin.read()
        go.set()
        names = [f"{method}-pool-{n}" for n in range(2)], [f"{method}-executor-{n}" for n in range(2)]
        found = pool.map(evaluate, names[0], 1), list(executor.map(evaluate, names[1]))
        values = {"pool": found[0], "executor": found[1], "process": [answers.get(timeout=20) for _ in processes]}
    for process in processes:
        process.join(20)
    print(json.dumps(values), flush=True)
    made.stop()


if __name__ == "__main__":
    main()
