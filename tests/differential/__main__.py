"""Compares evaluations with the reference SDK, fb-python-sdk 1.2.1::

    python -m tests.differential --seed 1 --comparisons 200000

Prints how many were equal and how many differ for each known cause. One that differs for no known cause is printed
as the smallest JSON case that still differs, ready for ``tests/fixtures``, and makes the exit code 1. The same seed
gives the same comparisons.
"""

import argparse
import json
import sys
import time
from collections import Counter
from random import Random

from tests.differential.compare import DEVIATIONS, EQUAL, UNEXPLAINED, shrunk, verdict
from tests.differential.worlds import a_user, a_world

USERS = 5  # for each flag
MOST_SHOWN = 5


def run(seed: int, comparisons: int) -> Counter[str]:
    """How many of the comparisons came to which verdict."""
    rnd = Random(seed)
    counts: Counter[str] = Counter()
    while counts.total() < comparisons:
        flag, segments = a_world(rnd)
        for _ in range(min(USERS, comparisons - counts.total())):
            user = a_user(rnd)
            found = verdict(flag, segments, user)
            counts[found] += 1
            if found == UNEXPLAINED and counts[found] <= MOST_SHOWN:
                case = shrunk([flag, segments, user], lambda case: verdict(*case) == UNEXPLAINED)
                print(json.dumps(dict(zip(("flag", "segments", "user"), case, strict=True)), default=repr))
    return counts


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--comparisons", type=int, default=200_000)
    arguments = parser.parse_args()
    began = time.monotonic()
    counts = run(arguments.seed, arguments.comparisons)
    for name in (EQUAL, *DEVIATIONS, UNEXPLAINED):
        print(f"{counts[name]:9,}  {name}")
    print(f"{counts.total():9,}  comparisons in {time.monotonic() - began:.0f} s, seed {arguments.seed}")
    return 1 if counts[UNEXPLAINED] else 0


if __name__ == "__main__":
    sys.exit(main())
