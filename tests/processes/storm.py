"""Eight threads and a signal handler put at once, and exceptions strike in the middle of puts.

Writes the users of all calls that returned, one on each line, and says how the end was.
"""

import ctypes
import json
import random
import signal
import sys
import threading
import time

from worker import client_of, user_of

SECONDS, LONGEST = 3.0, 30.0  # at least, and where a busy machine needs more for enough of everything


class Struck(BaseException):
    """Thrown into the middle of whatever runs; as a KeyboardInterrupt, it is caught by nobody on its way."""


client = client_of(json.loads(sys.argv[1]))
record, exceptions = sys.argv[2], sys.argv[3] == "exceptions"
returned: list[list[str]] = []
handled: list[str] = []
began = time.monotonic()
struck = [0]
striking, over = [True], [False]


def goes_on() -> bool:
    passed = time.monotonic() - began
    return passed < SECONDS or (passed < LONGEST and not enough())


def enough() -> bool:
    return len(handled) > 200 and sum(map(len, returned)) > 1500 and (not exceptions or struck[0] > 200)


def put(key: str, done: list[str]) -> None:
    if client.variation("load", user_of(key), "default") != "one":
        raise SystemExit("a wrong value")
    done.append(key)


def work(name: str, done: list[str]) -> None:
    number = 0
    while not over[0]:
        number += 1
        try:
            put(f"{name}-{number}", done)
            time.sleep(0.001)
        except Struck:
            struck[0] += 1


def on_signal(number: int, frame: object) -> None:
    put(f"handler-{len(handled)}", handled)
    if exceptions and random.random() < 0.2 and striking[0]:
        raise Struck


def keep_time(threads: list[threading.Thread]) -> None:
    """Throw into one thread after the other, which Python does between two of its instructions; then end it all."""
    while goes_on():
        if exceptions:
            target = ctypes.c_ulong(random.choice(threads).ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(Struck))
        time.sleep(0.001)
    striking[0] = False
    time.sleep(0.2)  # for the last ones to arrive
    over[0] = True


def main() -> None:
    threads = []
    for number in range(8):
        returned.append([])
        threads.append(threading.Thread(target=work, args=(f"thread{number}", returned[-1]), daemon=True))
    for thread in threads:
        thread.start()
    threading.Thread(target=keep_time, args=(threads,), daemon=True).start()
    signal.signal(signal.SIGALRM, on_signal)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    mine: list[str] = []
    returned.append(mine)
    while not over[0]:
        try:
            work("main", mine)
        except Struck:
            struck[0] += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    for thread in threads:
        thread.join(20)
    late: list[str] = []
    returned.append(late)
    for number in range(200):
        put(f"late-{number}", late)
    with open(record, "w") as file:
        file.writelines(f"{key}\n" for done in [*returned, handled] for key in done)
    outbox = client._member.outbox  # nothing public tells whether a ring can still be written to
    locked = len(outbox.rings) - len(outbox._free)
    dropped = outbox.lost + sum(ring.dropped for ring in outbox.rings.values())
    alive = sum(thread.is_alive() for thread in threads)
    counts = {"alive": alive, "locked": locked, "dropped": dropped}
    print(json.dumps({"struck": struck[0], "handled": len(handled), **counts}))


main()
sys.stdout.flush()
client.stop(3.0)
