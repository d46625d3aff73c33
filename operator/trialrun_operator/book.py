"""An experiment's ledger on the cluster: reads its ConfigMaps, adds records to them, and loses none.

Each write adds keys under the condition that the ConfigMap is as it was read. On a conflict it is read again and what
is there by now is left as it is, so that of two operators' records of one attempt the first stays.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.experiment.record import Record, decode
from trialrun_operator import ledger
from trialrun_operator.kube import Kube, Refused
from trialrun_operator.names import CONFIG_MAPS, LEDGER_LABEL, UID_LABEL, Key, labels, ledger_name, owner

_log = logging.getLogger(__name__)
_TRIES = 8
# So many shards are asked for one by one, which takes milliseconds. A LIST waits until the API server's cache has
# caught up with all of etcd: a tenth of a second on a busy cluster, in which nothing is created.
_ASKED_FOR_APART = 6


@dataclass
class _Shard:
    """What a ConfigMap held when it was last read or written: its resourceVersion and the size of each value."""

    version: str
    sizes: dict[str, int] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)


class Book:
    """The ledger of one experiment, by its UID; a namesake's is another's."""

    def __init__(self, kube: Kube, key: Key, uid: str) -> None:
        self._kube = kube
        self._key = key
        self._uid = uid
        self._shards: dict[int, _Shard] = {}
        self._by_trial: dict[str, list[Record]] = {}
        self.edition = 0  # another one after every change of the records

    @property
    def records(self) -> Mapping[str, Sequence[Record]]:
        """The records of each trial by its id, in the order of their attempts."""
        return self._by_trial

    async def refresh(self, only: frozenset[int] | None = None) -> bool:
        """Reads what has changed since it was last read or written; says whether anything had.

        Shards that are not in `only`, if that is given, stay as they are known.
        """
        versions = await (self._listed() if only is None or len(only) > _ASKED_FOR_APART else self._asked_for(only))
        if only is not None:
            versions = {shard: version for shard, version in versions.items() if shard in only}
        gone = (self._shards.keys() if only is None else self._shards.keys() & only) - versions.keys()
        for shard in gone:
            _log.warning("%s: its ledger %d was deleted", self._key, shard)
            self._forget(shard)
        changed = [
            n for n, version in versions.items() if n not in self._shards or self._shards[n].version != version
        ]
        await asyncio.gather(*(self._read(shard) for shard in changed))
        return bool(gone or changed)

    async def _listed(self) -> dict[int, str]:
        """The resourceVersions of all shards."""
        versions: dict[int, str] = {}
        selector = f"{UID_LABEL}={self._uid},{LEDGER_LABEL}"
        async for page, _ in self._kube.pages(CONFIG_MAPS, self._key.namespace, selector, metadata_only=True):
            for item in page:
                shard = item["metadata"]["labels"][LEDGER_LABEL]
                if shard.isdigit() and item["metadata"]["name"] == ledger_name(self._key, self._uid, int(shard)):
                    versions[int(shard)] = item["metadata"]["resourceVersion"]
        return versions

    async def _asked_for(self, shards: frozenset[int]) -> dict[int, str]:
        """The resourceVersions of those of these shards that there are."""
        found = await asyncio.gather(*(self._version(shard) for shard in shards))
        return {shard: version for shard, version in zip(shards, found, strict=True) if version is not None}

    async def _version(self, number: int) -> str | None:
        path = CONFIG_MAPS.path(self._key.namespace, ledger_name(self._key, self._uid, number))
        try:
            found = await self._kube.get(path, metadata_only=True)
        except Refused as refused:
            if refused.code != 404:
                raise
            return None
        version: str = found["metadata"]["resourceVersion"]
        return version

    async def add(self, records: Iterable[Record]) -> list[Record]:
        """Writes the records that are not there; gives those that it wrote, as they were written."""
        by_shard: dict[int, dict[str, Record]] = {}
        for record in records:
            by_shard.setdefault(ledger.shard_of(record.index), {})[ledger.entry_key(record)] = record
        written = await asyncio.gather(
            *(self._add(shard, entries) for shard, entries in by_shard.items()), return_exceptions=True
        )
        for result in written:
            if isinstance(result, BaseException):
                raise result
        return [record for part in written if not isinstance(part, BaseException) for record in part]

    async def _add(self, number: int, entries: dict[str, Record]) -> list[Record]:
        name = ledger_name(self._key, self._uid, number)
        for _ in range(_TRIES):
            shard = self._shards.get(number)
            missing = {key: record for key, record in entries.items() if shard is None or key not in shard.sizes}
            if not missing:
                return []
            lines = {key: ledger.entry(record) for key, record in missing.items()}
            try:
                if shard is None:
                    shard = await self._create(number, name, lines)
                else:
                    await self._patch(name, shard, lines)
            except Refused as refused:
                if refused.code == 404:
                    self._forget(number)
                elif refused.code == 409:
                    await self._read(number)
                else:
                    raise
            else:
                shard.sizes.update({key: len(line.encode()) for key, line in lines.items()})
                # As they were written, perhaps shortened: an operator that is started anew knows no more.
                written = {key: decode(line) for key, line in lines.items()}
                shard.records.update(written)
                self._index(written.values())
                return list(written.values())
        raise Refused(f"writing {name}", 409, "Conflict", f"it changed {_TRIES} times while it was written", None)

    async def _create(self, number: int, name: str, lines: Mapping[str, str]) -> _Shard:
        body = {
            "apiVersion": CONFIG_MAPS.api_version,
            "kind": CONFIG_MAPS.kind,
            "metadata": {
                "name": name,
                "labels": labels(self._key, self._uid) | {LEDGER_LABEL: str(number)},
                "ownerReferences": [owner(self._key, self._uid)],
            },
            "data": dict(lines),
        }
        made = await self._kube.create(CONFIG_MAPS.path(self._key.namespace), body, metadata_only=True)
        shard = self._shards[number] = _Shard(made["metadata"]["resourceVersion"])
        return shard

    async def _patch(self, name: str, shard: _Shard, lines: Mapping[str, str]) -> None:
        dropped = ledger.superseded(shard.sizes, {key: len(line.encode()) for key, line in lines.items()})
        data: dict[str, Any] = {**lines, **dict.fromkeys(dropped)}
        body = {"metadata": {"resourceVersion": shard.version}, "data": data}
        made = await self._kube.merge(CONFIG_MAPS.path(self._key.namespace, name), body, metadata_only=True)
        shard.version = made["metadata"]["resourceVersion"]
        for key in dropped:
            del shard.sizes[key]
            shard.records.pop(key, None)

    async def _read(self, number: int) -> None:
        name = ledger_name(self._key, self._uid, number)
        try:
            found = await self._kube.get(CONFIG_MAPS.path(self._key.namespace, name))
        except Refused as refused:
            if refused.code != 404:
                raise
            self._forget(number)
            return
        self._forget(number)
        shard = self._shards[number] = _Shard(found["metadata"]["resourceVersion"])
        for key, line in sorted((found.get("data") or {}).items()):
            shard.sizes[key] = len(line.encode())
            records, complaints = ledger.read([line])
            for complaint in complaints:
                _log.warning("%s: ledger %s, key %s: %s; it is ignored", self._key, name, key, complaint)
            shard.records.update((key, record) for record in records)
        self._index(shard.records.values())

    def _forget(self, number: int) -> None:
        self.edition += 1
        shard = self._shards.pop(number, None)
        for record in shard.records.values() if shard is not None else ():
            self._by_trial.pop(record.id, None)

    def _index(self, records: Iterable[Record]) -> None:
        self.edition += 1
        for record in records:
            of_trial = self._by_trial.setdefault(record.id, [])
            of_trial.append(record)
            of_trial.sort(key=lambda each: each.attempt)
