"""What a raised rerun finds when it is taken up: what has ended by then counts for the run before."""

import asyncio
import time

import pytest

from trainer.experiment.judge import Ending
from trialrun_operator.book import Book
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import JOBS
from trialrun_operator.observe import timestamp
from trialrun_operator.queue import Queue
from trialrun_operator.reconcile import Reconciler
from trialrun_operator.store import Store, experiment_object
from unit.apiserver import ApiServer
from unit.builders import START
from unit.objects import KEY, UID, a_job, a_workload, an_ended_pod, object_document

NOW = START + 100_000
FAILED = a_workload().trials[:4]
BEFORE = {"acceptedAt": timestamp(START), "rerun": 0}


def a_reconciler(cluster: ApiServer, document: dict[str, object]) -> Reconciler:
    """Of an operator that was away while the first trials failed and the rerun was raised."""
    store = Store()
    cluster.objects[KEY.path] = document
    store.put(experiment_object(document))
    for trial in FAILED:
        store.put(a_job(trial, ended=START + 60_000))
        store.put(an_ended_pod(trial, Ending(0, exit_code=1)))
    metrics = Metrics(lambda: 0.0)
    return Reconciler(cluster, store, Queue(time.monotonic), metrics, "trainer:1", now=lambda: NOW)


def recorded(cluster: ApiServer) -> dict[str, list[int]]:
    """When each record's run was accepted, by trial."""
    book = Book(cluster, KEY, UID)
    asyncio.run(book.refresh())
    return {identity: [record.accepted_at for record in records] for identity, records in book.records.items()}


def test_what_failed_before_a_rerun_was_accepted_is_run_again() -> None:
    cluster = ApiServer()
    spec = {"parallelTrials": 4, "maxFailedTrials": 3, "rerun": 1}
    reconciler = a_reconciler(cluster, object_document(status=BEFORE, **spec))
    asyncio.run(reconciler.reconcile(KEY))
    assert cluster.objects[KEY.path]["status"]["acceptedAt"] == timestamp(NOW)
    assert recorded(cluster) == {trial.id: [START] for trial in FAILED}
    asyncio.run(reconciler.reconcile(KEY))
    under = JOBS.path(KEY.namespace) + "/"
    jobs = {path.removeprefix(under) for path in cluster.objects if path.startswith(under)}
    assert jobs == {f"{KEY.name}-{trial.id}-2" for trial in FAILED}


@pytest.mark.parametrize("rerun", [0, 1])
def test_what_ends_while_a_search_is_suspended_is_recorded_though_its_rerun_is_raised(rerun: int) -> None:
    cluster = ApiServer()
    reconciler = a_reconciler(cluster, object_document(status=BEFORE, suspend=True, rerun=rerun))
    asyncio.run(reconciler.reconcile(KEY))
    assert recorded(cluster) == {trial.id: [START] for trial in FAILED}
    status = cluster.objects[KEY.path]["status"]
    assert (status["acceptedAt"], status["rerun"]) == (timestamp(START), 0)
