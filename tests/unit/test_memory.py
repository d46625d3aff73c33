"""What the operator remembers of experiments from one look to the next."""

from trialrun_operator.kube import Kube
from trialrun_operator.memory import Memories
from trialrun_operator.store import experiment_object
from unit.objects import object_document


def test_an_experiment_that_no_list_has_is_forgotten() -> None:
    memories, seen = Memories(Kube(lambda _verb, _code: None), lambda: 0.0), experiment_object(object_document())
    memory = memories.of(seen)
    memories.expire([seen.key])
    assert memories.of(seen) is memory
    memories.expire([])
    assert memories.of(seen) is not memory


def test_on_a_machine_that_has_just_started_nothing_counts_as_done_before() -> None:
    clock = iter(range(100))
    memory = Memories(Kube(lambda _verb, _code: None), lambda: next(clock)).of(experiment_object(object_document()))
    assert memory.until_beat() == 0
    assert not memory.deleted("a job's uid"), "the clock starts with the machine, at 0"
    memory.deletes("a job's uid")
    assert memory.deleted("a job's uid")
