"""The verdict on an attempt, from how its ranks ended."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from trainer.experiment.judge import RankExit, Times, Verdict, judge, last_words, make_record
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import (
    PACKED_WITH,
    Environment,
    Memory,
    RankReport,
    Record,
    Seconds,
    decode,
    encode,
    undefined_name,
)
from unit.builders import START, a_trial, an_experiment

METRIC = "validMse"


def well(rank: int, **report: Any) -> RankExit:
    """A rank that succeeded; rank 0 has the metrics."""
    whole = {"rank": rank, "clock": 100, "metrics": {METRIC: 0.5} if rank == 0 else {}}
    return RankExit(rank, 0, RankReport(**(whole | report)))


def failed(rank: int, outcome: Outcome = Outcome.CRASHED, code: int = 1, **report: Any) -> RankExit:
    """A rank that reported an error."""
    return RankExit(rank, code, RankReport(**({"rank": rank, "outcome": outcome, "error": f"oops {rank}"} | report)))


def lost_peer(rank: int, clock: int = 50) -> RankExit:
    return failed(rank, error="connection closed by peer", lost_peer=True, clock=clock)


def removed(rank: int, outcome: Outcome, **ending: Any) -> RankExit:
    """A rank that the platform ended."""
    return RankExit(rank, **({"exit_code": 137, "platform": outcome, "error": f"{outcome} {rank}"} | ending))


def mute(rank: int, code: int | None = -9) -> RankExit:
    return RankExit(rank, code)


def verdict(outcome: Outcome, error: str, rank: int, code: int | None) -> Verdict:
    return Verdict(outcome, error, rank, code)


NO_METRIC = f"the objective {METRIC} was not reported; reported: "

CASES: dict[str, tuple[list[RankExit], Verdict]] = {
    "one rank succeeds": ([well(0)], Verdict(Outcome.SUCCEEDED, exit_code=0)),
    "all ranks succeed": ([well(0), well(1)], Verdict(Outcome.SUCCEEDED, exit_code=0)),
    "a report of success whose process has not been seen to end": (
        [RankExit(0, None, well(0).report)],
        Verdict(Outcome.SUCCEEDED, exit_code=0),
    ),
    "an error of its own": (
        [failed(0, Outcome.DIVERGED, 66)],
        verdict(Outcome.DIVERGED, "oops 0", 0, 66),
    ),
    "an error reported with exit code 0": (
        [failed(0, Outcome.DATA_UNAVAILABLE, 0)],
        verdict(Outcome.DATA_UNAVAILABLE, "oops 0", 0, 0),
    ),
    "success reported, then a crash on the way out": (
        [RankExit(0, -11, well(0).report)],
        verdict(Outcome.CRASHED, "reported success, then was killed by signal 11", 0, -11),
    ),
    "a mute death by a signal": (
        [mute(0, -9)],
        verdict(Outcome.CRASHED, "was killed by signal 9 without a report", 0, -9),
    ),
    "a mute exit": ([mute(0, 3)], verdict(Outcome.CRASHED, "ended with exit code 3 without a report", 0, 3)),
    "no process ever ended": ([mute(0, None)], verdict(Outcome.CRASHED, "ended without an exit code", 0, None)),
    "an ending that says why": (
        [RankExit(0, 1, error="exec format error")],
        verdict(Outcome.CRASHED, "exec format error", 0, 1),
    ),
    "success without a report": (
        [mute(0, 0)],
        verdict(Outcome.METRICS_MISSING, "rank 0 ended without a report", 0, 0),
    ),
    "success with a report that can't be read": (
        [RankExit(0, 0, unread="not a report: note: no such field")],
        verdict(Outcome.METRICS_MISSING, "rank 0 left what is not a report: note: no such field", 0, 0),
    ),
    "success of both, and one report that can't be read": (
        [well(0), RankExit(1, 0, unread="not a report: note: no such field")],
        Verdict(
            Outcome.SUCCEEDED,
            exit_code=0,
            evidence={"unread": "rank 1 left what is not a report: note: no such field"},
        ),
    ),
    "a failure in a report that can't be read as a whole": (
        [replace(failed(0, Outcome.DIVERGED, 66), unread="not a report: x")],
        verdict(Outcome.DIVERGED, "oops 0; it left what is not a report: x", 0, 66),
    ),
    "an exit with a report that can't be read": (
        [RankExit(0, 3, unread="not a report: x")],
        verdict(
            Outcome.CRASHED,
            "ended with exit code 3 without a report; it left what is not a report: x",
            0,
            3,
        ),
    ),
    "the highest signal": (
        [mute(0, -64)],
        verdict(Outcome.CRASHED, "was killed by signal 64 without a report", 0, -64),
    ),
    "an exit code below any signal's": (
        [mute(0, -1073741819)],
        verdict(Outcome.CRASHED, "ended with exit code -1073741819 without a report", 0, -1073741819),
    ),
    "the highest exit code": (
        [mute(0, 255)],
        verdict(Outcome.CRASHED, "ended with exit code 255 without a report", 0, 255),
    ),
    "an objective that is NaN": (
        [well(0, metrics={METRIC: float("nan")})],
        verdict(Outcome.DIVERGED, f"the objective {METRIC} was reported as nan", 0, 0),
    ),
    "an objective that is infinite": (
        [well(0, metrics={METRIC: float("inf")})],
        verdict(Outcome.DIVERGED, f"the objective {METRIC} was reported as inf", 0, 0),
    ),
    "success of the other rank only": (
        [well(1)],
        verdict(Outcome.METRICS_MISSING, "rank 0 ended without a report", 0, 0),
    ),
    "no ranks at all": ([], verdict(Outcome.METRICS_MISSING, "rank 0 ended without a report", 0, 0)),
    "success without the objective": (
        [well(0, metrics={"validMae": 1.0, "trainLoss": 2.0})],
        verdict(Outcome.METRICS_MISSING, NO_METRIC + "validMae, trainLoss", 0, 0),
    ),
    "success without any metric": (
        [well(0, metrics={})],
        verdict(Outcome.METRICS_MISSING, NO_METRIC + "none", 0, 0),
    ),
    "one rank killed for memory, the others crashed before": (
        [failed(0, clock=1), removed(1, Outcome.HOST_OOM), lost_peer(2)],
        verdict(Outcome.HOST_OOM, "rank 1: HostOOM 1", 1, 137),
    ),
    "memory before eviction": (
        [removed(0, Outcome.EVICTED), removed(1, Outcome.HOST_OOM)],
        verdict(Outcome.HOST_OOM, "rank 1: HostOOM 1", 1, 137),
    ),
    "two ranks killed for memory": (
        [removed(1, Outcome.HOST_OOM), removed(0, Outcome.HOST_OOM)],
        verdict(Outcome.HOST_OOM, "rank 0: HostOOM 0", 0, 137),
    ),
    "memory though all ranks reported success": (
        [well(0), removed(1, Outcome.HOST_OOM, exit_code=0)],
        verdict(Outcome.HOST_OOM, "rank 1: HostOOM 1", 1, 0),
    ),
    "an eviction that a peer took for an error of its own": (
        [failed(0, clock=1), removed(1, Outcome.EVICTED)],
        verdict(Outcome.EVICTED, "rank 1: Evicted 1", 1, 137),
    ),
    "a lost node before a missed deadline": (
        [removed(0, Outcome.TIMED_OUT), removed(1, Outcome.NODE_LOST)],
        verdict(Outcome.NODE_LOST, "rank 1: NodeLost 1", 1, 137),
    ),
    "a deadline": ([removed(0, Outcome.TIMED_OUT)], verdict(Outcome.TIMED_OUT, "TimedOut 0", 0, 137)),
    "a deadline that one rank missed": (
        [well(0), removed(1, Outcome.TIMED_OUT)],
        verdict(Outcome.TIMED_OUT, "rank 1: TimedOut 1", 1, 137),
    ),
    "a deadline missed waiting for a rank that had failed": (
        [removed(0, Outcome.TIMED_OUT), failed(1, Outcome.DATA_UNAVAILABLE, 65)],
        verdict(Outcome.DATA_UNAVAILABLE, "rank 1: oops 1", 1, 65),
    ),
    "a deadline, and peers that lost the rank it ended": (
        [removed(0, Outcome.TIMED_OUT), lost_peer(1)],
        verdict(Outcome.TIMED_OUT, "rank 0: TimedOut 0", 0, 137),
    ),
    "the earliest error of its own": (
        [failed(0, clock=30), failed(1, Outcome.DIVERGED, 66, clock=20), failed(2, clock=25)],
        verdict(Outcome.DIVERGED, "rank 1: oops 1", 1, 66),
    ),
    "errors of one moment": ([failed(1), failed(0)], verdict(Outcome.CRASHED, "rank 0: oops 0", 0, 1)),
    "an error of its own before the loss of a peer that came earlier": (
        [lost_peer(0, clock=1), failed(1, Outcome.DEVICE_OOM, 67, clock=99)],
        verdict(Outcome.DEVICE_OOM, "rank 1: oops 1", 1, 67),
    ),
    "an error of its own before a mute death": (
        [mute(0), failed(1)],
        verdict(Outcome.CRASHED, "rank 1: oops 1", 1, 1),
    ),
    "a mute death before the loss of a peer": (
        [lost_peer(0), mute(1, -11)],
        verdict(Outcome.CRASHED, "rank 1: was killed by signal 11 without a report", 1, -11),
    ),
    "only lost peers": (
        [lost_peer(0, clock=9), lost_peer(1, clock=8)],
        verdict(Outcome.CRASHED, "rank 1: connection closed by peer", 1, 1),
    ),
    "one rank failed and the others have not been seen to end": (
        [failed(1, Outcome.DIVERGED, 66)],
        verdict(Outcome.DIVERGED, "oops 1", 1, 66),
    ),
}


@pytest.mark.parametrize(("endings", "expected"), CASES.values(), ids=CASES)
def test_the_verdict_on(endings: list[RankExit], expected: Verdict) -> None:
    for order in permutations(endings):
        assert judge(order, METRIC) == expected


def test_without_an_objective_any_report_of_success_is_success() -> None:
    assert judge([well(0, metrics={})], None).outcome is Outcome.SUCCEEDED


TIMES = Times(accepted=START, started=START + 1500, finished=START + 4000)


def test_a_record_holds_what_the_ranks_reported() -> None:
    trial = a_trial(3, an_experiment(workers=2, repeats=2))
    report = well(
        0,
        seconds=Seconds(start=0.1, data=0.2, train=0.7),
        memory=Memory(peak_bytes=3, mean_bytes=2),
        samples=860,
        dataset_bytes=7,
        epochs=20,
        environment=Environment(cpu="A CPU"),
    )
    record = make_record(trial, attempt=2, exits=[well(1), report], metric=METRIC, times=TIMES)
    assert record.outcome is Outcome.SUCCEEDED
    assert (record.id, record.index, record.repeat, record.seed, record.workers) == (trial.id, 3, 1, 1, 2)
    assert record.parameters == trial.parameters
    assert (record.attempt, record.final, record.exit_code, record.error, record.failed_rank) == (
        2,
        True,
        0,
        "",
        None,
    )
    assert record.metrics == {METRIC: 0.5}
    assert record.seconds == Seconds(queued=1.5, start=0.1, data=0.2, train=0.7, total=2.5)
    assert record.memory == (Memory(peak_bytes=3, mean_bytes=2), None)
    assert (record.samples, record.dataset_bytes, record.epochs) == (860, 7, 20)
    assert record.environment == Environment(cpu="A CPU")
    assert (record.accepted_at, record.started_at, record.finished_at) == (START, START + 1500, START + 4000)


def test_a_failed_trial_keeps_its_times_and_memory_but_no_metrics() -> None:
    ending = failed(
        0,
        Outcome.DIVERGED,
        66,
        metrics={METRIC: 0.1},
        memory=Memory(peak_bytes=3, mean_bytes=2),
        seconds=Seconds(data=1),
    )
    record = make_record(a_trial(), attempt=1, exits=[ending], metric=METRIC, times=TIMES)
    assert record.metrics == {}
    assert record.memory == (Memory(peak_bytes=3, mean_bytes=2),)
    assert record.seconds.data == 1
    assert (record.error, record.exit_code, record.failed_rank) == ("oops 0", 66, None)


def test_a_provisional_report_gives_its_figures_and_says_nothing_of_the_end() -> None:
    last = RankReport(provisional=True, samples=845, dataset_bytes=9, memory=Memory(peak_bytes=7, mean_bytes=5))

    def record(ending: RankExit) -> Record:
        return make_record(a_trial(), attempt=1, exits=[ending], metric=METRIC, times=TIMES)

    killed = record(RankExit(0, -9, last, Outcome.HOST_OOM, "killed for want of memory", {"oomKills": 1}))
    assert (killed.outcome, killed.error, killed.evidence) == (
        Outcome.HOST_OOM,
        "killed for want of memory",
        {"oomKills": 1},
    )
    assert (killed.samples, killed.dataset_bytes, killed.memory) == (845, 9, (last.memory,))
    assert record(RankExit(0, -9, last)).error == "was killed by signal 9 without a report"
    assert record(RankExit(0, 0, last)).outcome is Outcome.METRICS_MISSING


def test_the_rank_that_failed_is_named_where_there_are_several() -> None:
    trial = a_trial(0, an_experiment(workers=2))
    record = make_record(trial, attempt=1, exits=[lost_peer(0), failed(1)], metric=METRIC, times=TIMES)
    assert (record.failed_rank, record.error) == (1, "rank 1: oops 1")


def test_a_record_does_not_depend_on_the_order_in_which_ranks_are_told_of() -> None:
    trial = a_trial(0, an_experiment(workers=3))
    endings = [mute(0), failed(1, seconds=Seconds(train=1.0)), failed(2, seconds=Seconds(train=2.0))]
    records = [
        make_record(trial, attempt=1, exits=list(order), metric=METRIC, times=TIMES)
        for order in permutations(endings)
    ]
    assert records == [records[0]] * 6
    assert records[0].seconds.train == 1.0, "of the first rank that told"


def test_a_long_or_broken_error_fits_into_a_record() -> None:
    ending = RankExit(0, 1, error="x" * 5000 + "\udc80")
    record = make_record(a_trial(), attempt=1, exits=[ending], metric=METRIC, times=TIMES)
    assert len(record.error) <= 1000
    assert record.error.endswith(r"x\udc80")


@pytest.mark.parametrize(
    ("outcome", "retries_left", "final"),
    [
        (Outcome.EVICTED, True, False),
        (Outcome.NODE_LOST, True, False),
        (Outcome.NODE_LOST, False, True),
        (Outcome.HOST_OOM, True, True),
        (Outcome.TIMED_OUT, True, True),
    ],
)
def test_only_the_machines_fault_with_retries_left_is_not_final(
    outcome: Outcome, retries_left: bool, final: bool
) -> None:
    record = make_record(
        a_trial(), attempt=1, exits=[removed(0, outcome)], metric=METRIC, times=TIMES, retries_left=retries_left
    )
    assert record.final is final


def test_clocks_that_went_back_make_no_negative_times() -> None:
    record = make_record(
        a_trial(), attempt=1, exits=[well(0)], metric=METRIC, times=Times(START, START - 5000, START - 9000)
    )
    assert (record.seconds.queued, record.seconds.total) == (0, 0)


def test_nothing_left_behind_still_makes_a_record() -> None:
    record = make_record(a_trial(), attempt=1, exits=[], metric=METRIC, times=TIMES)
    assert record.outcome is Outcome.METRICS_MISSING
    assert record.memory == (None,)
    assert record.environment == Environment()


def of_metrics(**metrics: float) -> Record:
    """The record of a trial that reported these; validMse is its objective."""
    ending = well(0, metrics={METRIC: 0.5} | metrics)
    return make_record(a_trial(), attempt=1, exits=[ending], metric=METRIC, times=TIMES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_metric_without_a_finite_value_is_told_and_the_others_stand(value: float) -> None:
    record = of_metrics(validR2=value, validMae=1.0)
    assert (record.outcome, record.metrics) == (Outcome.SUCCEEDED, {METRIC: 0.5, "validMae": 1.0})
    assert record.evidence == {"notFinite": f"validR2 is {value}"}
    assert decode(encode(record)) == record


def test_many_metrics_without_a_value_leave_room_for_the_others() -> None:
    record = of_metrics(**{f"metric{n}": float("nan") for n in range(500)})
    assert len(str(record.evidence["notFinite"])) <= 300


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("validR2", "the validation target is constant"),
        ("testR2", "the test target is constant"),
        ("validF1", "class 1 does not occur among the validation samples"),
        ("testF1", "class 1 does not occur among the test samples"),
    ],
)
def test_a_metric_that_is_undefined_is_absent_with_its_reason(metric: str, words: str) -> None:
    record = of_metrics(**{undefined_name(metric): 1.0})
    assert record.metrics == {METRIC: 0.5}
    assert str(record.evidence[metric]).startswith(f"undefined: {words}")


@pytest.mark.parametrize(
    ("objective", "others", "chosen"),
    [
        ("validR2", ("validMse", "validMae", "testMse"), "validMse, validMae"),
        ("validF1", ("validLogLoss", "validAccuracy", "naiveValidAccuracy"), "validLogLoss, validAccuracy"),
    ],
)
def test_an_objective_that_is_undefined_is_named_with_what_can_be_chosen(
    objective: str, others: tuple[str, ...], chosen: str
) -> None:
    metrics = {"dataHash": 1.0} | dict.fromkeys(others, 0.5) | {undefined_name(objective): 1.0}
    found = judge([well(0, metrics=metrics)], objective)
    assert found.outcome is Outcome.METRICS_MISSING
    assert found.error.startswith(f"the objective {objective} has no value: ")
    assert found.error.endswith(f"; of this data choose {chosen}")


def test_what_was_measured_beside_a_missing_objective_stands() -> None:
    ending = well(0, metrics={"validMae": 1.0, undefined_name("validR2"): 1.0})
    record = make_record(a_trial(), attempt=1, exits=[ending], metric="validR2", times=TIMES)
    assert (record.outcome, record.metrics) == (Outcome.METRICS_MISSING, {"validMae": 1.0})


def test_another_trainers_missing_objective_is_not_called_undefined() -> None:
    found = judge([well(0, metrics={"validMse": 0.5})], "validR2")
    assert found.error == "the objective validR2 was not reported; reported: validMse"


ABORT = """epoch 3 of 9
terminate called after throwing an instance of 'std::bad_alloc'
  what():  std::bad_alloc
"""
TORCH_ABORT = """terminate called after throwing a 'c10::Error'
  what():  CUDA error: out of memory

Exception raised from c10_cuda_check_implementation at CUDAException.cpp:43 (most recent call first):
frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x57
frame #1: clone + 0x3f

Fatal Python error: Aborted
"""
TRACEBACK = """CUDA out of memory, so the batch is halved
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
KeyError: 'loss'
"""
OF_A_RANK = """[rank1]: Traceback (most recent call last):
[rank1]:   File "train.py", line 3, in <module>
[rank1]: torch.AcceleratorError: CUDA error: out of memory
[rank1]: Compile with TORCH_USE_CUDA_DSA

"""


@pytest.mark.parametrize(
    ("log", "words", "outcome"),
    [
        (ABORT, "terminate called after throwing an instance of 'std::bad_alloc'\nwhat():  std::bad_alloc",
         Outcome.HOST_OOM),
        (TORCH_ABORT, "terminate called after throwing a 'c10::Error'\nwhat():  CUDA error: out of memory",
         Outcome.DEVICE_OOM),
        (TRACEBACK, "KeyError: 'loss'", Outcome.CRASHED),
        (OF_A_RANK, "torch.AcceleratorError: CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA",
         Outcome.DEVICE_OOM),
        ("Traceback (most recent call last):\n  File", "Traceback (most recent call last):\nFile", Outcome.CRASHED),
        ("MemoryError\n", "MemoryError", Outcome.HOST_OOM),
        ("MemoryError was survived\n\ndone\n\n", "done", Outcome.CRASHED),
        ("\n".join(map(str, range(20))), "15\n16\n17\n18\n19", Outcome.CRASHED),
        ("", "", Outcome.CRASHED),
    ],
)  # fmt: skip
def test_the_end_of_a_log_gives_the_reason(log: str, words: str, outcome: Outcome) -> None:
    assert last_words(log) == words
    assert judge([RankExit(0, 1, error=log)], METRIC).outcome is outcome


def test_of_a_trial_that_was_killed_with_its_pack_the_time_is_its_share() -> None:
    times = Times(accepted=START, started=START, finished=START + 8000)
    killed = replace(removed(0, Outcome.TIMED_OUT), beside={PACKED_WITH: 3})
    record = make_record(a_trial(), attempt=1, exits=[killed], metric=METRIC, times=times)
    assert record.seconds.total == 2.0
    told = replace(well(0, seconds=Seconds(total=1.5)), beside={PACKED_WITH: 3})
    assert make_record(a_trial(), attempt=1, exits=[told], metric=METRIC, times=times).seconds.total == 1.5
