"""Reads what an earlier search in the same namespace teaches one that begins: its object and its ledger."""

import asyncio
from collections.abc import Mapping
from typing import Any

from trainer.experiment.entries import Entries
from trainer.experiment.errors import InvalidExperiment, UserError
from trainer.experiment.load import load
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.lessons import Lesson
from trainer.scheduling.warm_start import lessons_of
from trialrun_operator.kube import Kube, Refused
from trialrun_operator.ledger_store import LedgerStore
from trialrun_operator.names import Key
from trialrun_operator.workload import warm_start_of


async def earlier_lessons(kube: Kube, key: Key, search: HyperparamSearch) -> list[Lesson]:
    """The lessons of the search that `search`, which has this key, is to begin with.

    Raises:
        UserError: there is no such search, it doesn't fit or its ledger can't be read.
    """
    source = Key(key.kind, key.namespace, warm_start_of(search) or "")
    named = f"hps/{source.name}"
    try:
        document = await kube.get(source.path)
    except Refused as refused:
        if refused.code != 404:
            raise
        raise UserError(
            f"spec.warmStart: must name a search in namespace {key.namespace}, and there is no {named}; "
            f"`kubectl get hps -n {key.namespace}` lists them"
        ) from refused
    ledger = LedgerStore(kube, source, document["metadata"]["uid"])
    await ledger.refresh()
    if ledger.unreadable:
        raise UserError(f"spec.warmStart: must name a search that can be read, and of {named} {ledger.unreadable[0]}")
    # Thousands of trials take a while, and the watches must not wait.
    return await asyncio.to_thread(_lessons, named, document, ledger, search)


def _lessons(named: str, document: Mapping[str, Any], ledger: LedgerStore, search: HyperparamSearch) -> list[Lesson]:
    try:
        before = load(document)
    except InvalidExperiment as invalid:
        raise UserError(f"spec.warmStart: must name a valid search, and {named} is not: {invalid}") from invalid
    records = [record for of_run in ledger.records.values() for record in of_run]
    records.sort(key=lambda record: (record.finished_at, record.index, record.attempt))
    # What data this search has is not known before its first record.
    lessons, _ = lessons_of(named, before, Entries(records, ledger.suggestions), search)
    return lessons
