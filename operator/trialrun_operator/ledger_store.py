"""An experiment's ledger on the cluster: reads its ConfigMaps, adds entries to them, and loses none.

Each write adds keys under the condition that the ConfigMap is as it was read. On a conflict it is read again and what
is there by now is left as it is, so that of two operators' records of one attempt the first stays.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.experiment.record import Record, RunFigures
from trainer.scheduling.decide import Start
from trialrun_operator import ledger_format
from trialrun_operator.kube import Kube, Refused, all_of
from trialrun_operator.ledger_format import BASELINE, Entry, Shard
from trialrun_operator.names import (
    CONFIG_MAPS,
    LEDGER_LABEL,
    UID_LABEL,
    Key,
    baseline_name,
    imported_name,
    labels,
    ledger_name,
    owner,
)

_log = logging.getLogger(__name__)
_TRIES = 8
# So many shards are asked for one by one, which takes milliseconds. A LIST waits until the API server's cache has
# caught up with all of etcd: a tenth of a second on a busy cluster, in which nothing is created.
_ASKED_FOR_APART = 6


@dataclass
class _Known:
    """What a ConfigMap held when it was last read or written: its resourceVersion and the size of each value."""

    version: str
    sizes: dict[str, int] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)


class LedgerStore:
    """The ledger of one experiment, by its UID; a namesake's is another's."""

    def __init__(self, kube: Kube, key: Key, uid: str) -> None:
        self._kube = kube
        self._key = key
        self._uid = uid
        self._shards: dict[Shard, _Known] = {}
        self._by_run: dict[str, list[Record]] = {}

    @property
    def records(self) -> Mapping[str, Sequence[Record]]:
        """The records of each run by its id, in the order of their attempts."""
        return self._by_run

    @property
    def figures(self) -> RunFigures | None:
        """Those of the baseline's run, if its latest attempt has come to any."""
        known = self._shards.get(BASELINE)
        entries = [each for each in known.entries.values() if not isinstance(each, Record)] if known else []
        return max(entries, key=lambda each: each.record.attempt).figures if entries else None

    async def refresh(self, starts: Sequence[Start] = ()) -> bool:
        """Reads what has changed since it was last read or written; says whether anything had.

        Where `starts` are given only what may speak against them is compared, so that the rest of a long ledger costs
        nothing. If that has changed, all is compared: what is started instead may lie anywhere.
        """
        only = {ledger_format.shard_of_run(start.trial) for start in starts}
        versions = await (self._asked_for(only) if 0 < len(only) <= _ASKED_FOR_APART else self._listed())
        compared = only or self._shards.keys() | versions.keys()
        gone = compared & self._shards.keys() - versions.keys()
        for shard in gone:
            _log.warning("%s: its ledger %s was deleted", self._key, shard)
            self._forget(shard)
        changed = [
            shard
            for shard in compared & versions.keys()
            if shard not in self._shards or self._shards[shard].version != versions[shard]
        ]
        await all_of(*(self._read(shard) for shard in changed))
        if not gone and not changed:
            return False
        if only:
            await self.refresh()
        return True

    async def _listed(self) -> dict[Shard, str]:
        """The resourceVersions of all shards."""
        versions: dict[Shard, str] = {}
        async for page, _ in self._kube.pages(
            CONFIG_MAPS, self._key.namespace, f"{UID_LABEL}={self._uid}", metadata_only=True
        ):
            for item in page:
                label = item["metadata"]["labels"].get(LEDGER_LABEL, "")
                shard = int(label) if label.isdigit() else BASELINE
                if item["metadata"]["name"] == self._name(shard):
                    versions[shard] = item["metadata"]["resourceVersion"]
        return versions

    async def _asked_for(self, shards: Iterable[Shard]) -> dict[Shard, str]:
        """The resourceVersions of those of these shards that there are."""
        shards = list(shards)
        found = await all_of(*(self._version(shard) for shard in shards))
        return {shard: version for shard, version in zip(shards, found, strict=True) if version is not None}

    async def _version(self, shard: Shard) -> str | None:
        path = CONFIG_MAPS.path(self._key.namespace, self._name(shard))
        try:
            found = await self._kube.get(path, metadata_only=True)
        except Refused as refused:
            if refused.code != 404:
                raise
            return None
        version: str = found["metadata"]["resourceVersion"]
        return version

    async def add(self, entries: Iterable[Entry]) -> list[Record]:
        """Writes the entries that are not there; gives the records of those that it wrote, as they were written."""
        by_shard: dict[Shard, dict[str, Entry]] = {}
        for entry in entries:
            by_shard.setdefault(ledger_format.shard_of(entry), {})[ledger_format.key_of(entry)] = entry
        written = await all_of(*(self._add(shard, entries) for shard, entries in by_shard.items()))
        return [record for part in written for record in part]

    async def _add(self, shard: Shard, entries: Mapping[str, Entry]) -> list[Record]:
        for _ in range(_TRIES):
            known = self._shards.get(shard)
            missing = {key: entry for key, entry in entries.items() if known is None or key not in known.sizes}
            if not missing:
                return []
            lines = {key: ledger_format.line_of(entry) for key, entry in missing.items()}
            try:
                if known is None:
                    known = await self._create(shard, lines)
                else:
                    await self._patch(shard, known, lines)
            except Refused as refused:
                if refused.code == 404:
                    self._forget(shard)
                elif refused.code == 409:
                    await self._read(shard)
                else:
                    raise
            else:
                # As they were written, perhaps shortened: an operator that is started anew knows no more.
                written = {key: ledger_format.entry_of(shard, line) for key, line in lines.items()}
                known.sizes.update({key: len(line.encode()) for key, line in lines.items()})
                known.entries.update(written)
                return self._index(written.values())
        name = self._name(shard)
        raise Refused(f"writing {name}", 409, "Conflict", f"it changed {_TRIES} times while it was written", None)

    async def _create(self, shard: Shard, lines: Mapping[str, str]) -> _Known:
        label = {} if shard == BASELINE else {LEDGER_LABEL: str(shard)}
        body = {
            "apiVersion": CONFIG_MAPS.api_version,
            "kind": CONFIG_MAPS.kind,
            "metadata": {
                "name": self._name(shard),
                "labels": labels(self._key, self._uid) | label,
                "ownerReferences": [owner(self._key, self._uid)],
            },
            "data": dict(lines),
        }
        made = await self._kube.create(CONFIG_MAPS.path(self._key.namespace), body, metadata_only=True)
        known = self._shards[shard] = _Known(made["metadata"]["resourceVersion"])
        return known

    async def _patch(self, shard: Shard, known: _Known, lines: Mapping[str, str]) -> None:
        dropped = ledger_format.superseded(known.sizes, {key: len(line.encode()) for key, line in lines.items()})
        data: dict[str, Any] = {**lines, **dict.fromkeys(dropped)}
        body = {"metadata": {"resourceVersion": known.version}, "data": data}
        path = CONFIG_MAPS.path(self._key.namespace, self._name(shard))
        made = await self._kube.merge(path, body, metadata_only=True)
        known.version = made["metadata"]["resourceVersion"]
        for key in dropped:
            del known.sizes[key]
            known.entries.pop(key, None)

    async def _read(self, shard: Shard) -> None:
        name = self._name(shard)
        try:
            found = await self._kube.get(CONFIG_MAPS.path(self._key.namespace, name))
        except Refused as refused:
            if refused.code != 404:
                raise
            self._forget(shard)
            return
        self._forget(shard)
        known = self._shards[shard] = _Known(found["metadata"]["resourceVersion"])
        for key, line in sorted((found.get("data") or {}).items()):
            known.sizes[key] = len(line.encode())
            try:
                known.entries[key] = ledger_format.entry_of(shard, line)
            except ValueError as error:
                _log.warning("%s: ConfigMap %s, key %s: %s; it is ignored", self._key, name, key, error)
        self._index(known.entries.values())

    def _forget(self, shard: Shard) -> None:
        known = self._shards.pop(shard, None)
        for entry in known.entries.values() if known is not None else ():
            self._by_run.pop(ledger_format.record_of(entry).id, None)

    def _index(self, entries: Iterable[Entry]) -> list[Record]:
        """Puts entries in with the others of their runs; gives their records."""
        records = [ledger_format.record_of(entry) for entry in entries]
        for record in records:
            of_run = self._by_run.setdefault(record.id, [])
            of_run.append(record)
            of_run.sort(key=lambda each: each.attempt)
        return records

    def _name(self, shard: Shard) -> str:
        if shard == BASELINE:
            return baseline_name(self._key, self._uid)
        return ledger_name(self._key, self._uid, shard)


async def imported_data(kube: Kube, key: Key) -> Mapping[str, Any] | None:
    """What the ConfigMap holds that a user has made of a ledger, to be the baseline; None where there is none."""
    try:
        found = await kube.get(CONFIG_MAPS.path(key.namespace, imported_name(key.name)))
    except Refused as refused:
        if refused.code != 404:
            raise
        return None
    return found.get("data") or {}
