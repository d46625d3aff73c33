"""What the operator remembers of experiments from one look to the next."""

from trialrun_operator.kube import Kube
from trialrun_operator.memory import Memories
from unit.objects import an_object


def test_an_experiment_that_no_list_has_is_forgotten() -> None:
    memories, seen = Memories(Kube(lambda _verb, _code: None)), an_object()
    memory = memories.of(seen)
    memories.expire([seen.key])
    assert memories.of(seen) is memory
    memories.expire([])
    assert memories.of(seen) is not memory
