"""Has points suggested, for all experiments by one process: asks it in turns, tells it what is new, keeps answers.

A look asks and goes on; it is told of answers by another look. That the process dies costs nothing but time: it is
started again, and told all lessons of an experiment when its turn comes.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from trainer.experiment.record import cut_error
from trainer.experiment.spec import HyperparamSearch
from trainer.experiment.suggestion import Suggestion
from trainer.scheduling.lessons import Lesson
from trialrun_operator.child_process import ProcessEnded
from trialrun_operator.names import Key

_log = logging.getLogger(__name__)
PROGRAM = ("-P", "-m", "trainer.suggesting.child", "0", "1")
PROCESS = "the process that suggests points"
IDLE_SECONDS = 60.0  # after which the process is ended
TURN_SECONDS = 0.5  # of asking for one experiment, while another waits
_FIRST_BACKOFF_SECONDS = 2.0
_MAX_BACKOFF_SECONDS = 60.0
_NEVER = float("-inf")


class Answers(Protocol):
    """Whatever answers the requests of `trainer.suggesting.child`."""

    async def tell(self, *requests: Mapping[str, Any]) -> None:
        """Gives it something to do."""

    async def hear(self) -> dict[str, Any]:
        """What it tells next."""

    async def end(self) -> None:
        """Ends it, if it runs; it knows nothing after that."""


@dataclass(frozen=True)
class Question:
    """So many points are wanted, after those of the `lessons`, which are of all points that the ledger has."""

    search: HyperparamSearch
    earlier: Sequence[Lesson]
    lessons: Sequence[Lesson]
    count: int


@dataclass
class _Failures:
    """How often in a row it went wrong. The first time nothing is waited for: a process may die by accident."""

    count: int = 0
    until: float = _NEVER
    error: str = ""

    def add(self, error: str, now: float) -> None:
        self.count, self.error = self.count + 1, error
        wait = min(_MAX_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0 ** min(self.count - 2, 10))
        self.until = now + wait if self.count > 1 else now


@dataclass
class _Asked:
    """An experiment that wants points: suggestions that the ledger has not got yet, and what the process was told."""

    uid: str
    question: Question
    suggestions: list[Suggestion] = field(default_factory=list)
    exhausted: bool = False
    told: Mapping[int, Lesson] | None = None  # by number; None where it has not begun
    failures: _Failures = field(default_factory=_Failures)

    @property
    def open(self) -> bool:
        return not self.exhausted and len(self.suggestions) < self.question.count

    @property
    def number(self) -> int:
        """Of the point to be suggested next."""
        return len(self.question.lessons) + len(self.suggestions)

    @property
    def lessons(self) -> dict[int, Lesson]:
        """All that the process is to know, by number: suggestions that are not written yet are points in hand."""
        return {each.number: each for each in (*self.question.lessons, *map(_running, self.suggestions))}

    def is_told(self, lessons: Mapping[int, Lesson]) -> bool:
        """Whether the process knows points of these lessons, and no others."""
        return self.told is not None and all(
            (now := lessons.get(number)) is known or (now is not None and now.parameters == known.parameters)
            for number, known in self.told.items()
        )

    def requests(self) -> list[dict[str, Any]]:
        """What the process is to be told before it is asked; it counts as told."""
        requests, lessons = list[dict[str, Any]](), self.lessons
        told = self.told if self.told is not None and self.is_told(lessons) else None
        if told is None:
            told, question = {}, self.question
            document = question.search.document(sparse=True)
            requests.append({"do": "begin", "search": self.uid, "experiment": document, "earlier": question.earlier})
        changed = [
            each for number, each in lessons.items() if (known := told.get(number)) is not each and known != each
        ]
        if changed:
            requests.append({"do": "learn", "search": self.uid, "lessons": changed})
        self.told = lessons
        return requests


class Suggester:
    """Questions and answers by experiment. `answered` is called for one about which there is news.

    `clock` gives seconds that never go back.
    """

    def __init__(self, process: Answers, answered: Callable[[Key], None], clock: Callable[[], float]) -> None:
        self._process = process
        self._answered = answered
        self._clock = clock
        self._asked: dict[Key, _Asked] = {}  # in the order of their turns
        self._forgotten: list[str] = []  # that the process may still know
        self._failures = _Failures()  # of the process, whoever's turn it was
        self._news = asyncio.Event()
        self._last = _NEVER

    # --- what looks call; none of it waits

    def ask(self, key: Key, uid: str, question: Question) -> None:
        """Asks for points, in place of what was asked for this experiment before."""
        asked = self._asked.get(key)
        if asked is None or asked.uid != uid:
            self.forget(key)
            asked = self._asked[key] = _Asked(uid, question)
        if len(question.lessons) != len(asked.question.lessons):  # another operator was first with one
            asked.suggestions = []
        asked.question, asked.exhausted = question, False
        self._news.set()

    def suggested(self, key: Key, uid: str, number: int, count: int) -> list[Suggestion]:
        """Up to `count` suggestions from that number on, as far as there are any by now."""
        asked = self._asked.get(key)
        if asked is None or asked.uid != uid or number != len(asked.question.lessons):
            return []
        return asked.suggestions[:count]

    def written(self, key: Key, count: int) -> None:
        """The first `count` suggestions are in the ledger; what follows on them still holds."""
        asked = self._asked[key]
        lessons = [*asked.question.lessons, *(_running(each) for each in asked.suggestions[:count])]
        asked.question = replace(asked.question, lessons=lessons, count=max(0, asked.question.count - count))
        asked.suggestions = asked.suggestions[count:]

    def is_exhausted(self, key: Key, uid: str, number: int) -> bool:
        """Whether every point has been tried before that number."""
        asked = self._asked.get(key)
        return asked is not None and asked.uid == uid and asked.exhausted and asked.number == number

    def problem(self, key: Key) -> str | None:
        """Why nothing is suggested to an experiment, if it isn't for a passing reason."""
        asked = self._asked.get(key)
        if asked is None or not asked.open:
            return None
        return next((each.error for each in (asked.failures, self._failures) if each.count > 1), None)

    def drop(self, key: Key) -> None:
        """No points are wanted at present: what comes is not kept."""
        if (asked := self._asked.get(key)) is not None:
            asked.question, asked.suggestions = replace(asked.question, count=0), []

    def forget(self, key: Key) -> None:
        """The experiment wants nothing more."""
        if (asked := self._asked.pop(key, None)) is not None:
            self._forgotten.append(asked.uid)

    # --- asking

    async def run(self) -> None:
        """Asks the process whatever looks want to know, for ever."""
        try:
            while True:
                await self.work_off()
                wait = self._until_next()
                self._news.clear()
                try:
                    async with asyncio.timeout(wait):
                        await self._news.wait()
                except TimeoutError:
                    if self._last + IDLE_SECONDS <= self._clock():
                        await self._end()
        finally:
            await self._process.end()

    async def work_off(self) -> None:
        """Asks until nobody wants to know more, or all that is wanted has to wait."""
        while (key := self._next()) is not None:
            asked = self._asked[key] = self._asked.pop(key)  # the others come first after that
            try:
                await self._turn(key, asked)
            except ProcessEnded as ended:
                self._ended(key, asked, str(ended))
            except Exception as error:  # whatever it is, it concerns suggestions only
                _log.exception("%s: asking for a point went wrong", key)
                await self._process.end()
                self._ended(key, asked, repr(error))
            self._last = self._clock()
            self._answered(key)

    def _next(self) -> Key | None:
        """Whose turn it is."""
        now = self._clock()
        if self._failures.until > now:
            return None
        return next((key for key, each in self._asked.items() if each.open and each.failures.until <= now), None)

    def _until_next(self) -> float | None:
        """Seconds until something is due without news."""
        due = [max(self._failures.until, each.failures.until) for each in self._asked.values() if each.open]
        if self._last > _NEVER:
            due.append(self._last + IDLE_SECONDS)
        return max(0.0, min(due) - self._clock()) if due else None

    async def _turn(self, key: Key, asked: _Asked) -> None:
        """Asks for one experiment, not for long."""
        starts = all(each.told is None for each in self._asked.values())  # for which nobody's turn is counted
        until = self._clock() + TURN_SECONDS
        while self._asked.get(key) is asked and asked.open and self._clock() < until:
            forgotten, self._forgotten = self._forgotten, []
            number = asked.number
            await self._process.tell(
                *({"do": "forget", "search": uid} for uid in forgotten),
                *asked.requests(),
                {"do": "suggest", "search": asked.uid, "number": number},
            )
            answer = await self._answer(asked.uid)
            if answer["event"] == "failed":
                await self._start_over(key, asked, str(answer["error"]))
                return
            asked.failures, self._failures = _Failures(), _Failures()
            until, starts = (self._clock() + TURN_SECONDS if starts else until), False
            if number != asked.number or not asked.is_told(asked.lessons):
                continue  # the ledger has other points by now
            if answer["event"] == "exhausted":
                asked.exhausted = True
            elif asked.open:
                asked.suggestions.append(_suggestion(answer))

    async def _answer(self, uid: str) -> dict[str, Any]:
        """The answer to a question, or the first failure on the way to it."""
        while (told := await self._process.hear()).get("search") != uid:
            pass  # it is ready
        return told

    async def _start_over(self, key: Key, asked: _Asked, error: str) -> None:
        """What it was told of an experiment it could not take in: it forgets that, and is told all again later."""
        self._failed(key, asked, error)
        asked.told, asked.suggestions = None, []
        # Each part of what it was told may have failed. Nothing can be suggested to an experiment that has not begun:
        # that answer is the last.
        await self._process.tell({"do": "forget", "search": asked.uid}, {"do": "suggest", "search": "", "number": 0})
        while (await self._process.hear()).get("search") != "":
            pass

    def _ended(self, key: Key, asked: _Asked, error: str) -> None:
        """The process has ended, perhaps by what it was asked for this experiment."""
        self._forget_told()
        self._failed(key, asked, error)
        self._failures.add(asked.failures.error, self._clock())

    def _failed(self, key: Key, asked: _Asked, error: str) -> None:
        asked.failures.add(cut_error(error, 1000), self._clock())
        _log.warning("%s: no point was suggested: %s", key, asked.failures.error)

    async def _end(self) -> None:
        self._forget_told()
        self._last = _NEVER
        await self._process.end()

    def _forget_told(self) -> None:
        """The process knows nothing any more."""
        self._forgotten.clear()
        for each in self._asked.values():
            each.told = None


def _running(suggestion: Suggestion) -> Lesson:
    return Lesson(suggestion.number, suggestion.parameters, running=True)


def _suggestion(answer: Mapping[str, Any]) -> Suggestion:
    return Suggestion(
        number=answer["number"],
        parameters=answer["parameters"],
        learnt_from=answer["learntFrom"],
        why=answer["why"],
    )
