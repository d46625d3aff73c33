"""Says over HTTP whether the operator still works (/livez, /readyz), and its figures (/metrics)."""

from collections.abc import Callable

from aiohttp import web

from trialrun_operator.metrics import CONTENT_TYPE, Metrics

# A LIST of everything and a look at every experiment are due each minute. Where none goes well for minutes, a process
# that begins anew, with new connections and credentials, is worth a try; it loses nothing.
MAX_SILENCE_SECONDS = 300.0


class Health:
    """When a resync last went well, and a look at an experiment last came to an end, well or not."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._resync = self._look = clock()
        self._waiting_since: float | None = None
        self.ready = False

    def resynced(self) -> None:
        """Everything was listed."""
        self._resync = self._clock()
        self.ready = True

    def looked(self, waiting: int) -> None:
        """A look at an experiment came to an end; so many are due."""
        self._look = self._clock()
        self._waiting_since = self._clock() if waiting else None

    def problem(self, waiting: int) -> str | None:
        """Why the operator should be restarted, None when it need not; so many experiments wait to be looked at."""
        now = self._clock()
        if now - self._resync > MAX_SILENCE_SECONDS:
            return f"no resync went well for {now - self._resync:.0f} s"
        if not waiting:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        elif now - max(self._look, self._waiting_since) > MAX_SILENCE_SECONDS:
            return f"{waiting} experiments wait, and no reconcile came to an end for {now - self._look:.0f} s"
        return None


async def serve(port: int, health: Health, waiting: Callable[[], int], metrics: Metrics) -> web.AppRunner:
    """Starts the server; `cleanup()` on what it gives ends it."""

    async def livez(_: web.Request) -> web.Response:
        problem = health.problem(waiting())
        return web.Response(status=503 if problem else 200, text=problem or "ok")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(status=200 if health.ready else 503, text="ok" if health.ready else "still listing")

    async def figures(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    application = web.Application()
    application.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", figures)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
