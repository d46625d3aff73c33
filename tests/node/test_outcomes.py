"""How real trials end that go wrong, and that the others go on."""

import signal
from collections.abc import Iterator

import pytest

from cluster.api import Json
from cluster.operatorprocess import Experiments, a_search
from cluster.testcluster import Cluster
from eventually import eventually
from node import pods
from node.conftest import restricted_namespace
from trainer.experiment.record import Record

FOR_EVER = 1_000_000  # epochs
UNTIL_IT_TRAINS = 180  # seconds: on a busy machine a pod needs more than 40 until it trains
TOO_LARGE, LIMIT = 20_000, "700Mi"  # the base set so many times, in memory
WITHOUT_AN_IMAGE = "nowhere.invalid/none:1"


@pytest.fixture(scope="module")
def at_once(cluster: Cluster) -> Iterator[Experiments]:
    """Three searches that go wrong each in a way of its own, at the same time: they mostly wait."""
    with restricted_namespace(cluster) as experiments:
        experiments.create(_search("image", pod={"image": WITHOUT_AN_IMAGE}, pendingDeadlineSeconds=45))
        experiments.create(
            _search("endless", training=pods.a_small_training(epochs=FOR_EVER), deadlineSeconds=UNTIL_IT_TRAINS)
        )
        memory = {"limits": {"memory": LIMIT}}
        large = [{"name": "data.multiplier", "choices": [1, TOO_LARGE]}]
        experiments.create(_search("memory", parameters=large, pod={"resources": memory}))
        yield experiments


def _search(name: str, **spec: object) -> Json:
    return a_search(name, trials=1, **{"training": pods.a_small_training(), **spec})


def _records(experiments: Experiments, name: str) -> list[Record]:
    """The records of an experiment, once it has finished."""
    experiments.finished(name)
    return pods.records(experiments, name)


def test_a_trial_beyond_its_memory_limit_is_killed_and_the_others_complete(at_once: Experiments) -> None:
    small, large = _records(at_once, "memory")
    assert small.outcome == "Succeeded"
    assert (large.outcome, large.exit_code) == ("HostOOM", 137)
    assert "OOMKilled" in large.error
    (memory,) = large.memory
    assert memory is not None
    assert memory.limit is not None
    assert memory.counted_peak >= 0.9 * memory.limit.bytes
    assert at_once.get("memory")["status"]["phase"] == "Succeeded"


def test_an_image_that_cannot_be_had_is_not_waited_for_until_the_deadline(at_once: Experiments) -> None:
    (record,) = _records(at_once, "image")
    assert record.outcome == "ImageUnavailable"
    assert WITHOUT_AN_IMAGE in record.error
    assert (record.finished_at - record.accepted_at) / 1000 < 120  # its deadline is at 600 s


def test_a_trial_that_hangs_is_out_of_time(our_node: Cluster) -> None:
    with restricted_namespace(our_node) as experiments:
        endless = pods.a_small_training(epochs=FOR_EVER)
        experiments.create(_search("stopped", training=endless, deadlineSeconds=20))
        (pod,) = pods.running(experiments)
        pods.send(pod, signal.SIGSTOP)
        (record,) = _records(experiments, "stopped")
        assert record.outcome == "TimedOut"


def test_a_rank_that_dies_ends_its_trial_and_is_named(our_node: Cluster) -> None:
    with restricted_namespace(our_node) as experiments:
        endless = pods.a_small_training(epochs=FOR_EVER)
        experiments.create(_search("ranks", training=endless, workers=2))
        for pod in pods.running(experiments, 2):
            if pod["metadata"]["name"].endswith("worker-0"):
                pods.send(pod, signal.SIGKILL)
        (record,) = _records(experiments, "ranks")
        assert (record.outcome, record.failed_rank, record.exit_code) == ("Crashed", 1, 137)
        eventually(
            lambda: all(pod["status"]["phase"] not in ("Running", "Pending") for pod in experiments.pods()),
            what="no pod of it runs any more",
        )


def test_a_trial_without_end_is_out_of_time(at_once: Experiments) -> None:
    (record,) = _records(at_once, "endless")
    assert record.outcome == "TimedOut"
    assert record.final
    assert record.evidence["podReason"] == "DeadlineExceeded"
    assert record.seconds.train > 0
    assert record.memory[0] is not None
