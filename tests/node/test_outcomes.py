"""How real trials end that go wrong, and that the others go on."""

import signal
from collections.abc import Iterator

import pytest

from cluster.api import Json
from cluster.kinds import rank_of
from cluster.operatorprocess import Experiments, a_search
from cluster.testcluster import Cluster
from eventually import eventually
from node import pods
from node.conftest import restricted_namespace
from trainer.experiment.record import Record
from trialrun_operator.backends import BACKENDS

FOR_EVER = 1_000_000  # epochs
UNTIL_IT_TRAINS = 180  # seconds: on a busy machine a pod needs more than 40 until it trains
TOO_LARGE, LIMIT = 20_000, "700Mi"  # the base set so many times, in memory
# What each of two ranks does, by the parameter.
FAILS = """
import os, time
import trialrun

trial = trialrun.trial()
if os.environ["RANK"] == "0":
    time.sleep(600)
if trial.parameters["how"] == "memory":
    held = [bytearray(b"x" * 2**20) for _ in range(1024)]
raise ValueError("no such row: 17")
"""
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


@pytest.mark.usefixtures("our_node", "trainer")
def test_a_rank_that_dies_ends_its_trial_and_is_named(experiments: Experiments) -> None:
    """One trial of each kind of job, at the same time: they mostly wait."""
    endless = pods.a_small_training(epochs=FOR_EVER)
    searches = {kind: _search(f"of-{kind.lower()}s", training=endless, workers=2, backend=kind) for kind in BACKENDS}
    for search in searches.values():
        experiments.create(search)
    for pod in pods.running(experiments, 2 * len(searches)):
        if rank_of(pod) == 1:
            pods.send(pod, signal.SIGKILL)
    for kind, search in searches.items():
        (record,) = _records(experiments, search["metadata"]["name"])
        assert (record.outcome, record.failed_rank, record.exit_code) == ("Crashed", 1, 137), kind
    eventually(
        lambda: all(pod["status"]["phase"] not in ("Running", "Pending") for pod in experiments.pods()),
        what="no pod of it runs any more",
    )


@pytest.mark.usefixtures("trainer")
def test_of_two_ranks_the_one_that_fails_is_named_with_what_it_said(experiments: Experiments) -> None:
    """The other waits for it, as one that trains does."""
    searches = {
        kind: a_search(
            f"of-{kind.lower()}s", program={"command": ["python", "-c", FAILS]}, workers=2, backend=kind,
            parameters=[{"name": "how", "choices": ["memory", "exception"]}],
            objective={"metric": "loss", "direction": "Minimize"}, pod={"resources": {"limits": {"memory": "128Mi"}}},
        )
        for kind in BACKENDS
    }  # fmt: skip
    for search in searches.values():
        experiments.create(search)
    for kind, search in searches.items():
        of_memory, of_exception = _records(experiments, search["metadata"]["name"])
        assert (of_memory.outcome, of_memory.failed_rank, of_memory.exit_code) == ("HostOOM", 1, 137), kind
        assert "OOMKilled" in of_memory.error
        assert (of_exception.outcome, of_exception.failed_rank, of_exception.exit_code) == ("Crashed", 1, 1), kind
        assert of_exception.error.endswith("ended with exit code 1; it said: ValueError: no such row: 17")


def test_a_trial_without_end_is_out_of_time(at_once: Experiments) -> None:
    (record,) = _records(at_once, "endless")
    assert record.outcome == "TimedOut"
    assert record.final
    assert record.evidence["podReason"] == "DeadlineExceeded"
    assert record.seconds.train > 0
    assert record.memory[0] is not None
