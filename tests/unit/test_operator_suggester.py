"""The process that suggests points to all experiments: started when asked, ended when idle, begun anew if it dies."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import optuna
import pytest

from eventually import eventually
from trainer.experiment.load import load
from trainer.experiment.space import Point
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.lessons import Lesson
from trainer.suggesting.study import Study
from trialrun_operator.child_process import ChildProcess, ProcessEnded
from trialrun_operator.names import Key
from trialrun_operator.settings import for_one_thread
from trialrun_operator.suggester import IDLE_SECONDS, PROCESS, PROGRAM, Question, Suggester
from unit.builders import a_document

pytestmark = pytest.mark.slow  # a process takes a second to import Optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
ONE, OTHER = (Key("HyperparamSearch", "team-a", name) for name in ("one", "other"))
SPACE = [
    {"name": "train.learningRate", "range": {"min": 1e-4, "max": 1e-1, "scale": "Log"}},
    {"name": "model.hiddenSize", "range": {"min": 8, "max": 256}},
]


def a_search(**spec: Any) -> HyperparamSearch:
    whole = {"algorithm": "TPE", "trials": 100, "parameters": SPACE}
    found = load(a_document(name="one", **(whole | spec)))
    assert isinstance(found, HyperparamSearch)
    return found


SEARCH = a_search()


def ended(points: list[Point], first: int = 0) -> list[Lesson]:
    """Lessons of points that came to something."""
    return [Lesson(first + place, point, 0.5 + place / 7) for place, point in enumerate(points)]


def expected(lessons: list[Lesson], count: int, search: HyperparamSearch = SEARCH) -> list[Point]:
    """What a study in this process suggests, one after another."""
    study, points = Study(search), list[Point]()
    study.learn(lessons)
    for number in range(len(lessons), len(lessons) + count):
        found = study.suggest(number)
        assert found is not None
        points.append(found.parameters)
        study.learn([Lesson(number, found.parameters, running=True)])
    return points


class Clock:
    """Seconds, as the test has them pass."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Asking:
    """A suggester with a process of its own, and what it has told of."""

    def __init__(self, *program: str) -> None:
        self.clock = Clock()
        self.told: list[Key] = []
        self.process = ChildProcess(program or PROGRAM, PROCESS, for_one_thread())
        self.suggester = Suggester(self.process, self.told.append, self.clock)

    async def points(
        self, lessons: list[Lesson], count: int = 1, key: Key = ONE, search: HyperparamSearch = SEARCH
    ) -> list[Point]:
        self.suggester.ask(key, f"uid-{key.name}", Question(search, (), lessons, count))
        await self.suggester.work_off()
        found = self.suggester.suggested(key, f"uid-{key.name}", len(lessons), count)
        return [each.parameters for each in found]


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits while the suggester's own task runs."""
    await asyncio.to_thread(eventually, condition, what=what)


def run(test: Callable[[Asking], Awaitable[None]], *program: str) -> None:
    async def whole() -> None:
        asking = Asking(*program)
        try:
            await test(asking)
        finally:
            await asking.process.end()

    asyncio.run(whole())


def test_it_is_started_by_the_first_question_and_suggests_what_a_study_does() -> None:
    async def test(asking: Asking) -> None:
        assert asking.process.starts == 0
        first = await asking.points([], 12)
        assert first == expected([], 12)
        lessons = ended(first)
        assert await asking.points(lessons, 3) == expected(lessons, 3)
        assert asking.process.starts == 1

    run(test)


def test_a_death_costs_nothing() -> None:
    async def test(asking: Asking) -> None:
        lessons = ended(expected([], 12))
        before = await asking.points(lessons, 2)
        assert asking.process.pid is not None
        os.kill(asking.process.pid, signal.SIGKILL)
        more = [*lessons, *ended(before, 12)]
        assert await asking.points(more, 2) == expected(more, 2)
        assert (asking.process.starts, asking.suggester.problem(ONE)) == (2, None)

    run(test)


def test_two_experiments_are_told_apart() -> None:
    async def test(asking: Asking) -> None:
        other = a_search(seed=7)
        ones = await asking.points([], 11)
        others = await asking.points([], 11, OTHER, other)
        assert ones == expected([], 11)
        assert others == expected([], 11, other)
        assert ones != others
        lessons = ended(ones)
        assert await asking.points(lessons, 2) == expected(lessons, 2)
        assert await asking.points(ended(others), 2, OTHER, other) == expected(ended(others), 2, other)
        assert asking.process.starts == 1
        assert set(asking.told) == {ONE, OTHER}

    run(test)


def test_they_take_turns() -> None:
    async def test(asking: Asking) -> None:
        class Passing(ChildProcess):
            """Every answer takes 0.3 s by the clock."""

            async def hear(self) -> dict[str, Any]:
                asking.clock.seconds += 0.3
                return await super().hear()

        asking.process = Passing(PROGRAM, PROCESS, for_one_thread())
        asking.suggester = Suggester(asking.process, asking.told.append, asking.clock)
        asking.suggester.ask(ONE, "uid-one", Question(SEARCH, (), [], 5))
        asking.suggester.ask(OTHER, "uid-other", Question(SEARCH, (), [], 3))
        await asking.suggester.work_off()
        assert asking.told == [ONE, OTHER, ONE, OTHER], "3 and 2 points, then 2 and 1: it had to start at first"
        assert len(asking.suggester.suggested(ONE, "uid-one", 0, 9)) == 5

    run(test)


def test_idle_it_ends_and_the_next_question_starts_it_again() -> None:
    async def test(asking: Asking) -> None:
        running = asyncio.create_task(asking.suggester.run())
        asking.suggester.ask(ONE, "uid-one", Question(SEARCH, (), [], 1))
        await until(lambda: bool(asking.told), "the first answer")
        asking.clock.seconds += IDLE_SECONDS
        asking.suggester.ask(ONE, "uid-one", Question(SEARCH, (), [], 0))  # a look that wants nothing
        await until(lambda: asking.process.pid is None, "the process has ended")
        asking.suggester.ask(ONE, "uid-one", Question(SEARCH, (), [], 2))
        await until(lambda: len(asking.suggester.suggested(ONE, "uid-one", 0, 2)) == 2, "two points")
        assert asking.process.starts == 2
        found = asking.suggester.suggested(ONE, "uid-one", 0, 2)
        assert [each.parameters for each in found] == expected([], 2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert asking.process.pid is None, "it ends with the operator"

    run(test)


def test_points_that_the_ledger_has_not_taken_are_not_held_against_others() -> None:
    async def test(asking: Asking) -> None:
        lessons = ended(expected([], 12))
        await asking.points(lessons, 3)
        asking.suggester.drop(ONE)
        assert await asking.points(lessons, 1) == expected(lessons, 1)
        other = [*lessons, Lesson(12, {"train.learningRate": 0.05, "model.hiddenSize": 9}, running=True)]
        assert await asking.points(other, 2) == expected(other, 2), "another operator was first"

    run(test)


def test_when_every_point_was_tried_it_says_so() -> None:
    async def test(asking: Asking) -> None:
        few = a_search(parameters=[{"name": "model.layers", "choices": [1, 2, 3]}])
        points = await asking.points([], 5, search=few)
        assert sorted(point["model.layers"] for point in points) == [1, 2, 3]
        assert not asking.suggester.is_exhausted(ONE, "uid-one", 2)
        assert asking.suggester.is_exhausted(ONE, "uid-one", 3)
        lessons = ended(points)
        assert await asking.points(lessons, 1, search=few) == []
        assert asking.suggester.is_exhausted(ONE, "uid-one", 3)

    run(test)


def test_the_trouble_of_one_experiment_is_told_and_is_none_of_the_others() -> None:
    async def test(asking: Asking) -> None:
        outside = [Lesson(0, {"train.learningRate": 5.0, "model.hiddenSize": 9}, 0.5)]
        assert await asking.points(outside) == []
        assert "point 0 must lie in the space of the search" in (asking.suggester.problem(ONE) or "")
        assert await asking.points([], 2, OTHER) == expected([], 2)
        assert (asking.process.starts, asking.suggester.problem(OTHER)) == (1, None)
        asking.clock.seconds += 2
        assert await asking.points([], 2) == expected([], 2), "it was mended"
        assert asking.suggester.problem(ONE) is None

    run(test)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (("-c", "import no_such_module"), "with exit code 1: ModuleNotFoundError: No module named 'no_such_module'"),
        (("-c", "input(); print('hello')"), "told no JSON: b'hello"),
        (("-c", "import os; os.kill(os.getpid(), 9)"), "ended by signal 9: it said nothing"),
    ],
)
def test_a_process_that_can_not_run_is_tried_again_at_growing_intervals(program: tuple[str, ...], said: str) -> None:
    async def test(asking: Asking) -> None:
        assert await asking.points([]) == []
        assert said in (asking.suggester.problem(ONE) or "")
        assert asking.process.starts == 2, "once more at once, then not before 2 s"
        for _ in range(100):
            asking.clock.seconds += 1
            await asking.suggester.work_off()
        assert 7 <= asking.process.starts <= 8

    run(test, *program)


def test_a_process_that_dies_while_it_is_told_says_so() -> None:
    async def test(asking: Asking) -> None:
        async def tell_for_ever() -> None:
            while True:
                await asking.process.tell({"do": "forget", "search": "x" * 2**20})

        with pytest.raises(ProcessEnded, match="exit code 3"):
            await tell_for_ever()

    run(test, "-c", "import sys; sys.stdin.buffer.read(10); sys.exit(3)")
