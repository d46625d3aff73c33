"""The progress of a run, on a terminal and elsewhere."""

import io
import time

import pytest

from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.report.progress import RunProgress, progress
from trainer.report.terminal import Console, Screen
from unit.builders import a_record, a_trial, an_experiment

LISTED = ("learningRate 0.0001", "hiddenSize 32")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def a_tally(*, slots: int = 1, clock: Clock | None = None, **spec: object) -> RunProgress:
    experiment = an_experiment(**spec)
    return RunProgress(experiment, expand(experiment), [], slots=slots, now=clock or Clock())


def a_screen(progress: RunProgress, *, width: int = 100, height: int = 24) -> tuple[Screen, Console]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    return Screen(progress, console), console


def seen(screen: Screen, console: Console) -> list[str]:
    with console.capture() as capture:
        console.print(screen.frame())
    return capture.get().splitlines()


def test_without_a_terminal_it_writes_one_line_to_begin_with_and_one_per_ended_trial() -> None:
    stream = io.StringIO()
    experiment = an_experiment()
    trials = expand(experiment)
    with progress(experiment, trials, [], slots=1, stream=stream) as shown:
        shown.started(trials[0])
        shown.reported(trials[0], 1, {"validMse": 0.1})
        shown.ended(trials[0], a_record(trials[0], value=0.00012))
        shown.started(trials[1])
        error = "loss became\x1b[31m nan\nin epoch 3"
        shown.ended(trials[1], a_record(trials[1], outcome=Outcome.DIVERGED, error=error))
    lines = stream.getvalue().splitlines()
    assert [line.split("  ") for line in lines] == [
        ["sp500-grid", "18 trials, one at a time, 1 thread each"],
        ["sp500-grid", "1 of 18", "trial 0", "Succeeded", "validMse 0.00012", "2.00 s", *LISTED, "layers 1"],
        [
            "sp500-grid",
            "2 of 18",
            "trial 1",
            "Diverged",
            "loss became [31m nan in epoch 3",
            "2.00 s",
            *LISTED,
            "layers 2",
        ],
    ]
    assert all(line.isprintable() for line in lines)


def test_a_reader_that_has_gone_away_does_not_stop_the_run() -> None:
    stream = io.StringIO()
    experiment = an_experiment()
    with progress(experiment, expand(experiment), [], slots=1, stream=stream) as shown:
        stream.close()
        shown.ended(a_trial(), a_record())


def test_a_trial_that_is_watched_from_elsewhere_runs_since_it_began_and_tells_no_steps() -> None:
    experiment = an_experiment()
    progress = RunProgress(experiment, expand(experiment), [], slots=1, told=False, now=Clock())
    screen, console = a_screen(progress)
    screen.started(a_trial(0), 41.0)
    (row,) = [line.split() for line in seen(screen, console) if " running " in line and "done" not in line]
    assert row[-3:] == ["running", "41.0", "s"]


def test_no_time_left_is_told_until_a_trial_has_succeeded() -> None:
    clock = Clock()
    progress = a_tally(clock=clock)
    progress.started(a_trial(0))
    clock.seconds = 60
    assert progress.seconds_left() is None
    progress.ended(a_trial(0), a_record(outcome=Outcome.CRASHED, seconds=0.1))
    assert progress.seconds_left() is None


@pytest.mark.parametrize(("slots", "left"), [(1, 34.0), (2, 17.0)])
def test_time_left_is_the_mean_measured_time_of_what_is_left_over_the_slots(slots: int, left: float) -> None:
    clock = Clock()
    progress = a_tally(slots=slots, clock=clock)
    progress.ended(a_trial(0), a_record(a_trial(0), seconds=2.0))
    assert progress.seconds_left() == pytest.approx(left)
    progress.started(a_trial(1))
    clock.seconds = 1.5
    assert progress.seconds_left() == pytest.approx(left - 1.5 / slots)
    clock.seconds = 50  # longer than the mean: nothing is left of it, not less than nothing
    assert progress.seconds_left() == pytest.approx(left - 2.0 / slots)


def test_a_kept_trial_counts_as_done_but_its_time_says_nothing_of_this_run() -> None:
    experiment = an_experiment()
    trials = expand(experiment)
    kept = [a_record(trials[0], value=0.5), a_record(trials[1], value=0.4)]
    progress = RunProgress(experiment, trials, kept, slots=1)
    assert (progress.done, progress.failed, progress.seconds_left()) == (2, 0, None)
    assert progress.leader is not None
    assert progress.leader.value == 0.4
    assert progress.heading == "18 trials, 2 done before, one at a time, 1 thread each"


def test_best_so_far_is_the_mean_of_a_point_whose_repeats_have_all_succeeded() -> None:
    experiment = an_experiment(repeats=2)
    trials = expand(experiment)
    progress = RunProgress(experiment, trials, [], slots=1)
    progress.ended(trials[0], a_record(trials[0], value=0.1))
    assert progress.leader is None
    progress.ended(trials[1], a_record(trials[1], value=0.3))
    assert progress.leader is not None
    assert progress.leader.value == pytest.approx(0.2)


@pytest.mark.parametrize(("direction", "best"), [("Minimize", 0.1), ("Maximize", 0.3)])
def test_best_so_far_follows_the_direction(direction: str, best: float) -> None:
    progress = a_tally(objective={"metric": "validMse", "direction": direction})
    for index, value in enumerate((0.2, 0.1, 0.3)):
        progress.ended(a_trial(index), a_record(a_trial(index), value=value))
    assert progress.leader is not None
    assert progress.leader.value == best


def test_of_equals_the_one_listed_first_leads_whichever_ended_first() -> None:
    progress = a_tally()
    for index in (4, 1, 7):
        progress.ended(a_trial(index), a_record(a_trial(index), value=0.1))
    assert progress.leader is not None
    assert progress.leader.parameters == a_trial(1).parameters


def test_an_attempt_that_is_not_final_leaves_its_trial_to_be_done() -> None:
    progress = a_tally()
    progress.ended(a_trial(), a_record(outcome=Outcome.NODE_LOST, final=False))
    assert (progress.done, progress.failed) == (0, 0)


def test_the_display_shows_counts_the_best_and_what_runs_with_its_epoch() -> None:
    clock = Clock()
    progress = a_tally(clock=clock)
    screen, console = a_screen(progress)
    screen.started(a_trial(0))
    screen.ended(a_trial(0), a_record(a_trial(0), value=0.00012))
    screen.started(a_trial(1))
    screen.reported(a_trial(1), 7, {"validMse": 0.00034})
    clock.seconds = 1.0
    lines = seen(screen, console)
    assert lines[0] == "sp500-grid  18 trials, one at a time, 1 thread each"
    assert lines[1].startswith("  1 done  0 failed  1 running  ━")
    assert lines[1].endswith("6 %  0:00:33 left")
    assert lines[2] == "  best so far  validMse 0.00012   learningRate 0.0001  hiddenSize 32  layers 1"
    assert lines[4].split() == ["trial", "learningRate", "hiddenSize", "layers", "epoch", "validMse", "time"]
    assert lines[5].split() == ["1", "0.0001", "32", "2", "7/20", "0.00034", "1.00", "s"]
    assert lines[6].split() == ["0", "0.0001", "32", "1", "done", "0.00012", "2.00", "s"]


@pytest.mark.parametrize(("width", "height"), [(40, 8), (60, 12), (100, 24), (250, 60)])
def test_the_display_fits_any_terminal(width: int, height: int) -> None:
    experiment = an_experiment(algorithm="Random", trials=200, parameters=_many_parameters())
    trials = expand(experiment)
    progress = RunProgress(experiment, trials, [], slots=100)
    screen, console = a_screen(progress, width=width, height=height)
    for trial in trials[:150]:
        screen.started(trial)
    for trial in trials[:50]:
        screen.ended(trial, a_record(trial))
    lines = seen(screen, console)
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_a_failed_trial_leaves_a_line_that_cannot_style_or_move_anything() -> None:
    stream = io.StringIO()
    screen = Screen(a_tally(), Console(file=stream, width=100, force_terminal=True, color_system=None))
    error = "out of memory [bold]now[/bold]\x1b[2J\nsecond line"
    screen.ended(a_trial(3), a_record(a_trial(3), outcome=Outcome.HOST_OOM, error=error))
    told = " ".join(stream.getvalue().split())
    assert "trial 3 HostOOM out of memory [bold]now[/bold] [2J second line" in told
    assert "\x1b[2J" not in told


def test_a_trial_that_succeeded_leaves_no_line() -> None:
    stream = io.StringIO()
    screen = Screen(a_tally(), Console(file=stream, width=100, force_terminal=True))
    screen.ended(a_trial(), a_record())
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_live_display_that_ends_with_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    experiment = an_experiment()
    with progress(experiment, expand(experiment), [], slots=1, stream=stream) as shown:
        assert isinstance(shown, Screen)
        shown.started(a_trial())
        shown.ended(a_trial(), a_record())
    assert "\x1b[?25l" in stream.getvalue()  # hides the cursor
    assert stream.getvalue().rstrip("\n").endswith("\x1b[?25h")  # and shows it again
    assert "1 done" in stream.getvalue()


def test_the_display_gives_the_terminal_back_when_the_run_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    experiment = an_experiment()
    with (
        pytest.raises(KeyboardInterrupt),
        progress(experiment, expand(experiment), [], slots=1, stream=stream),
    ):
        raise KeyboardInterrupt
    assert stream.getvalue().rstrip("\n").endswith("\x1b[?25h")


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    experiment = an_experiment()
    with progress(experiment, expand(experiment), [], slots=1, stream=stream):
        pass
    assert stream.getvalue() == "sp500-grid  18 trials, one at a time, 1 thread each\n"


def test_drawing_a_frame_takes_little_of_the_cores_that_train() -> None:
    progress = a_tally(slots=4)
    screen, console = a_screen(progress)
    for index in range(8):
        screen.started(a_trial(index))
    for index in range(4):
        screen.ended(a_trial(index), a_record(a_trial(index)))
    seen(screen, console)
    began = time.process_time()
    for _ in range(20):
        seen(screen, console)
    assert (time.process_time() - began) / 20 < 0.02  # at 4 Hz less than a tenth of one core


def _many_parameters() -> list[dict[str, object]]:
    return [
        {"name": "train.learningRate", "range": {"min": 1e-5, "max": 0.1, "scale": "Log"}},
        {"name": "model.hiddenSize", "range": {"min": 8, "max": 512}},
        {"name": "train.weightDecay", "range": {"min": 0, "max": 0.1}},
        {"name": "train.optimizer", "choices": ["Adam", "AdamW", "SGD"]},
        {"name": "train.batchSize", "choices": [16, 32, 64]},
    ]


def test_the_best_so_far_breaks_no_constraint_and_what_was_stopped_has_not_failed() -> None:
    progress = a_tally(constraints=[{"metric": "validMae", "atLeast": 2}])
    trials = expand(an_experiment())
    progress.ended(trials[0], a_record(trials[0], value=0.1))  # its validMae is 40 times that
    progress.ended(trials[1], a_record(trials[1], outcome=Outcome.STOPPED))
    progress.ended(trials[2], a_record(trials[2], value=0.01))
    assert progress.leader is not None
    assert progress.leader.value == 0.1
    assert (progress.done, progress.failed, progress.stopped) == (3, 0, 1)
