"""The ledger as the operator keeps it on a real API server: what it knows is what it would read there."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from kubernetes.aio.config import kube_config

from cluster.operatorprocess import Experiments, a_search
from trainer.experiment.expand import Trial
from trainer.experiment.record import Memory, Record
from trainer.scheduling.decide import Start
from trialrun_operator.kube import Kube
from trialrun_operator.ledger_format import MAX_VALUE_BYTES
from trialrun_operator.ledger_store import LedgerStore
from trialrun_operator.names import Key
from trialrun_operator.state import ExperimentStates
from trialrun_operator.store import experiment_object
from trialrun_operator.workload import workload

Connected = Callable[[Callable[[Kube], Awaitable[None]]], None]


@pytest.fixture
def connected(account: Path, monkeypatch: pytest.MonkeyPatch) -> Connected:
    """Runs what needs the operator's client, as the chart's service account."""
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(account))

    async def run(work: Callable[[Kube], Awaitable[None]]) -> None:
        kube = Kube(lambda _verb, _code: None)
        await kube.connect()
        try:
            await work(kube)
        finally:
            await kube.close()

    return lambda work: asyncio.run(run(work))


def place(experiments: Experiments, name: str) -> tuple[Key, str]:
    seen = experiments.get(name)
    return Key(seen["kind"], experiments.namespace, name), seen["metadata"]["uid"]


def a_record(trial: Trial, **fields: object) -> Record:
    return Record(id=trial.id, index=trial.index, outcome="Succeeded", accepted_at=1, **fields)


def test_the_store_knows_of_a_record_what_is_read_after_a_restart(
    experiments: Experiments, connected: Connected
) -> None:
    first, second = workload(experiments.create(a_search(trials=2, suspend=True))).trials
    memory = tuple(Memory(peak_bytes=2**40 + rank, mean_bytes=2**40, floor_bytes=2**39) for rank in range(64))
    large = a_record(first, workers=64, memory=memory, error="\x01" * 500)
    assert len(large.model_dump_json().encode()) > MAX_VALUE_BYTES

    async def compare(kube: Kube) -> None:
        store, after = (LedgerStore(kube, *place(experiments, "search")) for _ in range(2))
        written = await store.add([large, a_record(second)])
        await after.refresh()
        assert store.records == after.records
        assert [[record] for record in written] == list(after.records.values())
        assert [rank for rank in written[0].memory if rank is not None], "the largest floor and peak stay"

    connected(compare)


def test_a_range_that_was_not_asked_for_is_read_when_another_operator_has_recorded_what_was_to_be_created(
    experiments: Experiments, connected: Connected
) -> None:
    document = experiments.create(a_search(trials=50, repeats=5, suspend=True))
    work, seen = workload(document), experiment_object(document)
    first, *_, last = work.trials

    async def compare(kube: Kube) -> None:
        state = ExperimentStates(kube, time.monotonic).of(seen)
        other = LedgerStore(kube, *place(experiments, "search"))
        await state.refresh(kube, seen.key, work)
        await other.add([a_record(last)])
        assert not await state.refresh(kube, seen.key, work, [Start(first, 1)])
        await other.add([a_record(first)])
        assert await state.refresh(kube, seen.key, work, [Start(first, 1)])
        assert state.ledger.records.keys() == {first.id, last.id}

    connected(compare)
