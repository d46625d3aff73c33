"""What a run does when its data changes, and what it says of results that can't be ranked together."""

import json
from pathlib import Path

import pytest

from local.cli import trainer
from trainer.local.ledger import read_ledger

pytestmark = pytest.mark.slow

SEARCH = """
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {{name: rests}}
spec:
  objective: {{metric: validMse}}
  parameters:
    - {{name: {field}, choices: {choices}}}
  training:
    data: {data}
    model: {{hiddenSize: 4, layers: 1}}
    train: {{epochs: 1}}
"""
ROWS = [f"20{20 + n // 336}-{n // 28 % 12 + 1:02}-{n % 28 + 1:02},{100 + n % 7 + n % 5}" for n in range(300)]


def write_rows(path: Path, rows: list[str] = ROWS) -> Path:
    path.write_text("\n".join(["Date,Close", *rows]) + "\n")
    return path


def write_search(folder: Path, field: str, choices: list[object], **data: object) -> Path:
    path = folder / "search.yaml"
    path.write_text(SEARCH.format(field=field, choices=json.dumps(choices), data=json.dumps(data)))
    return path


def test_a_folder_whose_data_changed_is_not_gone_on_with_until_it_is_run_afresh(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.csv")
    csv = {"source": "csv", "path": str(rows), "columns": ["Close"], "window": 5}
    out = tmp_path / "out"
    assert trainer("run", write_search(tmp_path, "train.learningRate", [0.1], **csv), "--out", out).returncode == 0
    ledger = (out / "results.jsonl").read_bytes()
    (first,) = read_ledger(out)

    write_rows(rows, [*ROWS[:-1], "2020-12-28,250"])
    more = write_search(tmp_path, "train.learningRate", [0.1, 0.01], **csv)
    for _ in range(2):
        refused = trainer("run", more, "--out", out)
        assert refused.returncode == 2
        assert f"{rows}: the data has changed" in refused.stderr
        assert str(first.evidence["data"]) in refused.stderr
        assert "--fresh" in refused.stderr
        assert (out / "results.jsonl").read_bytes() == ledger

    write_rows(rows)  # the old data put back: it goes on
    assert trainer("run", more, "--out", out).returncode == 0
    assert len({record.evidence["data"] for record in read_ledger(out)}) == 1

    write_rows(rows, [*ROWS[:-1], "2020-12-28,250"])
    assert trainer("run", more, "--out", out, "--fresh").returncode == 0
    afresh = read_ledger(out)
    assert len(afresh) == 2
    assert {record.evidence["data"] for record in afresh}.isdisjoint({first.evidence["data"]})


def test_a_search_over_the_window_has_a_best_of_each_and_none_of_all(tmp_path: Path) -> None:
    search = write_search(tmp_path, "data.window", [5, 10], source="synthetic", rows=200)
    done = trainer("run", search, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["best"] is None
    assert [group["fields"] for group in summary["groups"]] == [{"data.window": 5}, {"data.window": 10}]
    for place in (done.stderr, (tmp_path / "out" / "report.html").read_text().replace("\n", " ")):
        assert "validated on 2 different sets" in " ".join(place.split())


def test_a_naive_prediction_is_set_beside_the_best_wherever_it_is_shown(tmp_path: Path) -> None:
    search = write_search(tmp_path, "train.learningRate", [0.1, 0.01], source="synthetic", rows=200, window=5)
    done = trainer("run", search, "--out", tmp_path / "out", "--json")
    summary = json.loads(done.stdout)
    (sentence,) = summary["caveats"]
    assert summary["naive"]["trials"] == 2
    assert summary["naive"]["value"] == read_ledger(tmp_path / "out")[0].metrics["naiveValidMse"]
    assert sentence in " ".join(done.stderr.split())
    assert sentence in (tmp_path / "out" / "report.html").read_text()
    compared = trainer("compare", tmp_path / "out", tmp_path / "out")
    assert f"A: {sentence}" in " ".join(compared.stdout.split())
