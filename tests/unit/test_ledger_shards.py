"""How records lie in ConfigMaps: ranges, keys, and sizes that always fit."""

from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Memory, decode
from trialrun_operator import ledger
from trialrun_operator.ledger import MAX_SHARD_BYTES, MAX_VALUE_BYTES, SHARD_TRIALS
from unit.builders import a_record, a_trial


def test_a_records_entry_is_the_line_of_the_local_ledger() -> None:
    record = a_record()
    assert decode(ledger.entry(record)) == record


def test_keys_sort_as_trials_are_listed_and_name_the_attempt() -> None:
    record = a_record(a_trial(7), attempt=2)
    assert ledger.entry_key(record) == f"0007-{record.id}.2"
    assert ledger.split(ledger.entry_key(record)) == (f"0007-{record.id}", 2)


def test_the_largest_record_fits() -> None:
    record = a_record(
        outcome=Outcome.CRASHED,
        error="\x00\u2603" * 500,
        memory=(Memory(peak_bytes=2**40, mean_bytes=2**40),) * 64,
        parameters={f"data.{'x' * 90}{i}": "v" * 128 for i in range(32)},
        metrics={f"{'m' * 100}{i}": 0.1 for i in range(30)},
    )
    line = ledger.entry(record)
    assert len(line.encode()) <= MAX_VALUE_BYTES
    kept = decode(line)
    assert (kept.id, kept.index, kept.outcome, kept.attempt) == (record.id, record.index, record.outcome, 1)


def test_the_latest_attempts_of_a_full_shard_always_fit() -> None:
    key_bytes = len("0000-0123456789.99")
    assert SHARD_TRIALS * (MAX_VALUE_BYTES + key_bytes) < MAX_SHARD_BYTES


def test_only_superseded_attempts_make_room() -> None:
    full = {f"{i:04d}-abc.{attempt}": 4000 for i in range(200) for attempt in (1, 2)}
    dropped = ledger.superseded(full, {"0000-abc.3": 4000})
    assert dropped
    assert all(key.endswith(".1") or key == "0000-abc.2" for key in dropped)
    left = sum(len(key) + size for key, size in full.items() if key not in dropped)
    assert left + 4010 <= MAX_SHARD_BYTES


def test_a_line_that_holds_no_record_is_complained_about_and_passed_over() -> None:
    records, complaints = ledger.read([ledger.entry(a_record()), '{"schema": 1, "id'])
    assert (len(records), len(complaints)) == (1, 1)
