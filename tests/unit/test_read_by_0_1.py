"""Version 0.1 reads what this version leaves behind, so that an operator can be rolled back: nothing is run again."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.experiment.expand import expand
from trainer.experiment.judge import RankExit, Times, make_record
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import HASHES, RankReport, decode, encode, encode_report
from trainer.local.ledger import read_ledger
from unit.builders import an_experiment

OF_0_1 = Path(__file__).parents[1] / "data" / "of_0_1"
# As version 0.1 printed them of its own models.
RECORD = json.loads((OF_0_1 / "record.schema.json").read_text())
REPORT = json.loads((OF_0_1 / "report.schema.json").read_text())

hashes = st.integers(0, 2**48 - 1).map(float)
# That a trial is stopped no report says: it is decided outside, of searches whose file 0.1 refuses.
reports = st.builds(
    RankReport,
    outcome=st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.STOPPED]),
    metrics=st.fixed_dictionaries(
        {"validMse": st.floats(0, 1e9)},
        optional=dict.fromkeys(HASHES, hashes) | {"naiveValidMse": st.floats(0, 1)},
    ),
)


def taken(schema: dict[str, Any], text: str | bytes) -> None:
    """Raises where the schema, which takes no further keys, refuses a document."""
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))


@settings(max_examples=60)
@given(report=reports)
def test_version_0_1_reads_the_reports_of_this_version(report: RankReport) -> None:
    taken(REPORT, encode_report(report))


@settings(max_examples=60)
@given(report=reports)
def test_version_0_1_reads_the_records_of_this_version(report: RankReport) -> None:
    (trial, *_) = expand(an_experiment())
    record = make_record(trial, attempt=1, exits=[RankExit(0, 0, report)], metric="validMse", times=Times(1, 2, 3))
    taken(RECORD, encode(record))
    assert not HASHES.keys() & record.metrics.keys()
    for name, key in HASHES.items():
        if name in report.metrics:
            text = record.evidence[key]
            assert isinstance(text, str)
            assert (len(text), int(text, 16)) == (12, report.metrics[name])


@pytest.mark.parametrize("run", ["search-run", "windows-run"])
def test_this_version_reads_the_ledger_of_version_0_1_and_writes_it_as_it_was(run: str) -> None:
    lines = (OF_0_1 / run / "results.jsonl").read_text().splitlines()
    assert [encode(decode(line)) for line in lines] == lines
    assert len(read_ledger(OF_0_1 / run)) == len(lines)
