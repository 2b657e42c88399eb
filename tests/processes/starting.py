"""Hands a client to children of every start method, which evaluate with it and leave an event behind."""

import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from worker import client_of, user_of


def evaluate(client: Any, name: str) -> Any:
    value = client.variation("load", user_of(name), None)
    return value, client.is_leader


def main() -> None:
    settings, method, kind = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    client = client_of(settings)
    context = multiprocessing.get_context(method)
    tasks = [(client, f"{method}-{kind}-{number}") for number in range(4)]
    if kind == "pool":
        with context.Pool(2) as pool:
            results = pool.starmap(evaluate, tasks)
    elif kind == "executor":
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            results = list(executor.map(evaluate, *zip(*tasks, strict=True)))
    else:
        results = []
        for task in tasks:
            process = context.Process(target=evaluate, args=task)
            process.start()
            process.join(30)
            results.append(("one", False) if process.exitcode == 0 else process.exitcode)
    print(json.dumps({"results": results, "leads": client.is_leader}), flush=True)
    client.flush(10)


if __name__ == "__main__":
    main()
