"""An experiment's ledger on the cluster: reads its ConfigMaps, adds entries to them, and loses none.

Each write adds keys under the condition that the ConfigMap is as it was read. On a conflict it is read again and what
is there by now is left as it is, so that of two operators' records of one attempt the first stays.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from trainer.experiment.record import Record, RunFigures
from trainer.experiment.suggestion import Suggestion
from trainer.scheduling.decide import Start
from trainer.scheduling.lessons import Lesson
from trialrun_operator import ledger_format
from trialrun_operator.kube import Kube, Refused, all_of
from trialrun_operator.ledger_format import BASELINE, WARM_START, BaselineEntry, Ended, Entry, Shard, WarmStart
from trialrun_operator.names import (
    CONFIG_MAPS,
    LEDGER_LABEL,
    SUGGESTIONS_LABEL,
    UID_LABEL,
    Key,
    baseline_name,
    imported_name,
    labels,
    ledger_name,
    owner,
    suggestions_name,
    warm_start_name,
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
    unreadable: list[str] = field(default_factory=list)


class LedgerStore:
    """The ledger of one experiment, by its UID; a namesake's is another's."""

    def __init__(self, kube: Kube, key: Key, uid: str) -> None:
        self._kube = kube
        self._key = key
        self._uid = uid
        self._shards: dict[Shard, _Known] = {}
        self._by_run: dict[str, list[Record]] = {}
        self._suggestions: tuple[Suggestion, ...] | None = ()

    @property
    def records(self) -> Mapping[str, Sequence[Record]]:
        """The records of each run by its id, in the order of their attempts."""
        return self._by_run

    @property
    def figures(self) -> RunFigures | None:
        """Those of the baseline's run, if its latest attempt has come to any."""
        known = self._shards.get(BASELINE)
        entries = [each for each in known.entries.values() if isinstance(each, BaselineEntry)] if known else []
        return max(entries, key=lambda each: each.record.attempt).figures if entries else None

    @property
    def warm_start(self) -> Sequence[Lesson] | None:
        """The lessons that the search began with; None where none were written."""
        known = self._shards.get(WARM_START)
        entries = [each for each in known.entries.values() if isinstance(each, WarmStart)] if known else []
        return entries[0].lessons if entries else None

    @property
    def unreadable(self) -> Sequence[str]:
        """Where something stands that a search learns from and that can't be read, and why not."""
        learnt = (
            known for shard, known in sorted(self._shards.items()) if shard.kind in ("suggestions", "warmstart")
        )
        return [complaint for known in learnt for complaint in known.unreadable]

    @property
    def suggestions(self) -> Sequence[Suggestion]:
        """All suggestions; the same object as long as there are no others."""
        if self._suggestions is None:
            shards = [known for shard, known in sorted(self._shards.items()) if shard.kind == "suggestions"]
            entries = [each for known in shards for each in known.entries.values()]
            self._suggestions = tuple(each for each in entries if isinstance(each, Suggestion))
        return self._suggestions

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
            _log.warning("%s: its ledger's %s was deleted", self._key, shard)
            await self._restore(shard)
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

    async def _restore(self, shard: Shard) -> None:
        """Forgets what was deleted, but writes suggestions again: nothing else tells what a search has tried."""
        lines = {key: ledger_format.line_of(entry) for key, entry in self._shards[shard].entries.items()}
        self._forget(shard)
        if shard.kind not in ("suggestions", "warmstart") or not lines:
            return
        try:
            self._take_in(shard, await self._create(shard, lines), lines)
        except Refused as refused:
            if refused.code != 409:
                raise
            await self._read(shard)

    async def _listed(self) -> dict[Shard, str]:
        """The resourceVersions of all shards."""
        versions: dict[Shard, str] = {}
        async for page, _ in self._kube.pages(
            CONFIG_MAPS, self._key.namespace, f"{UID_LABEL}={self._uid}", metadata_only=True
        ):
            for item in page:
                metadata = item["metadata"]
                for shard in _may_be(metadata["labels"]):
                    if metadata["name"] == self._name(shard):
                        versions[shard] = metadata["resourceVersion"]
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

    async def add(self, entries: Iterable[Ended]) -> list[Record]:
        """Writes the entries that are not there; gives the records of those that it wrote, as they were written."""
        by_shard: dict[Shard, dict[str, Entry]] = {}
        for entry in entries:
            by_shard.setdefault(ledger_format.shard_of(entry), {})[ledger_format.key_of(entry)] = entry
        written = await all_of(*(self._add(shard, entries) for shard, entries in by_shard.items()))
        return [ledger_format.record_of(each) for part in written for each in part]

    async def begin_with(self, lessons: Iterable[Lesson]) -> None:
        """Writes what the search begins with, unless that stands there already."""
        entry = WarmStart(tuple(lessons))
        await self._add(WARM_START, {ledger_format.key_of(entry): entry})

    async def suggest(self, suggestions: Iterable[Suggestion]) -> int:
        """Writes suggestions, of numbers that follow on what is there; gives how many it wrote.

        Each was made knowing those before it. So where another operator was first with one, none that follow is
        written.
        """
        count = 0
        for shard, group in groupby(suggestions, ledger_format.shard_of):
            lines = {ledger_format.key_of(each): ledger_format.line_of(each) for each in group}
            known = self._shards.get(shard)
            if known is not None and lines.keys() & known.sizes.keys():
                break
            try:
                known = await self._written(shard, known, lines)
            except Refused as refused:
                if not await self._differs(shard, refused):
                    raise
                break
            self._take_in(shard, known, lines)
            count += len(lines)
        return count

    async def _add(self, shard: Shard, entries: Mapping[str, Entry]) -> list[Entry]:
        for _ in range(_TRIES):
            known = self._shards.get(shard)
            missing = {key: entry for key, entry in entries.items() if known is None or key not in known.sizes}
            if not missing:
                return []
            lines = {key: ledger_format.line_of(entry) for key, entry in missing.items()}
            try:
                known = await self._written(shard, known, lines)
            except Refused as refused:
                if not await self._differs(shard, refused):
                    raise
            else:
                return self._take_in(shard, known, lines)
        name = self._name(shard)
        raise Refused(f"writing {name}", 409, "Conflict", f"it changed {_TRIES} times while it was written", None)

    async def _written(self, shard: Shard, known: _Known | None, lines: Mapping[str, str]) -> _Known:
        """The ConfigMap with these lines in it as well, if it is as it was known."""
        if known is None:
            return await self._create(shard, lines)
        await self._patch(shard, known, lines)
        return known

    async def _differs(self, shard: Shard, refused: Refused) -> bool:
        """Whether a write was refused because the ConfigMap is not as it was known, which it is then."""
        if refused.code == 404 and shard in self._shards:
            await self._restore(shard)
        elif refused.code == 409:
            await self._read(shard)
        return refused.code in (404, 409)

    def _take_in(self, shard: Shard, known: _Known, lines: Mapping[str, str]) -> list[Entry]:
        """Lines that were written: entries perhaps shortened, as an operator that is started anew knows them."""
        written = {key: ledger_format.entry_of(shard, line) for key, line in lines.items()}
        known.sizes.update({key: len(line.encode()) for key, line in lines.items()})
        known.entries.update(written)
        self._index(written.values())
        return list(written.values())

    async def _create(self, shard: Shard, lines: Mapping[str, str]) -> _Known:
        label = {_LABELS[shard.kind]: str(shard.number)} if shard.kind in _LABELS else {}
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
        dropped: list[str] = []
        if shard.kind != "suggestions":
            sizes = {key: len(line.encode()) for key, line in lines.items()}
            dropped = ledger_format.superseded(known.sizes, sizes)
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
                known.unreadable.append(f"ConfigMap {name}, key {key}: {error}")
                _log.warning("%s: ConfigMap %s, key %s: %s; it is ignored", self._key, name, key, error)
        self._index(known.entries.values())

    def _forget(self, shard: Shard) -> None:
        known = self._shards.pop(shard, None)
        for entry in known.entries.values() if known is not None else ():
            if isinstance(entry, Ended):
                self._by_run.pop(ledger_format.record_of(entry).id, None)
        if shard.kind == "suggestions":
            self._suggestions = None

    def _index(self, entries: Iterable[Entry]) -> None:
        """Puts records in with the others of their runs."""
        for entry in entries:
            if isinstance(entry, Suggestion):
                self._suggestions = None
            elif isinstance(entry, Ended):
                record = ledger_format.record_of(entry)
                of_run = self._by_run.setdefault(record.id, [])
                of_run.append(record)
                of_run.sort(key=lambda each: each.attempt)

    def _name(self, shard: Shard) -> str:
        if shard.kind == "ledger":
            return ledger_name(self._key, self._uid, shard.number)
        if shard.kind == "suggestions":
            return suggestions_name(self._key, self._uid, shard.number)
        return (baseline_name if shard == BASELINE else warm_start_name)(self._key, self._uid)


_LABELS = {"ledger": LEDGER_LABEL, "suggestions": SUGGESTIONS_LABEL}


def _may_be(labels: Mapping[str, str]) -> list[Shard]:
    """What a ConfigMap with these labels may hold; its name tells which."""
    numbered = [
        Shard(kind, int(labels[label]))  # type: ignore[arg-type]
        for kind, label in _LABELS.items()
        if labels.get(label, "").isdigit()
    ]
    return [*numbered, BASELINE, WARM_START]


async def imported_data(kube: Kube, key: Key) -> Mapping[str, Any] | None:
    """What the ConfigMap holds that a user has made of a ledger, to be the baseline; None where there is none."""
    try:
        found = await kube.get(CONFIG_MAPS.path(key.namespace, imported_name(key.name)))
    except Refused as refused:
        if refused.code != 404:
            raise
        return None
    return found.get("data") or {}
