"""``python -m tests.faults --seed 7 --seconds 60 --members 5``: exits with 1 when a promise was broken."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.run import Run, server
from tests.processes.conftest import Crew


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="of the schedule")
    parser.add_argument("--seconds", type=float, default=60.0, help="for which faults happen")
    parser.add_argument("--members", type=int, default=5, help="at the beginning, three at least")
    parser.add_argument("--verbose", action="store_true", help="print each fault with its time")
    options = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="fbt-", dir=memory))
    os.environ["FBSHARED_DIR"] = str(directory)
    say = (lambda line: print(line, flush=True)) if options.verbose else (lambda line: None)
    try:
        with server() as running:
            crew = Crew(running, directory)
            try:
                report = Run(crew, options.seed, options.members, say).run(options.seconds)
            finally:
                crew.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(report, flush=True)
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
