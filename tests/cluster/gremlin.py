"""Draws faults of an API server and its network from a seed, and counts those that it has drawn."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from cluster.faultyapi import NO_FAULT, NO_WATCH_FAULT, Fault, Request, WatchFault

Draw = Callable[[random.Random], Fault]


class Gremlin:
    """The two hooks of a `FaultyApi`. Faults are drawn in the order of requests: a seed gives a kind of weather.

    One watch of each run fails in a way for which kopf ends the process. Of the kinds in `hidden` no event is let
    through.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.share = self._rng.choice([0.05, 0.15, 0.3])
        self._fails_at = self._rng.randint(3, 12)
        self.told: Counter[str] = Counter()
        self.hidden: frozenset[str] = frozenset()
        self._events = 0

    def on_request(self, request: Request) -> Fault:
        if self._rng.random() > self.share:
            return NO_FAULT
        is_list = not request.write and "/namespaces/" in request.path
        fitting = _REQUEST_FAULTS | (_WRITE_FAULTS if request.write else {}) | (_LIST_FAULTS if is_list else {})
        name = self._rng.choice(list(fitting))
        self.told[name] += 1
        return fitting[name](self._rng)

    def on_event(self, path: str, _event: dict[str, Any]) -> WatchFault:
        self._events += 1
        if self._events == self._fails_at:
            self.told["watch failed"] += 1
            return WatchFault(fails=True)
        if path.rpartition("/")[2] in self.hidden:
            return WatchFault(drop=True)
        if self._rng.random() > self.share:
            return NO_WATCH_FAULT
        name = self._rng.choice(list(_WATCH_FAULTS))
        self.told[name] += 1
        return _WATCH_FAULTS[name](self._rng)


_REQUEST_FAULTS: dict[str, Draw] = {
    "500": lambda _: Fault(status=500),
    "503": lambda _: Fault(status=503),
    "429": lambda _: Fault(status=429, retry_after=1),
    "request lost": lambda _: Fault(lost=True),
    "answer lost": lambda _: Fault(unanswered=True),
    "answer late": lambda rng: Fault(delay_seconds=rng.uniform(0, 1.5)),
}
_WRITE_FAULTS: dict[str, Draw] = {"409": lambda _: Fault(status=409)}
_LIST_FAULTS: dict[str, Draw] = {"410": lambda _: Fault(status=410)}
_WATCH_FAULTS: dict[str, Callable[[random.Random], WatchFault]] = {
    "event dropped": lambda _: WatchFault(drop=True),
    "event repeated": lambda _: WatchFault(repeat=True),
    "event late": lambda rng: WatchFault(delay_seconds=rng.uniform(0, 2)),
    "watch gone": lambda _: WatchFault(gone=True),
    "watch cut": lambda _: WatchFault(cut=True),
    "watch stalled": lambda _: WatchFault(stalls=True),
}
FAULTS = {*_REQUEST_FAULTS, *_WRITE_FAULTS, *_LIST_FAULTS, *_WATCH_FAULTS, "watch failed"}
