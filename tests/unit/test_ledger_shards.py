"""How records lie in ConfigMaps: ranges, keys, and sizes that always fit."""

from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Memory, decode
from trialrun_operator import ledger_format
from trialrun_operator.ledger_format import MAX_SHARD_BYTES, MAX_VALUE_BYTES, SHARD_TRIALS
from unit.builders import a_record, a_trial


def test_a_records_entry_is_the_line_of_the_local_ledger() -> None:
    record = a_record()
    assert decode(ledger_format.line_of(record)) == record


def test_keys_sort_as_trials_are_listed_and_name_the_attempt() -> None:
    record = a_record(a_trial(7), attempt=2)
    assert ledger_format.key_of(record) == f"0007-{record.id}.2"
    assert ledger_format.split(ledger_format.key_of(record)) == (f"0007-{record.id}", 2)


def test_the_largest_record_fits() -> None:
    record = a_record(
        outcome=Outcome.CRASHED,
        error="\x00\u2603" * 500,
        memory=(Memory(peak_bytes=2**40, mean_bytes=2**40),) * 64,
        parameters={f"data.{'x' * 90}{i}": "v" * 128 for i in range(32)},
        metrics={f"{'m' * 100}{i}": 0.1 for i in range(30)},
    )
    line = ledger_format.line_of(record)
    assert len(line.encode()) <= MAX_VALUE_BYTES
    kept = decode(line)
    assert (kept.id, kept.index, kept.outcome, kept.attempt) == (record.id, record.index, record.outcome, 1)


def test_many_ranks_keep_the_largest_floor_and_the_largest_peak_and_the_environment() -> None:
    memory = [Memory(peak_bytes=2**30 + rank, mean_bytes=2**30, floor_bytes=2**29 - rank) for rank in range(64)]
    memory[7] = memory[7].model_copy(update={"floor_bytes": 2**29 + 1})
    record = a_record(workers=64, memory=tuple(memory))
    kept = decode(ledger_format.line_of(record))
    assert {rank: each for rank, each in enumerate(kept.memory) if each} == {7: memory[7], 63: memory[63]}
    assert (len(kept.memory), kept.environment) == (64, record.environment)


def test_metrics_with_long_names_go_before_the_objective_does() -> None:
    metrics = {f"{'m' * 230}{i:02d}": 0.1 for i in range(16)} | {"validMse": 0.25}
    kept = decode(ledger_format.line_of(a_record(metrics=metrics)))
    assert kept.metrics["validMse"] == 0.25


def test_the_latest_attempts_of_a_full_shard_always_fit() -> None:
    key_bytes = len("0000-0123456789.99")
    assert SHARD_TRIALS * (MAX_VALUE_BYTES + key_bytes) < MAX_SHARD_BYTES


def test_only_superseded_attempts_make_room() -> None:
    full = {f"{i:04d}-abc.{attempt}": 4000 for i in range(200) for attempt in (1, 2)}
    dropped = ledger_format.superseded(full, {"0000-abc.3": 4000})
    assert dropped
    assert all(key.endswith(".1") or key == "0000-abc.2" for key in dropped)
    left = sum(len(key) + size for key, size in full.items() if key not in dropped)
    assert left + 4010 <= MAX_SHARD_BYTES


def test_a_line_that_holds_no_record_is_complained_about_and_passed_over() -> None:
    records, complaints = ledger_format.read([ledger_format.line_of(a_record()), '{"schema": 1, "id'])
    assert (len(records), len(complaints)) == (1, 1)
