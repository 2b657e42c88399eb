"""Waiting in asyncio programs. Evaluation needs none of this: it never waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncLife"]


class AsyncLife:
    """The beginning and the end of a client for asyncio; a part of ``FBClient``.

    Make the client with ``start_wait=0``, so that its constructor does not keep the loop waiting::

        async with FBClient(config, start_wait=0) as client:
            await client.wait_ready(10)
    """

    __slots__ = ()

    async def wait_ready(self, timeout: float = 15.0) -> bool:
        """Whether there is data to evaluate, after at most ``timeout`` seconds; early when FeatBit refuses.

        May be cancelled at any moment; it uses no thread.
        """
        from asyncio import sleep  # of no use to most programs, and slow to import

        for pause in self._pauses(timeout):
            await sleep(pause)
        return self.initialize

    async def aclose(self, timeout: float = 5.0) -> None:
        """As ``stop``, without keeping the loop waiting. A thread does it, and has ended when this returns.

        Cancelled, this returns at once, and the thread still ends within ``timeout`` seconds.
        """
        from asyncio import get_running_loop

        loop = get_running_loop()
        stopped = loop.create_future()

        def settle(error: BaseException | None) -> None:
            if stopped.done():  # cancelled
                return
            if error is None:
                stopped.set_result(None)
            else:
                stopped.set_exception(error)

        def work() -> None:
            error: BaseException | None = None
            try:
                self.stop(timeout)
            except BaseException as caught:  # noqa: BLE001 - the caller's, whatever it is
                error = caught
            try:
                loop.call_soon_threadsafe(settle, error)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

        thread = threading.Thread(target=work, name="fbshared-close", daemon=True)
        thread.start()
        await stopped
        thread.join()  # it has nothing left to do

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # What the client has.

    @property
    def initialize(self) -> bool:
        raise NotImplementedError

    def stop(self, timeout: float = 5.0) -> None:
        raise NotImplementedError

    def _pauses(self, seconds: float) -> Iterator[float]:
        raise NotImplementedError
