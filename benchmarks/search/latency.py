"""What does a suggestion take at 5,000 points, and what does the process that makes it take to be ready?"""

import os
import random
import resource
import subprocess
import sys
import time

from benchmarks.search.figures import spread, table
from benchmarks.search.problems import CONDITIONAL, HARTMANN, PLAIN, Problem
from benchmarks.timing import ROOT
from trainer.experiment.algorithms import draws
from trainer.scheduling.lessons import Lesson
from trainer.suggesting.study import Study

POINTS = 5000
ROUNDS = 10


def main() -> None:
    """Prints CPU seconds."""
    rows = [(problem.name, [*map(spread, _of(problem))]) for problem in (PLAIN, CONDITIONAL, HARTMANN)]
    title = f"CPU seconds at {POINTS:,} points; medians of {ROUNDS}; bar: 0.5 for a suggestion, at most"
    table(title, ["a suggestion", "the study rebuilt"], rows)
    table(
        "CPU seconds of the process that suggests", ["its start"], [("", [spread([_start() for _ in range(ROUNDS)])])]
    )


def _of(problem: Problem) -> tuple[list[float], list[float]]:
    search = problem.search("TPE", POINTS, 0)
    points = zip(range(POINTS), draws.points(search.spec), strict=False)
    rng = random.Random(0)
    lessons = [
        Lesson(number, point, None if failed else problem.loss(point), (1.0,) if failed else ())
        for number, point in points
        for failed in [rng.random() < 0.05]
    ]
    suggestions, rebuilds = [], []
    for round_ in range(ROUNDS):
        begun = time.process_time()
        study = Study(search)
        study.learn(lessons)
        rebuilt = time.process_time()
        study.suggest(POINTS + round_)
        rebuilds.append(rebuilt - begun)
        suggestions.append(time.process_time() - rebuilt)
    return suggestions, rebuilds


def _start() -> float:
    """CPU seconds of the process that is asked for nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "trainer.suggesting.child", "0", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, env=environment, capture_output=True, text=True, check=True
    )
    assert '"ready"' in done.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
