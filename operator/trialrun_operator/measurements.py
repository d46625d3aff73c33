"""What is kept of a search's baseline: a ConfigMap with a line for each attempt at measuring it, or a user's own.

Like a ledger's, each write is made under the condition that the ConfigMap is as it was read, and changes no line.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from trialrun_operator.baseline import Measured, decode, encode
from trialrun_operator.kube import Kube, Refused
from trialrun_operator.names import CONFIG_MAPS, Key, baseline_name, imported_name, labels, owner

_log = logging.getLogger(__name__)
_TRIES = 8


class Measurements:
    """The attempts at measuring the baseline of one search, by its UID."""

    def __init__(self, kube: Kube, key: Key, uid: str) -> None:
        self._kube = kube
        self._key = key
        self._uid = uid
        self._name = baseline_name(key, uid)
        self._version: str | None = None
        self._lines: dict[str, str] = {}
        self.known: tuple[Measured, ...] = ()

    async def refresh(self) -> bool:
        """Reads the ConfigMap; says whether it is another than it was."""
        before = self._version
        try:
            found = await self._kube.get(CONFIG_MAPS.path(self._key.namespace, self._name))
        except Refused as refused:
            if refused.code != 404:
                raise
            self._take(None, {})
        else:
            self._take(found["metadata"]["resourceVersion"], found.get("data") or {})
        return self._version != before

    async def add(self, measured: Iterable[Measured]) -> list[Measured]:
        """Writes the attempts that are not there; gives those that it wrote."""
        lines = {str(each.record.attempt): each for each in measured}
        for _ in range(_TRIES):
            missing = {key: encode(each) for key, each in lines.items() if key not in self._lines}
            if not missing:
                return []
            try:
                version = await self._write(missing)
            except Refused as refused:
                if refused.code not in (404, 409):
                    raise
                await self.refresh()
            else:
                self._take(version, {**self._lines, **missing})
                return [lines[key] for key in missing]
        raise Refused(f"writing {self._name}", 409, "Conflict", f"it changed {_TRIES} times meanwhile", None)

    async def _write(self, lines: Mapping[str, str]) -> str:
        metadata: dict[str, Any] = {"resourceVersion": self._version}
        if self._version is None:
            metadata = {
                "name": self._name,
                "labels": labels(self._key, self._uid),
                "ownerReferences": [owner(self._key, self._uid)],
            }
            kind = {"apiVersion": CONFIG_MAPS.api_version, "kind": CONFIG_MAPS.kind}
            body = {**kind, "metadata": metadata, "data": dict(lines)}
            made = await self._kube.create(CONFIG_MAPS.path(self._key.namespace), body, metadata_only=True)
        else:
            path = CONFIG_MAPS.path(self._key.namespace, self._name)
            made = await self._kube.merge(path, {"metadata": metadata, "data": dict(lines)}, metadata_only=True)
        version: str = made["metadata"]["resourceVersion"]
        return version

    def _take(self, version: str | None, lines: Mapping[str, str]) -> None:
        known = []
        for key, line in lines.items():
            try:
                known.append(decode(line))
            except ValueError as error:
                _log.warning("%s: ConfigMap %s, key %s: %s; it is ignored", self._key, self._name, key, error)
        self._version, self._lines = version, dict(lines)
        self.known = tuple(sorted(known, key=lambda each: each.record.attempt))


async def imported(kube: Kube, key: Key) -> Mapping[str, Any] | None:
    """What the ConfigMap holds that a user has made for this search; None where there is none."""
    try:
        found = await kube.get(CONFIG_MAPS.path(key.namespace, imported_name(key.name)))
    except Refused as refused:
        if refused.code != 404:
            raise
        return None
    return found.get("data") or {}
