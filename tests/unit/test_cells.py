"""The rules of a scale test's cells: what limits them, which are skipped."""

import pytest

from trainer.experiment.errors import UserError
from trainer.experiment.expand import expand
from trainer.experiment.load import load
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.experiment.spec import Cell
from trainer.scheduling.decide import decide, reason_to_skip
from trainer.scheduling.history import History
from trainer.scheduling.limits import memory_limit
from trainer.scheduling.workload import workload
from unit.builders import a_record, an_experiment

FLOOR = 300 * 2**20


def a_test(**cell: object):
    return an_experiment(kind="ScaleTest", axes={"multipliers": [1, 10, 50], "workers": [1, 2]}, cell=cell)


def test_a_limit_is_what_the_file_says_or_so_much_above_the_floor() -> None:
    assert memory_limit(Cell(), FLOOR) is None
    assert memory_limit(Cell(memoryLimit="1Gi"), FLOOR) == 2**30
    assert memory_limit(Cell(memoryAboveFloor="128Mi"), FLOOR) == 428 * 2**20


@pytest.mark.parametrize("limit", ["0", "299Mi", "300Mi"])
def test_a_limit_that_no_worker_could_start_under_is_refused_with_what_it_needs(limit: str) -> None:
    with pytest.raises(UserError, match=r"^spec\.cell\.memoryLimit: must be more than the 300 MiB .* got " + limit):
        memory_limit(Cell(memoryLimit=limit), FLOOR)


@pytest.mark.parametrize("above", ["0", "10m"])
def test_nothing_above_the_floor_is_refused(above: str) -> None:
    with pytest.raises(UserError, match=rf"^spec\.cell\.memoryAboveFloor: must be at least one byte, got {above}"):
        memory_limit(Cell(memoryAboveFloor=above), FLOOR)


@pytest.mark.parametrize("outcome", [Outcome.HOST_OOM, Outcome.DEVICE_OOM])
def test_larger_cells_with_as_many_workers_are_skipped_after_one_ran_out_of_memory(outcome: Outcome) -> None:
    test = a_test()
    trials = expand(test)
    ended = [a_record(trials[0]), a_record(trials[1], outcome=outcome)]
    reasons = [reason_to_skip(test, trial, ended) for trial in trials]
    assert reasons == [None, None, f"10x with 1 worker ended as {outcome}", None, None, None]


def test_of_a_program_s_cells_too_the_larger_ones_are_skipped_and_the_size_is_told() -> None:
    spec = {"axes": {"multipliers": [1, 10, 50, 100]}, "program": {"command": ["run"]}}
    head = {"apiVersion": "trialrun.dev/v1alpha1", "kind": "ScaleTest", "metadata": {"name": "program"}}
    test = load(head | {"spec": spec})
    trials = expand(test)
    ended = [Record(id=trials[2].id, index=2, parameters=trials[2].parameters, outcome=Outcome.HOST_OOM)]
    reasons = [reason_to_skip(test, trial, ended) for trial in trials]
    assert reasons == [None, None, None, "50x with 1 worker ended as HostOOM"]


@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.CRASHED, Outcome.SUCCEEDED, Outcome.SKIPPED])
def test_nothing_is_skipped_for_another_reason(outcome: Outcome) -> None:
    test = a_test()
    trials = expand(test)
    assert reason_to_skip(test, trials[2], [a_record(trials[1], outcome=outcome)]) is None


def test_with_run_every_cell_runs() -> None:
    test = a_test(afterOutOfMemory="Run")
    trials = expand(test)
    assert reason_to_skip(test, trials[2], [a_record(trials[0], outcome=Outcome.HOST_OOM)]) is None


def test_a_skipped_cell_leaves_a_final_record_without_figures() -> None:
    test = a_test()
    trials = expand(test)
    ended = [a_record(trials[0]), a_record(trials[1], outcome=Outcome.HOST_OOM)]
    history = History(workload(test), {record.id: [record] for record in ended}, accepted=0)
    (record,) = decide(workload(test), history, (), free=1, now=7).skipped
    assert (record.id, record.attempt, record.outcome, record.final) == (trials[2].id, 1, Outcome.SKIPPED, True)
    assert (record.error, record.memory, record.finished_at) == ("10x with 1 worker ended as HostOOM", (), 7)
