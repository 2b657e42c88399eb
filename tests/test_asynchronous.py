"""A client in an asyncio program: nobody keeps the loop waiting, and nothing is left behind."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Iterator

import pytest

from fbshared import Config, FBClient
from fbshared.testing import FeatBitServer, bootstrap, flag

USER = {"key": "ada", "name": "Ada"}


@pytest.fixture
def server() -> Iterator[FeatBitServer]:
    with FeatBitServer(bootstrap([flag("on")])) as server:
        yield server


def made(server: FeatBitServer) -> FBClient:
    return FBClient(Config(server.secret, server.event_url, server.streaming_url, events_flush_interval=0.02), 0)


def asked(server: FeatBitServer) -> bool:
    """Whether a client waits for the answer that was kept from it."""
    return any(connection.cursors for connection in server.connections)


def helpers() -> list[threading.Thread]:
    """Threads that close a client, or that asyncio keeps for whoever wants one."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(("fbshared-close", "asyncio"))]


async def told(event: threading.Event) -> None:
    while not event.is_set():  # noqa: ASYNC110 - another thread sets it
        await asyncio.sleep(0.001)


async def beats(waiting: Awaitable[object]) -> int:
    """How often the loop came round while this was waited for."""
    count, task = 0, asyncio.ensure_future(waiting)
    while not task.done():
        await asyncio.sleep(0.001)
        count += 1
    await task
    return count


def test_a_program(server: FeatBitServer) -> None:
    """It waits for data without a thread of ours, evaluates, and its events arrive when it is closed."""

    async def program() -> None:
        async with FBClient(
            Config(server.secret, server.event_url, server.streaming_url, events_flush_interval=0.02), 0
        ) as client:
            assert await client.wait_ready(10)
            assert client.variation("on", USER) is True
        assert [] == helpers()
        assert "on" == server.events[0].payload["featureFlagKey"]

    asyncio.run(program())


def test_waiting_has_an_end(server: FeatBitServer) -> None:
    """Without data it is False when the time is over, and the loop goes round meanwhile; NaN is no time at all."""
    server.mute_data_sync()

    async def program() -> None:
        async with made(server) as client:
            before = time.monotonic()
            assert 1 < await beats(client.wait_ready(1.0))
            assert 1.0 <= time.monotonic() - before < 10
            assert not await client.wait_ready(float("nan"))
            assert not await client.wait_ready(-1)
            assert server.wait_for(asked)
            server.send_raw(server.message())
            assert await client.wait_ready(10)

    asyncio.run(program())


def test_a_refusal_ends_the_wait(server: FeatBitServer) -> None:
    """Where FeatBit refuses, there is nothing to wait for."""
    server.refuse(4003)

    async def program() -> None:
        async with made(server) as client:
            before = time.monotonic()
            assert not await client.wait_ready(60)
            assert time.monotonic() - before < 10

    asyncio.run(program())


def test_waiting_can_be_cancelled(server: FeatBitServer) -> None:
    """The one who waits may give up, and the client goes on."""
    server.mute_data_sync()

    async def program() -> None:
        async with made(server) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.wait_ready(60), 0.05)
            assert server.wait_for(asked)
            server.send_raw(server.message())
            assert await client.wait_ready(10)

    asyncio.run(program())


class Slow(FBClient):
    """A client whose end takes as long as the test wants."""

    def prepare(self) -> None:
        self.leaving, self.may_leave = threading.Event(), threading.Event()

    def stop(self, timeout: float = 5.0) -> None:
        self.leaving.set()
        assert self.may_leave.wait(timeout)
        super().stop(timeout)


@pytest.fixture
def slow(server: FeatBitServer) -> Iterator[Slow]:
    client = Slow(Config(server.secret, server.event_url, server.streaming_url), 10)
    client.prepare()
    yield client
    client.may_leave.set()
    client.stop()


def test_closing_does_not_stop_the_loop(slow: Slow) -> None:
    """The loop goes round while the client leaves, and the thread has ended when it has left."""

    async def program() -> None:
        task = asyncio.ensure_future(slow.aclose(30))
        await told(slow.leaving)
        for _ in range(5):
            await asyncio.sleep(0.001)
            assert not task.done()
        slow.may_leave.set()
        await task
        assert [] == helpers()

    asyncio.run(program())


def test_closing_can_be_cancelled(slow: Slow) -> None:
    """Who waits for the end may give up at once; the client leaves all the same, and its thread ends."""

    async def program() -> None:
        task = asyncio.ensure_future(slow.aclose(30))
        await told(slow.leaving)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (thread,) = helpers()
        slow.may_leave.set()
        thread.join(10)
        assert not thread.is_alive()
        await asyncio.sleep(0.01)  # what it told the loop comes too late, and harms nobody

    asyncio.run(program())


def test_a_loop_that_is_closed_before(slow: Slow) -> None:
    """A program that ends in the middle of closing is no error of ours."""

    async def program() -> None:
        task = asyncio.ensure_future(slow.aclose(30))
        await told(slow.leaving)
        task.cancel()

    asyncio.run(program())
    (thread,) = helpers()
    slow.may_leave.set()
    thread.join(10)

    assert not thread.is_alive()


def test_an_error_of_the_end_is_the_callers(slow: Slow) -> None:
    """What ``stop`` raises comes out of ``aclose``."""

    async def program() -> None:
        with pytest.raises(AssertionError):
            await slow.aclose(0.01)

    asyncio.run(program())
