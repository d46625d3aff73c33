"""The timer: what a block took, lap by lap."""

import subprocess
import sys
from itertools import pairwise

import pytest

from trainer.benchmark import timer as module
from trainer.benchmark.timer import Timer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The moments that the timer will read, one after another."""
    moments: list[float] = []
    monkeypatch.setattr(module, "perf_counter", lambda: moments.pop(0))
    return moments


def test_laps_of_one_name_are_added_and_the_whole_includes_what_no_lap_took(clock: list[float]) -> None:
    clock += [10.0, 11.0, 13.0, 16.0, 20.0]
    with Timer() as timer:
        assert timer.lap("fetch") == 1.0
        assert timer.lap("decode") == 2.0
        assert timer.lap("fetch") == 3.0
    assert timer.laps == {"fetch": 4.0, "decode": 2.0}
    assert timer.seconds == 10.0


def test_a_timer_that_runs_tells_the_seconds_so_far_and_begins_anew_when_used_again(clock: list[float]) -> None:
    clock += [1.0, 1.5, 2.0, 7.0, 9.0]
    timer = Timer()
    with timer:
        assert timer.seconds == 0.5
    assert timer.seconds == 1.0
    with timer:
        pass
    assert (timer.seconds, timer.laps) == (2.0, {})


def test_a_block_that_fails_is_timed_and_its_error_goes_on() -> None:
    timer = Timer()
    with pytest.raises(ZeroDivisionError), timer:
        _ = 1 / 0
    assert timer.seconds >= 0


def test_a_timer_counts_only_within_its_block() -> None:
    timer = Timer()
    with pytest.raises(RuntimeError, match="has not run"):
        _ = timer.seconds
    with pytest.raises(RuntimeError, match="only within its `with` block"):
        timer.lap("early")
    with timer:
        pass
    with pytest.raises(RuntimeError, match="lap 'late'"):
        timer.lap("late")


def test_real_time_only_goes_forward() -> None:
    with Timer() as timer:
        read = [timer.seconds for _ in range(100)]
    assert all(earlier <= later for earlier, later in pairwise([*read, timer.seconds]))


def test_it_can_be_imported_with_nothing_but_python() -> None:
    code = "import sys, trainer.benchmark.timer; print({'pydantic', 'numpy', 'scipy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
