"""The demo as a whole: stage, steps, exit code."""

import json
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from fbshared.demo import steps
from fbshared.demo.choice import Choice, choose
from fbshared.demo.story import Story
from fbshared.demo.traffic import Traffic
from fbshared.demo.workers import STALE_LIMIT, WORKERS, Workers
from fbshared.testing import FeatBitServer, sample_environment


def run(file: Path | None) -> int:
    """Show everything, on sample data or on a bootstrap file; 0 when every promise was kept, else 1."""
    story = Story()
    signal.signal(signal.SIGTERM, _leave)
    with ExitStack() as stack:
        server = stack.enter_context(FeatBitServer(file or sample_environment()))
        choice = choose(json.loads(server.message())["data"]["featureFlags"])
        # The flip must be seen by every user: targets and rules would hide it from some.
        server.put_flag(choice.serving(choice.before))
        _introduce(story, file.name if file else "sample data", server, choice)
        workers = stack.enter_context(Workers(server))
        traffic = Traffic(workers.port, choice.key, workers=WORKERS)
        stack.callback(traffic.stop)
        _perform(steps.Stage(story, server, workers, traffic, choice, STALE_LIMIT))
    return story.end()


def _introduce(story: Story, source: str, server: FeatBitServer, choice: Choice) -> None:
    data = json.loads(server.message())["data"]
    flags, segments = len(data["featureFlags"]), len(data["segments"])
    before, after = choice.value(choice.before), choice.value(choice.after)
    story.chapter(f"a local FeatBit server, and gunicorn --preload with {WORKERS} workers")
    story.says(f"{source}: {flags} flags and {segments} segments, on {server.event_url}")
    story.says(f"the demo looks at flag {choice.key!r}: {before!r} for everybody, later {after!r}")


def _perform(stage: steps.Stage) -> None:
    try:
        steps.one_connection(stage)
        steps.flip(stage, stage.choice.after, "the flag is flipped on the server")
        if stage.leader() == stage.workers.master:
            steps.freeze_the_leader(stage)
        steps.kill_the_leader(stage)
        steps.flip(stage, stage.choice.before, "the flag is flipped back, under the new leader")
        steps.count_events(stage)
    finally:
        if stage.story.broken or not stage.workers.running:
            stage.story.says("what gunicorn and the app logged:\n" + stage.workers.log())
        steps.clean_up(stage)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
