"""One cluster for all processes of a test run, which the first starts and the last ends, and turns on it."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager

from node import host, machine
from node.__main__ import down, up
from node.place import Place


@contextmanager
def shared(place: Place, run: str) -> Iterator[None]:
    """The cluster of this place is there, for one of the processes of the test run of this name.

    One that ran before is brought up to date and left running. One that was started is ended by the last to leave,
    and then this machine is as it was.
    """
    note = place.state / "test-run"
    place.cache.mkdir(parents=True, exist_ok=True)
    with (place.cache / "users").open("w") as users:
        with host.locked(place, "door"):
            if not (note.exists() and note.read_text().startswith(run)):
                host.require(place)  # on a new machine the programs that tell of its state are missing too
                before = machine.traces() if host.running(place) is None else None
                up(place)
                note.write_text(f"{run}\n{json.dumps(before)}")
            fcntl.flock(users, fcntl.LOCK_SH)
        yield
        with host.locked(place, "door"):
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # others are at work on it
            before = json.loads(note.read_text().partition("\n")[2])
            if before is not None:
                down(place)
                assert machine.traces() == before


@contextmanager
def turn(place: Place, *, alone: bool) -> Iterator[None]:
    """Waits until nobody else has a turn, if `alone`, or else nobody alone."""
    with host.locked(place, "turns", fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
        yield
