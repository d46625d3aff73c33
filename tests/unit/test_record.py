"""The record and the report: encoded, decoded, in one line, of bounded size."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.experiment.outcome import Outcome
from trainer.experiment.record import (
    MAX_REPORT_BYTES,
    Charged,
    Environment,
    Memory,
    MemoryLimit,
    RankReport,
    Record,
    Reported,
    Seconds,
    cut_error,
    decode,
    decode_report,
    encode,
    encode_report,
    latest,
)
from unit.builders import a_record

LINE = (
    '{"schema":1,"id":"395686d317","index":0,"parameters":{"train.learningRate":0.0001,"model.hiddenSize":32,'
    '"model.layers":1},"repeat":0,"workers":1,"seed":0,"attempt":1,"final":true,"outcome":"Succeeded","exitCode":0,'
    '"error":"","failedRank":null,"evidence":{},"metrics":{"validMse":0.0002,"validMae":0.008},'
    '"seconds":{"queued":0.0,"start":0.1,"data":0.2,"train":1.6,"total":2.0},'
    '"memory":[{"peakBytes":432013312,"meanBytes":419430400,"floorBytes":null,"cgroup":null,"limit":null,'
    '"devicePeakBytes":null}],"samples":860,"datasetBytes":0,"epochs":20,"resumedFrom":0,'
    '"oversubscribed":false,"environment":{"image":null,"packages":{"python":"3.12.3","torch":"2.10.0"},'
    '"cpu":"A CPU","device":"cpu",'
    '"threads":1,"cpus":null,"memoryLimitBytes":null},"acceptedAt":1700000000000,"startedAt":1700000000000,'
    '"finishedAt":1700000002000}'
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**62)


def made(kind: type[Reported], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of a model by its own names; st.builds would take its aliases for further arguments."""
    return st.fixed_dictionaries(fields).map(lambda values: kind(**values))


memories = made(
    Memory,
    peak_bytes=counts,
    mean_bytes=counts,
    floor_bytes=st.none() | counts,
    cgroup=st.none() | made(Charged, floor_bytes=counts, peak_bytes=counts, mean_bytes=counts),
    limit=st.none() | made(MemoryLimit, bytes=counts, kept_by=st.sampled_from(["Cgroup", "Watchdog"])),
)
environments = made(
    Environment,
    image=st.none() | texts,
    packages=st.dictionaries(texts, texts, max_size=3),
    cpu=texts,
    cpus=st.none() | finite,
    memory_limit_bytes=st.none() | counts,
)
seconds = made(Seconds, queued=finite, start=finite, data=finite, train=finite, total=finite)
records = made(
    Record,
    id=texts,
    index=counts,
    parameters=st.dictionaries(texts, st.booleans() | st.integers(-(2**53), 2**53) | finite | texts, max_size=4),
    repeat=counts,
    attempt=st.integers(1, 1000),
    final=st.booleans(),
    outcome=st.sampled_from(Outcome),
    exit_code=st.none() | st.integers(-64, 255),
    error=st.text().map(cut_error),
    failed_rank=st.none() | counts,
    evidence=st.dictionaries(texts, st.integers(-(2**53), 2**53) | texts, max_size=3),
    oversubscribed=st.booleans(),
    metrics=st.dictionaries(texts, finite, max_size=4),
    seconds=seconds,
    memory=st.lists(st.none() | memories, max_size=3).map(tuple),
    environment=environments,
    finished_at=counts,
)


def test_the_line_of_a_record_never_changes() -> None:
    assert encode(a_record(evidence={})) == LINE
    assert decode(LINE) == a_record(evidence={})


LATER = ('"resumedFrom":0,', '"evidence":{},', '"oversubscribed":false,', ',"floorBytes":null', ',"cgroup":null',
         ',"limit":null', ',"devicePeakBytes":null')  # fmt: skip


@pytest.mark.parametrize("later", LATER)
def test_a_record_from_before_a_field_is_read_as_one_with_its_default(later: str) -> None:
    assert later in LINE
    assert decode(LINE.replace(later, "")) == a_record(evidence={})


@given(records)
@settings(max_examples=60)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    line = encode(record)
    again = decode(line.encode())
    assert again == record
    assert encode(again) == line
    assert {name: type(value) for name, value in again.parameters.items()} == {
        name: type(value) for name, value in record.parameters.items()
    }


@given(st.text())
@settings(max_examples=60)
def test_any_error_text_is_one_line(text: str) -> None:
    line = encode(a_record(outcome=Outcome.CRASHED, error=cut_error(text))).encode()
    assert len(line.splitlines()) == 1
    assert decode(line).error == cut_error(text)


def test_a_name_that_is_not_utf8_is_written_as_escapes() -> None:
    assert cut_error("cannot open b\udc80.csv") == r"cannot open b\udc80.csv"


@given(st.text(max_size=60), st.integers(0, 50))
@settings(max_examples=60)
def test_an_error_is_cut_to_its_limit(text: str, limit: int) -> None:
    assert len(cut_error(text, limit)) <= limit


def test_an_error_that_is_too_long_keeps_both_ends() -> None:
    assert cut_error("what " + "x" * 100 + " why", 25) == "what xxxxx ... xxxxxx why"
    assert cut_error("short") == "short"


def changed(**fields: Any) -> str:
    document = json.loads(LINE)
    return json.dumps({**document, **fields})


NO_RECORDS: dict[str, tuple[str | bytes, str]] = {
    "an empty line": ("", "not a record"),
    "a torn line": (LINE[:200], "not a record"),
    "two lines run together": (LINE + LINE, "not a record"),
    "no JSON": ("Traceback (most recent call last):", "not a record"),
    "a list": ("[1]", "not a record"),
    "bytes that are no text": (b'{"id":"\xff"}', "not a record"),
    "a later schema": (changed(schema=2), "not a record: schema"),
    "an unknown field": (changed(colour="red"), "not a record: colour"),
    "an unknown outcome": (changed(outcome="Fine"), "not a record: outcome"),
    "an attempt zero": (changed(attempt=0), "not a record: attempt"),
    "NaN": (changed(metrics={"validMse": math.nan}), "not a record: metrics.validMse"),
    "infinity": (changed(metrics={"validMse": -math.inf}), "not a record: metrics.validMse"),
    "a number too large for a float": (LINE.replace("0.0002", "1e999"), "not a record: metrics.validMse"),
}


@pytest.mark.parametrize(("line", "sentence"), NO_RECORDS.values(), ids=NO_RECORDS)
def test_what_is_no_record_is_refused(line: str | bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}") as refusal:
        decode(line)
    assert "\n" not in str(refusal.value)


reports = made(
    RankReport,
    rank=st.integers(0, 63),
    outcome=st.sampled_from(Outcome),
    error=st.text(max_size=50).map(cut_error),
    lost_peer=st.booleans(),
    clock=counts,
    metrics=st.dictionaries(texts, finite, max_size=4),
    seconds=seconds,
    memory=st.none() | memories,
    samples=counts,
    dataset_bytes=counts,
    epochs=counts,
    resumed_from=counts,
    environment=st.none() | environments,
)


@given(reports)
@settings(max_examples=60)
def test_a_report_that_fits_comes_back_as_it_was(report: RankReport) -> None:
    assert decode_report(encode_report(report)) == report


ONE_OF_EACH_WIDTH = ["a", '"', "\0", "\u2028", "ß", "😀"]  # 1, 2, 6, 3, 2 and 4 bytes in JSON


@given(
    reports,
    st.sampled_from(ONE_OF_EACH_WIDTH),
    st.integers(0, 3000),
    st.integers(0, 300),
    st.integers(0, 300),
    st.sampled_from([0, 5000]),
)
@settings(max_examples=60)
def test_a_report_of_any_size_fits_into_a_termination_message(
    report: RankReport, character: str, error: int, metrics: int, packages: int, cpu: int
) -> None:
    large = report.model_copy(
        update={
            "error": character * error,
            "metrics": {f"{character}{n}": n / 7 for n in range(metrics)},
            "environment": Environment(
                packages={f"{character}{n}": "1" for n in range(packages)}, cpu=character * cpu
            ),
        }
    )
    message = encode_report(large)
    assert len(message) <= MAX_REPORT_BYTES
    assert b"\n" not in message
    again = decode_report(message)
    kept = ("rank", "outcome", "lost_peer", "clock", "seconds", "memory", "samples", "dataset_bytes", "epochs")
    assert [getattr(again, name) for name in kept] == [getattr(large, name) for name in kept]
    assert again.metrics.items() <= large.metrics.items()


def large_report(*, error: int, metrics: int, packages: int) -> RankReport:
    return decode_report(
        encode_report(
            RankReport(
                error="e" * error,
                metrics={f"metric{n}": 0.5 for n in range(metrics)},
                environment=Environment(cpu="A CPU", packages={f"package{n}": "1.2.3" for n in range(packages)}),
            )
        )
    )


def test_the_error_is_cut_before_the_packages_are_dropped() -> None:
    report = large_report(error=3000, metrics=4, packages=100)
    assert len(report.error) == 399
    assert report.environment is not None
    assert len(report.environment.packages) == 100


def test_the_packages_are_dropped_before_the_rest_of_the_environment() -> None:
    report = large_report(error=100, metrics=4, packages=300)
    assert report.environment == Environment(cpu="A CPU")
    assert len(report.error) == 100


def test_the_first_metrics_are_kept_longest() -> None:
    report = large_report(error=100, metrics=1000, packages=300)
    assert list(report.metrics) == [f"metric{n}" for n in range(250)]
    assert report.environment is None


@pytest.mark.parametrize("message", ["", "Traceback", '{"rank":0,"out', '{"rank":0,"colour":1}', b"\xff"])
def test_what_is_no_report_is_refused(message: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"^not a report: "):
        decode_report(message)


def test_the_latest_attempt_counts_whatever_the_order() -> None:
    first, second, other = a_record(attempt=1), a_record(attempt=2, value=0.1), a_record(id="other")
    for order in ([first, second, other], [other, second, first], [second, other, first]):
        assert latest(order) == {first.id: second, "other": other}


def test_of_one_attempt_told_twice_the_later_end_counts() -> None:
    early, late = a_record(finished_at=5), a_record(finished_at=6)
    assert latest([late, early]) == latest([early, late]) == {late.id: late}
