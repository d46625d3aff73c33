"""Which experiments to look at, and when: each once in the queue, by one worker at a time, at a bounded rate."""

import asyncio
import heapq
import random
from collections.abc import Callable

from trialrun_operator.names import Key

# At most five looks a second at one experiment, and at most half a CPU for it, however large it is.
PERIOD_SECONDS = 0.2
_MAX_CPU_SHARE = 0.5
_FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 60.0
_NEVER = float("inf")


class Queue:
    """Keys with the time at which each is due. Adding a key that is queued can only move it forward."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, str, Key]] = []
        self._taken: dict[Key, float] = {}
        # When a key that is being looked at is due again.
        self._again: dict[Key, float] = {}
        self._not_before: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._news = asyncio.Event()

    @property
    def depth(self) -> int:
        """How many keys are due by now and wait for a worker."""
        now = self._clock()
        return sum(1 for due in self._due.values() if due <= now)

    def add(self, key: Key, after_seconds: float = 0.0) -> None:
        """Has the key looked at after so long, or earlier if that was asked for before; never too often."""
        due = self._clock() + after_seconds
        if key in self._taken:
            self._again[key] = min(due, self._again.get(key, _NEVER))
        else:
            self._push(key, due)

    def next_delay(self) -> float | None:
        """Seconds until the next key is due: 0 when one is, None when none is queued."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # it was moved forward
        return max(0.0, self._heap[0][0] - self._clock()) if self._heap else None

    async def take(self) -> Key:
        """The next key that is due; it stays with the caller until `done` or `failed`."""
        while True:
            delay = self.next_delay()
            if delay == 0.0:
                key = heapq.heappop(self._heap)[2]
                del self._due[key]
                self._taken[key] = self._clock()
                return key
            self._news.clear()
            try:
                async with asyncio.timeout(delay):
                    await self._news.wait()
            except TimeoutError:
                pass

    def done(self, key: Key, computed_seconds: float) -> None:
        """Gives the key back after a look that went well and took so much computing."""
        self._failures.pop(key, None)
        self._release(key, self._taken[key] + max(PERIOD_SECONDS, computed_seconds / _MAX_CPU_SHARE))

    def failed(self, key: Key, at_least_seconds: float = 0.0) -> float:
        """Gives the key back after a look that failed; gives the seconds until the next."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        wait = min(MAX_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0 ** min(count - 1, 10))
        # Spread, so that what failed together does not come back together.
        wait = max(wait * random.uniform(0.75, 1.0), at_least_seconds)
        self._again[key] = self._clock()
        self._release(key, self._clock() + wait)
        return wait

    def _release(self, key: Key, not_before: float) -> None:
        del self._taken[key]
        if len(self._not_before) > 1000:
            now = self._clock()
            self._not_before = {each: moment for each, moment in self._not_before.items() if moment > now}
        self._not_before[key] = not_before
        if (due := self._again.pop(key, None)) is not None:
            self._push(key, due)

    def _push(self, key: Key, due: float) -> None:
        due = max(due, self._not_before.get(key, 0.0))
        if due < self._due.get(key, _NEVER):
            self._due[key] = due
            heapq.heappush(self._heap, (due, str(key), key))
            self._news.set()
