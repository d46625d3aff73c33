"""The ledger on the cluster as the operator keeps it: what it knows is what it would read."""

import asyncio

from trainer.experiment.record import Memory
from trialrun_operator.book import Book
from trialrun_operator.ledger import MAX_VALUE_BYTES
from unit.apiserver import ApiServer
from unit.builders import a_record, a_trial
from unit.objects import KEY, UID


def test_a_book_knows_of_a_record_what_is_read_after_a_restart() -> None:
    cluster = ApiServer()
    book, after = Book(cluster, KEY, UID), Book(cluster, KEY, UID)
    memory = tuple(Memory(peak_bytes=2**40 + rank, mean_bytes=2**40, floor_bytes=2**39) for rank in range(64))
    large = a_record(a_trial(0), workers=64, memory=memory, error="\x00" * 500)
    assert len(large.model_dump_json().encode()) > MAX_VALUE_BYTES
    written = asyncio.run(book.add([large, a_record(a_trial(1))]))
    asyncio.run(after.refresh(frozenset({0})))
    assert book.records == after.records
    assert [[record] for record in written] == list(after.records.values())
