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
