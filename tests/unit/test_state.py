"""What the operator keeps of experiments from one look to the next."""

from trialrun_operator.kube import Kube
from trialrun_operator.state import ExperimentStates
from trialrun_operator.store import experiment_object
from unit.objects import object_document


def test_an_experiment_that_no_list_has_is_forgotten() -> None:
    states, seen = (
        ExperimentStates(Kube(lambda _verb, _code: None), lambda: 0.0),
        experiment_object(object_document()),
    )
    state = states.of(seen)
    states.expire([seen.key])
    assert states.of(seen) is state
    states.expire([])
    assert states.of(seen) is not state


def test_on_a_machine_that_has_just_started_nothing_counts_as_done_before() -> None:
    clock, kube = iter(range(100)), Kube(lambda _verb, _code: None)
    state = ExperimentStates(kube, lambda: next(clock)).of(experiment_object(object_document()))
    assert state.until_write() == 0
    assert not state.deleted("a job's uid"), "the clock starts with the machine, at 0"
    state.deletes("a job's uid")
    assert state.deleted("a job's uid")
