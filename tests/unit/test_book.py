"""The ledger on the cluster as the operator keeps it: what it knows is what it would read."""

import asyncio
from typing import Any

from trainer.experiment.record import Memory
from trialrun_operator.book import Book
from trialrun_operator.kube import Kube, Refused
from trialrun_operator.ledger import MAX_VALUE_BYTES
from unit.builders import a_record, a_trial
from unit.objects import KEY, UID


class ConfigMaps(Kube):
    """Keeps ConfigMaps by their path, with a resourceVersion that every write raises."""

    def __init__(self) -> None:
        super().__init__(lambda _verb, _code: None)
        self.kept: dict[str, dict[str, Any]] = {}

    async def get(self, path: str, **_: Any) -> dict[str, Any]:
        if path not in self.kept:
            raise Refused("GET", 404, "NotFound", "", None)
        return self.kept[path]

    async def create(self, path: str, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        return self._write(f"{path}/{body['metadata']['name']}", body["data"])

    async def merge(self, path: str, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        return self._write(path, self.kept[path]["data"] | body["data"])

    def _write(self, path: str, data: dict[str, str]) -> dict[str, Any]:
        version = int(self.kept.get(path, {}).get("metadata", {}).get("resourceVersion", "0")) + 1
        self.kept[path] = {"metadata": {"resourceVersion": str(version)}, "data": data}
        return self.kept[path]


def test_a_book_knows_of_a_record_what_is_read_after_a_restart() -> None:
    cluster = ConfigMaps()
    book, after = Book(cluster, KEY, UID), Book(cluster, KEY, UID)
    memory = tuple(Memory(peak_bytes=2**40 + rank, mean_bytes=2**40, floor_bytes=2**39) for rank in range(64))
    large = a_record(a_trial(0), workers=64, memory=memory, error="\x00" * 500)
    assert len(large.model_dump_json().encode()) > MAX_VALUE_BYTES
    written = asyncio.run(book.add([large, a_record(a_trial(1))]))
    asyncio.run(after.refresh(frozenset({0})))
    assert book.records == after.records
    assert [[record] for record in written] == list(after.records.values())
