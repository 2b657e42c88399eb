"""The plain HTTP side of the local server; everything here runs in the thread of its event loop."""

import asyncio
import time

from aiohttp import web

from fbshared.testing import insights
from fbshared.testing.credentials import environment_of
from fbshared.testing.environment import Environment, message
from fbshared.testing.faults import Faults
from fbshared.testing.records import Found, Journal, Request
from fbshared.testing.streaming import date_header, hang_up, refusal

INSIGHT_PATH = "/api/public/insight/track"
LATEST_PATH = "/api/public/sdk/server/latest-all"
HEALTH_PATHS = ("/health/liveness", "/health/readiness")


class Endpoints:
    """Insights, latest data and health, judged as a FeatBit evaluation server judges."""

    def __init__(self, environment: Environment, faults: Faults, journal: Journal, environment_id: str) -> None:
        self._environment = environment
        self._faults = faults
        self._journal = journal
        self._environment_id = environment_id
        self._number = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request and note it; a slow answer is noted before the delay."""
        self._number += 1
        number = self._number
        body = await request.read()
        found: Found = []
        delay = 0.0
        response: web.Response | None
        if request.path == INSIGHT_PATH:
            delay = self._faults.insight_delay
            response, found = self._insights(request, body)
        elif request.path == LATEST_PATH:
            response = self._latest(request)
        else:
            response = web.Response(status=200 if request.path in HEALTH_PATHS else 404)
        record = Request(
            number=number,
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=dict(request.headers),
            size=len(body),
            status=0 if response is None else response.status,
            events=len(found),
            received_at=time.time(),
        )
        self._journal.answered(record, found)
        if delay:
            await asyncio.sleep(delay)
        if response is None:
            hang_up(request.transport)
            return web.Response()
        response.headers["Date"] = date_header(self._faults.clock_offset)
        return response

    def _insights(self, request: web.Request, body: bytes) -> tuple[web.Response | None, Found]:
        if request.method != "POST":
            return web.Response(status=405), []
        status = self._faults.next_insight_status()
        if status is None:
            return None, []
        if not 200 <= status < 300:
            return refusal(status, self._faults.insight_retry_after, {}), []
        environment_id = self._authorized(request)
        if environment_id is None:
            return web.Response(status=401), []
        if request.content_type != "application/json":
            return web.Response(status=415), []
        try:
            found = insights.read(body)
        except insights.RefusedError as error:
            return web.Response(status=error.status), []
        # The check of the secret is structural only: events of an unknown environment are accepted and lost.
        return web.Response(status=status), found if environment_id == self._environment_id else []

    def _latest(self, request: web.Request) -> web.Response:
        if request.method != "GET":
            return web.Response(status=405)
        faults = self._faults
        if faults.latest_status is not None:
            return refusal(faults.latest_status, faults.latest_retry_after, {})
        if faults.latest_text is not None:
            return web.Response(text=faults.latest_text, content_type="text/html")
        environment_id = self._authorized(request)
        if environment_id is None:
            return web.Response(status=401)
        try:
            timestamp = int(request.query.get("timestamp") or 0)
        except ValueError:
            return web.Response(status=400)
        if environment_id != self._environment_id:
            text = "" if timestamp else message("full")
        else:
            with self._journal.changed:
                empty = timestamp != 0 and not self._environment.has_newer(timestamp)
                text = "" if empty else self._environment.answer(timestamp)
        if not text:
            return web.Response()
        return web.Response(text=text, content_type="application/json")

    def _authorized(self, request: web.Request) -> str | None:
        """The environment of the secret in the request, None when the secret is malformed."""
        try:
            return environment_of(request.headers.get("Authorization", ""))
        except ValueError:
            return None
