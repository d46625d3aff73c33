"""The table of a run: every cell is the ledger's, in CSV and in Parquet, and other people's files stay."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet

from trainer.__main__ import main
from trainer.experiment.entries import Entries
from trainer.experiment.expand import expand
from trainer.experiment.record import Memory, Record, encode
from trainer.export.run import Kind, as_kind, kind_of
from trainer.export.table import columns, write_csv, write_parquet
from unit.builders import START, a_document, a_record, an_experiment
from unit.exported import CASES, HOSTILE, Case, failing, hostile, many, the_default_search


def exported(case: Case, folder: Path) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """The rows of both files."""
    table = columns(case.run())
    write_csv(folder / "t.csv", table)
    write_parquet(folder / "t.parquet", table)
    with (folder / "t.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True)), parquet.read_table(folder / "t.parquet").to_pylist()


def figures(record: Record) -> dict[str, Any]:
    """What a record has, by the names of the table."""
    found: dict[str, Any] = {f"metrics.{name}": value for name, value in record.metrics.items()}
    found |= {
        f"seconds.{name}": getattr(record.seconds, name) for name in ("queued", "start", "data", "train", "total")
    }
    found["peakMemoryBytes"] = max(memory.counted_peak for memory in record.memory if memory is not None)
    return found | {"attempt": record.attempt, "samples": record.samples, "exitCode": record.exit_code}


@pytest.mark.parametrize("name", CASES)
def test_every_cell_is_the_ledger_s_to_the_bit_in_both_files(name: str, tmp_path: Path) -> None:
    case = CASES[name]()
    rows, typed = exported(case, tmp_path)
    records = case.run().records
    assert [row["id"] for row in rows] == [row["id"] for row in typed] == [trial.id for trial in case.trials]
    for row, same, trial in zip(rows, typed, case.trials, strict=True):
        assert (same["index"], same["repeat"], same["workers"]) == (trial.index, trial.repeat, trial.workers)
        for column in row:
            if column.startswith("parameters."):
                value = trial.parameters.get(column.removeprefix("parameters."))
                assert same[column] == value
                assert type(same[column]) is type(value)
        record = records.get(trial.id)
        if record is None:
            assert (row["outcome"], same["outcome"], same["startedAt"]) == ("", None, None)
            continue
        assert row["outcome"] == same["outcome"] == str(record.outcome)
        assert same["startedAt"] == datetime.fromtimestamp(record.started_at / 1000, UTC)
        assert datetime.fromisoformat(row["finishedAt"]) == same["finishedAt"]
        told = figures(record)
        assert {column for column in row if column.startswith("metrics.") and row[column]} == {
            column for column in told if column.startswith("metrics.")
        }
        for column, value in told.items():
            assert same[column] == value, column
            assert float(row[column]) == value, column


def test_pandas_reads_the_same_from_both(tmp_path: Path) -> None:
    exported(the_default_search(), tmp_path)
    text = pd.read_csv(tmp_path / "t.csv", dtype={"id": str})
    typed = pd.read_parquet(tmp_path / "t.parquet")
    assert list(text.columns) == list(typed.columns)
    for column in ("index", "id", "parameters.train.learningRate", "metrics.validMse", "seconds.total", "outcome"):
        assert list(text[column]) == list(typed[column])
    assert list(pd.to_datetime(text["startedAt"])) == list(typed["startedAt"])


def test_the_latest_attempt_counts_and_peaks_are_the_most_of_any_rank(tmp_path: Path) -> None:
    experiment = an_experiment(workers=2)
    trial = expand(experiment)[0]
    memory = (Memory(peak_bytes=5, mean_bytes=1, device_peak_bytes=70), None)
    records = [a_record(trial, value=2.0), a_record(trial, value=0.1, attempt=2, memory=memory)]
    rows, typed = exported(Case(experiment, Entries(records), {}), tmp_path)
    assert (rows[0]["attempt"], rows[0]["metrics.validMse"]) == ("2", "0.1")
    assert (typed[0]["peakMemoryBytes"], typed[0]["peakDeviceMemoryBytes"]) == (5, 70)
    assert typed[0]["acceptedAt"] == datetime.fromtimestamp(START / 1000, UTC)


def test_cells_of_a_scale_test_tell_their_multiplier(tmp_path: Path) -> None:
    experiment = an_experiment(kind="ScaleTest", name="sizes", axes={"multipliers": [1, 10], "workers": [1, 2]})
    rows, typed = exported(Case(experiment, Entries([a_record(t) for t in expand(experiment)]), {}), tmp_path)
    assert [(row["workers"], row["multiplier"]) for row in rows] == [("1", "1"), ("1", "10"), ("2", "1"), ("2", "10")]
    assert [row["multiplier"] for row in typed] == [1, 10, 1, 10]


def test_text_comes_through_and_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    rows, typed = exported(hostile(), tmp_path)
    assert {row["parameters.text"] for row in typed} == set(HOSTILE)
    assert {row["parameters.text"] for row in rows} == {"'=1+1" if each == "=1+1" else each for each in HOSTILE}
    assert {row["parameters.mixed"] for row in rows} == {"1", "true", "0.5"}
    assert {row["parameters.lr"] for row in typed} == {1.0, 0.5}


def test_errors_come_without_secrets(tmp_path: Path) -> None:
    rows, typed = exported(failing(), tmp_path)
    assert "hunter2secret" not in (tmp_path / "t.csv").read_text()
    assert b"hunter2secret" not in (tmp_path / "t.parquet").read_bytes()
    error = next(row["error"] for row in rows if row["outcome"] == "Crashed")
    assert error.startswith("'=cmd token=")
    assert error.endswith("<script>alert(1)</script>")
    assert next(row["error"] for row in typed if row["outcome"] == "Crashed") == error[1:]


def test_csv_is_as_the_standard_has_it(tmp_path: Path) -> None:
    exported(hostile(), tmp_path)
    content = (tmp_path / "t.csv").read_bytes()
    assert not content.startswith(b"\xef\xbb\xbf")
    assert content.endswith(b"\r\n")
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize("count", [0, 1])
def test_with_no_record_or_one_the_table_still_has_all_trials(count: int, tmp_path: Path) -> None:
    experiment = an_experiment()
    rows, typed = exported(Case(experiment, Entries([a_record(t) for t in expand(experiment)[:count]]), {}), tmp_path)
    assert len(rows) == len(typed) == 18
    assert sum(row["outcome"] is not None for row in typed) == count


KINDS = [
    ([True, False], Kind.TRUTH),
    ([1, 2**40], Kind.WHOLE),
    ([1, 2**63], Kind.TEXT),
    ([1, 0.5], Kind.NUMBER),
    ([2**53 + 1, 0.5], Kind.TEXT),
    ([1, True], Kind.TEXT),
    (["a", "b"], Kind.TEXT),
    ([], Kind.TEXT),
]


@pytest.mark.parametrize(("values", "kind"), KINDS)
def test_a_column_s_kind_holds_each_value_as_it_is(values: list[Any], kind: Kind) -> None:
    assert kind_of(values) is kind
    assert kind is Kind.TEXT or [as_kind(value, kind) for value in values] == values


def test_what_the_command_did_not_make_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = the_default_search().leave(tmp_path / "run")
    for flag, name in (("--csv", "a.csv"), ("--parquet", "a.parquet"), ("--optuna", "a.db")):
        target = tmp_path / name
        assert main(["export", str(run), flag, str(target)]) == 0
        first = target.read_bytes()
        assert main(["export", str(run), flag, str(target)]) == 0
        assert flag == "--optuna" or target.read_bytes() == first
        target.write_text("mine\n")
        capsys.readouterr()
        assert main(["export", str(run), flag, str(target)]) == 2
        assert target.read_text() == "mine\n"
        assert capsys.readouterr().err == (
            f"trialrun: {target}: exists, was not made by this command, and stays; name another file, or delete it\n"
        )


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


def test_bad_input_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = the_default_search().leave(tmp_path / "run")
    out = tmp_path / "t.csv"
    assert "must be told what to write" in refused(capsys, "export", run)
    assert "a place of its own" in refused(capsys, "export", run, "--csv", out, "--parquet", out)
    (tmp_path / "empty").mkdir()
    assert "holds no run" in refused(capsys, "export", tmp_path / "empty", "--csv", out)
    assert "must be a run's folder" in refused(capsys, "export", tmp_path / "nothing.yaml", "--csv", out)
    assert "must be a file or new, and is a folder" in refused(capsys, "export", run, "--csv", tmp_path)
    refused(capsys, "export", run, "--csv", out, "--optuna", tmp_path)
    assert not out.exists(), "of two that are asked for none is written where one can't be"
    blocked = refused(capsys, "export", run, "--csv", run / "experiment.json" / "t.csv")
    assert "cannot be" in blocked
    for flag, package, extra in (
        ("--parquet", "pyarrow", "data"),
        ("--optuna", "optuna", "search"),
        ("--tensorboard", "tensorboard", "tensorboard"),
    ):
        monkeypatch.setattr("trainer.packages.have", lambda wanted, lacking=package: wanted != lacking)
        said = refused(capsys, "export", run, "--csv", out, flag, tmp_path / "x")
        assert f"needs the package {package}, found none; install it with `pip install 'trialrun[{extra}]'`" in said
    assert not out.exists()


KUBECTL = """#!{python}
import sys
print(open("{folder}/" + ("maps.json" if "configmaps" in sys.argv else "experiment.json")).read())
"""


def test_of_a_cluster_the_ledger_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = the_default_search()
    there = a_document() | {"metadata": {"name": "sp500-grid", "namespace": "team", "uid": "0000-1111"}}
    lines = {f"{record.index:04d}-{record.id}": encode(record) for record in case.entries.records}
    labels = {"trialrun.dev/ledger": "0"}
    (tmp_path / "experiment.json").write_text(json.dumps(there))
    (tmp_path / "maps.json").write_text(
        json.dumps({"items": [{"metadata": {"name": "a", "labels": labels}, "data": lines}]})
    )
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL.format(python=sys.executable, folder=tmp_path))
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    words = ["--csv", "t.csv", "--optuna", "t.db", "--tensorboard", "events"]
    assert main(["export", "hps/sp500-grid", "-n", "team", *words]) == 0
    write_csv(tmp_path / "ours.csv", columns(case.run()))
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "ours.csv").read_bytes()
    assert len(list((tmp_path / "events").iterdir())) == 19


def test_a_table_is_written_without_what_is_slow_to_import(tmp_path: Path) -> None:
    words = ["export", str(the_default_search().leave(tmp_path / "run")), "--csv", str(tmp_path / "t.csv")]
    slow = {"torch", "numpy", "pyarrow", "optuna", "rich"}
    code = (
        f"import sys\nfrom trainer.__main__ import main\nmain({words!r})\n"
        f"print(*sorted({{name.partition('.')[0] for name in sys.modules}} & {slow!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "most"),
    [("--csv", 2000), ("--parquet", 2000), ("--optuna", 120_000), ("--optuna", 90_000), ("--tensorboard", 500)],
)
def test_on_a_full_disk_what_was_there_stays_and_a_sentence_says_why(flag: str, most: int, tmp_path: Path) -> None:
    words = [str(the_default_search().leave(tmp_path / "run")), flag, str(tmp_path / "out")]
    assert main(["export", *words]) == 0

    def content() -> dict[str, bytes]:
        return {str(each): each.read_bytes() for each in sorted(tmp_path.rglob("*")) if each.is_file()}

    before = content()
    code = (
        "import resource, sys\nfrom trainer.__main__ import main\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
        f"sys.exit(main(['export', *{words!r}]))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert re.match(rf"trialrun: {tmp_path / 'out'}: cannot be (used|written)", done.stderr), done.stderr
    assert content() == before


@pytest.mark.slow
def test_five_thousand_trials_take_seconds(tmp_path: Path) -> None:
    run = many().run()
    begun = time.monotonic()
    table = columns(run)
    write_csv(tmp_path / "t.csv", table)
    between = time.monotonic()
    write_parquet(tmp_path / "t.parquet", table)
    print(f"CSV {between - begun:.2f} s, Parquet {time.monotonic() - between:.2f} s")
    assert time.monotonic() - begun < 30
