"""What the operator remembers of experiments from one look to the next."""

import asyncio

from trialrun_operator.book import Book
from trialrun_operator.kube import Kube
from trialrun_operator.memory import Memories
from trialrun_operator.plan import Create
from trialrun_operator.store import experiment_object
from unit.apiserver import ApiServer
from unit.builders import a_record
from unit.objects import KEY, UID, a_workload, object_document


def test_an_experiment_that_no_list_has_is_forgotten() -> None:
    memories, seen = Memories(Kube(lambda _verb, _code: None)), experiment_object(object_document())
    memory = memories.of(seen)
    memories.expire([seen.key])
    assert memories.of(seen) is memory
    memories.expire([])
    assert memories.of(seen) is not memory


def test_a_range_that_was_not_asked_for_is_read_when_another_operator_has_recorded_what_was_to_be_created() -> None:
    rates = {"name": "train.learningRate", "choices": [round(0.001 * n, 3) for n in range(1, 65)]}
    work = a_workload(parameters=[rates, {"name": "model.layers", "choices": [1, 2, 3, 4]}], baseline="None")
    first, *_, last = work.trials
    cluster = ApiServer()
    memory, other = Memories(cluster).of(experiment_object(object_document())), Book(cluster, KEY, UID)
    asyncio.run(memory.refresh(cluster, KEY, work))
    asyncio.run(other.add([a_record(last)]))
    assert not asyncio.run(memory.refresh(cluster, KEY, work, [Create(first, 1)]))
    asyncio.run(other.add([a_record(first)]))
    assert asyncio.run(memory.refresh(cluster, KEY, work, [Create(first, 1)]))
    assert memory.book.records.keys() == {first.id, last.id}
