"""What the runner needs of whatever starts its trials, and what it is told by it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainer.experiment.expand import Trial
from trainer.experiment.judge import RankExit

STOP = "stop"  # a file in a trial's folder that asks it to stop
QUIET_SECONDS = 2.0  # of waiting, after which it is said what is waited for
WAKE_SECONDS = 1.0  # no wait is longer: a signal that comes just before one is seen only after it


class LauncherEnded(Exception):
    """What starts trials is gone; its text is what it last said."""


@dataclass(frozen=True)
class Reported:
    """A trial has told its metrics after a step: of our trainer's an epoch, from 1."""

    trial: str
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Begun:
    """All ranks of a trial have loaded what they need, and train from now on."""

    trial: str


@dataclass(frozen=True)
class Waits:
    """A trial has waited for two seconds or more, and `why` is news."""

    trial: str
    why: str


@dataclass(frozen=True)
class RankEnded:
    """A rank has ended.

    A rank that has reported tells so itself, and may be told of again when its process is gone.
    """

    trial: str
    exit: RankExit


@dataclass(frozen=True)
class PackEnded:
    """The pack that a trial trained in has ended before the trial; `exit` is how, if the trial is to blame.

    Another trial may be, so that it can be trained again by itself. `why` says what happened, of the pack's `first`.
    """

    trial: str
    exit: RankExit
    why: str
    first: bool


Event = Reported | Begun | Waits | RankEnded | PackEnded


class Launcher(Protocol):
    """Starts the ranks of trials somewhere and tells how they end."""

    @property
    def start_seconds(self) -> float:
        """How long ranks may take until they can train, and `Begun` says so: it is no part of a trial's deadline."""

    def await_ready(self, waits: Callable[[str], None]) -> None:
        """Returns once trials can be started. `waits` hears what takes longer than two seconds.

        Raises:
            UserError: they can't be, as things are.
            LauncherEnded: what starts them did not come up.
        """

    def start(self, trial: Trial, folder: Path, told: Sequence[int] = (), until: int | None = None) -> None:
        """Starts every rank of a trial, artefacts and log in `folder`.

        That it has done one of the steps `told`, or `until`, is told at once, others when there is time. A program
        that asks is told to stop after the step `until`.
        """

    def stop(self, trial: Trial) -> None:
        """Has a trial end that is not to go on; each of its ranks is told of as ended."""

    def kill(self, trial: Trial) -> None:
        """Ends what is left of a trial's ranks; each is told of as ended."""

    def events(self, timeout: float) -> Iterator[Event]:
        """What happened, waiting at most `timeout` seconds for the first event; maybe nothing.

        Raises:
            LauncherEnded: nothing will ever happen again.
        """
