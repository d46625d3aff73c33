"""A trial whose pod was taken from it goes on from its checkpoint, and comes to the same bits."""

from collections.abc import Iterator

import pytest

from cluster.api import Json
from cluster.kinds import over_both
from cluster.operatorprocess import Experiments, a_search
from cluster.queues import Queue
from cluster.testcluster import Cluster
from eventually import eventually
from node.conftest import restricted_namespace
from node.pods import a_pod, evict, records, running, trainer_image
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.training.checkpoint import CHECKPOINT

OUTPUT = "output"  # of the claims of `volumes`
EPOCHS = 400
TRAINING = {
    "data": {"source": "synthetic", "rows": 3_000, "window": 20},
    "model": {"hiddenSize": 64, "layers": 2, "dropout": 0.2},
    "train": {"epochs": EPOCHS, "batchSize": 32, "checkpointEvery": 1},
}


@pytest.fixture
def queue(volumes: Experiments, kueue: None) -> Iterator[Queue]:  # noqa: ARG001
    """A queue with room for one trial."""
    made = Queue(volumes.api, volumes.namespace, cpus=1)
    yield made
    made.delete()


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> Record:
    """The record of a trial that nothing disturbed."""
    with restricted_namespace(cluster) as experiments:
        experiments.create(a_search(trials=1, training=TRAINING))
        experiments.finished("search")
        (record,) = records(experiments, "search")
    assert (record.outcome, record.epochs) == (Outcome.SUCCEEDED, EPOCHS), record.error
    return record


def wait_for_checkpoint(pod: Json, experiments: Experiments) -> None:
    """Waits in the pod itself, so that its trial has little time to go on before it is evicted."""
    wait = f"import pathlib, time\nwhile not list(pathlib.Path('/output').rglob('{CHECKPOINT}')): time.sleep(0.1)"
    experiments.cluster.kubectl(
        "exec", "-n", experiments.namespace, pod["metadata"]["name"], "--", "python", "-c", wait
    )


def test_an_evicted_trial_goes_on_from_its_checkpoint_and_ends_with_the_same_bits(
    volumes: Experiments, undisturbed: Record
) -> None:
    volumes.create(a_search(trials=1, training=TRAINING, pod={"outputClaim": OUTPUT}))
    (pod,) = running(volumes)
    wait_for_checkpoint(pod, volumes)
    evict(volumes.cluster, pod)
    volumes.finished("search")
    evicted, resumed = records(volumes, "search")
    assert [evicted.outcome, resumed.outcome] == [Outcome.EVICTED, Outcome.SUCCEEDED], resumed.error
    assert (evicted.final, resumed.attempt) == (False, 2)
    assert 0 < resumed.resumed_from < EPOCHS
    assert resumed.epochs == EPOCHS
    assert resumed.metrics == undisturbed.metrics


@over_both
def test_what_a_queue_takes_back_for_urgent_work_goes_on_from_its_checkpoint_as_the_same_attempt(
    volumes: Experiments, queue: Queue, undisturbed: Record
) -> None:
    resources = {"requests": {"cpu": "1"}}
    pod = {"outputClaim": OUTPUT, "resources": resources}
    volumes.create(a_search(trials=1, training=TRAINING, queue=queue.name, maxFailedTrials=0, pod=pod))
    (pod,) = running(volumes)
    wait_for_checkpoint(pod, volumes)
    pods = a_pod(trainer_image(volumes.cluster), ["sleep", "3"], resources=resources)
    urgent = {"metadata": {"name": "urgent", "labels": queue.urgent}, "spec": {"suspend": True, "template": pods}}
    volumes.api.create(f"/apis/batch/v1/namespaces/{volumes.namespace}/jobs", urgent)
    eventually(lambda: queue.conditions("urgent").get("Finished"), what="the urgent work is done")
    status = volumes.finished("search")["status"]
    assert (status["phase"], status["failed"]) == ("Succeeded", 0)
    (record,) = records(volumes, "search")
    assert (record.outcome, record.attempt) == (Outcome.SUCCEEDED, 1), record.error
    assert 0 < record.resumed_from < EPOCHS
    assert record.epochs == EPOCHS
    assert record.metrics == undisturbed.metrics
