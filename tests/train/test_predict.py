"""`predict` says of data what the run's own evaluation said, and more: the period that is still to come."""

import csv
import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from train.builders import a_context, a_training, dataset_of, write_npz
from trainer.__main__ import main
from trainer.data.cache import default_cache
from trainer.experiment.outcome import Outcome
from trainer.experiment.training import Training
from trainer.training.distributed import Ranks
from trainer.training.evaluate import outputs
from trainer.training.predict import load
from trainer.training.trial import CONFIG, METRICS, NORMALIZATION, WEIGHTS, run_rank

COLUMNS = ("Open", "High", "Low", "Close", "Volume")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def a_run(folder: Path, training: Training | None = None) -> Path:
    report = run_rank(training or a_training(), a_context(folder, default_cache()), started=time.time())
    assert report.outcome is Outcome.SUCCEEDED, report.error
    return folder


def rows(count: int, *, seed: int = 0) -> list[list[float]]:
    close = 100 * np.cumprod(1 + np.random.default_rng(seed).normal(0, 0.01, count))
    return [[value, value + 1, value - 1, value, 1e6 + number] for number, value in enumerate(close.tolist())]


def write_rows(path: Path, by_ticker: dict[str, list[list[float]]]) -> Path:
    """A CSV of daily rows; the column Ticker is left out where the only one is called ""."""
    named = list(by_ticker) != [""]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Date", *(["Ticker"] if named else []), *COLUMNS])
        for ticker, series in by_ticker.items():
            for day, values in enumerate(series):
                date = str(np.datetime64("2020-01-01") + day)
                writer.writerow([date, *([ticker] if named else []), *map(repr, values)])
    return path


def predict(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[list[dict[str, str]], str]:
    """The rows on stdout, and stderr."""
    capsys.readouterr()
    assert main(["predict", *map(str, arguments)]) == 0
    said = capsys.readouterr()
    return list(csv.DictReader(io.StringIO(said.out))), said.err


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main(["predict", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("trialrun: ")
    return said.err.removeprefix("trialrun: ").rstrip("\n")


def from_csv(path: Path, **fields: Any) -> Training:
    return a_training(data={"source": "csv", "path": str(path), "validFraction": 0.2, **fields})


@pytest.mark.parametrize("kind", ["MLP", "LSTM", "Transformer"])
def test_predictions_on_the_test_set_are_those_of_the_evaluation_to_the_bit(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = a_training(model={"kind": kind, "dropout": 0.1})
    found, said = predict(capsys, a_run(tmp_path / "run", training))

    run = load(tmp_path / "run")
    test = dataset_of(training, default_cache()).test
    ((out, y),) = outputs(run.model, test, Ranks(), run.like)
    assert [np.float32(row["prediction"]) for row in found] == out.numpy().tolist()
    assert [np.float32(row["target"]) for row in found] == y.numpy().tolist()
    metrics = json.loads((tmp_path / "run" / METRICS).read_text())["metrics"]
    error = np.array([float(row["prediction"]) - float(row["target"]) for row in found])
    assert np.mean(error**2) == pytest.approx(metrics["testMse"], rel=1e-6)
    tests = {name: value for name, value in metrics.items() if name.startswith("test")}
    assert said.splitlines() == [f"{name:16} {value:.6g}" for name, value in tests.items()]


def test_each_prediction_names_the_ticker_and_the_date_of_its_last_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_rows(tmp_path / "rows.csv", {"A": rows(60), "B": rows(50, seed=1)})
    found, _ = predict(capsys, a_run(tmp_path / "run", from_csv(file)))
    # A: rows 48 to 59 are the test part, so its first window of 5 ends with row 52 and its last predicts row 59.
    dates = {name: [row["date"] for row in found if row["ticker"] == name] for name in "AB"}
    assert [dates["A"][0], dates["A"][-1], len(dates["A"])] == ["2020-02-22", "2020-02-28", 7]
    assert [dates["B"][0], dates["B"][-1], len(dates["B"])] == ["2020-02-14", "2020-02-18", 5]
    assert list(found[0]) == ["ticker", "date", "prediction", "target"]


def test_json_has_the_same_rows_one_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = a_run(tmp_path / "run")
    found, _ = predict(capsys, folder)
    assert main(["predict", str(folder), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [{name: str(value) for name, value in line.items()} for line in lines] == found


def test_rows_are_predicted_as_the_test_set_they_came_from_and_one_period_further(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_rows(tmp_path / "rows.csv", {"A": rows(60), "B": rows(50, seed=1)})
    folder = a_run(tmp_path / "run", from_csv(file))
    tested, _ = predict(capsys, folder)
    found, said = predict(capsys, folder, "--rows", file)

    assert said == ""
    assert len(found) == (60 - 5 + 1) + (50 - 5 + 1)
    by_place = {(row["ticker"], row["date"]): row for row in found}
    for row in tested:
        again = by_place[row["ticker"], row["date"]]
        assert float(again["prediction"]) == pytest.approx(float(row["prediction"]), rel=1e-4, abs=1e-6)
        assert again["target"] == row["target"]
    latest = [row for row in found if row["target"] == ""]
    assert [(row["ticker"], row["date"]) for row in latest] == [("A", "2020-02-29"), ("B", "2020-02-19")]


def test_the_normalisation_is_the_stored_one_whatever_the_new_rows_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = rows(60)
    folder = a_run(tmp_path / "run", from_csv(write_rows(tmp_path / "rows.csv", {"A": old})))
    few, _ = predict(capsys, folder, "--rows", write_rows(tmp_path / "few.csv", {"A": old[:5]}))
    many, _ = predict(capsys, folder, "--rows", write_rows(tmp_path / "many.csv", {"A": old[:30] + rows(30, seed=9)}))
    assert len(few) == 1
    assert few[0]["target"] == ""
    assert few[0]["date"] == many[0]["date"] == "2020-01-05"
    assert float(few[0]["prediction"]) == pytest.approx(float(many[0]["prediction"]), rel=1e-4, abs=1e-6)


def test_a_file_without_tickers_goes_with_the_only_statistics_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_run(tmp_path / "run")
    found, _ = predict(capsys, folder, "--rows", write_rows(tmp_path / "mine.csv", {"": rows(12)}))
    assert [row["ticker"] for row in found] == ["mine"] * 8
    as_json = ["predict", str(folder), "--rows", str(tmp_path / "mine.csv"), "--json"]
    assert main(as_json) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["target"] is None


@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_comes_with_its_probability(classes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_rows(tmp_path / "rows.csv", {"A": rows(80)})
    training = a_training(
        data={"source": "csv", "path": str(file), "task": "Classification", "classes": classes},
        evaluate={"threshold": 0.4},
    )
    folder = a_run(tmp_path / "run", training)
    tested, said = predict(capsys, folder)
    assert list(tested[0]) == ["ticker", "date", "prediction", "probability", "target"]
    metrics = json.loads((folder / METRICS).read_text())
    hits = sum(row["prediction"] == row["target"] for row in tested)
    assert hits / len(tested) == metrics["metrics"]["testAccuracy"]
    confusion = np.zeros((classes, classes), int)
    for row in tested:
        confusion[int(row["target"]), int(row["prediction"])] += 1
    assert confusion.tolist() == metrics["confusion"]["test"]
    assert "testLogLoss" in said
    for row in tested:
        assert 0 < float(row["probability"]) < 1
        if classes == 2:
            assert (float(row["probability"]) >= 0.4) if row["prediction"] == "1" else float(row["probability"]) > 0.6

    again, _ = predict(capsys, folder, "--rows", file)
    targets = {row["date"]: row["target"] for row in again}
    assert all(targets[row["date"]] == row["target"] for row in tested)


def test_an_npz_has_numbered_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = a_run(tmp_path / "run", a_training(data=write_npz(tmp_path / "set.npz")))
    found, _ = predict(capsys, folder)
    assert [row["sample"] for row in found] == [str(number) for number in range(24)]
    header, lines = "Date,a,b", [f"2020-01-0{day},{day / 10},{-day / 10}" for day in range(1, 7)]
    (tmp_path / "rows.csv").write_text("\n".join([header, *lines]) + "\n")
    found, _ = predict(capsys, folder, "--rows", tmp_path / "rows.csv")
    assert [row["target"] for row in found] == ["", "", ""]


def test_a_run_in_float64_is_predicted_in_float64(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = a_run(tmp_path / "run", a_training(train={"precision": "Float64"}))
    found, _ = predict(capsys, folder)
    assert any(float(row["prediction"]) != float(np.float32(row["prediction"])) for row in found)


@pytest.mark.parametrize("missing", [CONFIG, NORMALIZATION, WEIGHTS])
def test_a_folder_without_a_run_is_refused(missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = a_run(tmp_path / "run")
    (folder / missing).unlink()
    assert refusal(capsys, folder) == (
        f"{folder}: a finished run leaves config.json, normalization.json and weights.safetensors, {missing} is "
        "missing; give a trial's folder, such as runs/NAME/trials/ID"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [(CONFIG, b"{"), (CONFIG, b'{"model": {"hiddenSize": 9}}'), (NORMALIZATION, b"[]"), (WEIGHTS, b"\x00" * 99)],
)
def test_a_damaged_run_is_refused(
    name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_run(tmp_path / "run")
    (folder / name).write_bytes(content)
    said = refusal(capsys, folder)
    assert said.startswith(f"{folder}: the run is damaged (")
    assert said.endswith("); train it again")


def test_data_that_has_changed_since_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_rows(tmp_path / "rows.csv", {"A": rows(60)})
    folder = a_run(tmp_path / "run", from_csv(file))
    write_rows(file, {"A": rows(60, seed=3)})
    assert "restore the source, or predict with --rows" in refusal(capsys, folder)
    file.unlink()
    assert "data.path: a readable file is needed" in refusal(capsys, folder)


def test_rows_that_cannot_be_used_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_rows(tmp_path / "rows.csv", {"A": rows(60), "B": rows(50, seed=1)})
    folder = a_run(tmp_path / "run", from_csv(file))

    few = write_rows(tmp_path / "few.csv", {"A": rows(4)})
    assert refusal(capsys, folder, "--rows", few) == (
        f"{few}: 5 rows of each ticker make a window, A has 4; add earlier rows"
    )
    strange = write_rows(tmp_path / "strange.csv", {"A": rows(9), "C": rows(9)})
    assert refusal(capsys, folder, "--rows", strange) == (
        f"{strange}: each ticker needs the statistics that its training rows were normalised with; the run has those "
        "of A, B, got C; name one of them in the column Ticker"
    )
    narrow = tmp_path / "narrow.csv"
    narrow.write_text("Date,Ticker,Open,High,Low,Close\n2020-01-01,A,1,1,1,1\n")
    assert "Volume missing" in refusal(capsys, folder, "--rows", narrow)
    huge = write_rows(tmp_path / "huge.csv", {"A": [[1e300, 1, 1, 1, 1]] * 6})
    assert "must fit 32-bit numbers" in refusal(capsys, folder, "--rows", huge)
    assert "cannot be read" in refusal(capsys, folder, "--rows", tmp_path / "nowhere.csv")


def test_another_ticker_is_refused_even_where_the_run_knows_but_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_run(tmp_path / "run", from_csv(write_rows(tmp_path / "rows.csv", {"A": rows(60)})))
    other = write_rows(tmp_path / "other.csv", {"B": rows(9)})
    assert "the run has those of A, got B" in refusal(capsys, folder, "--rows", other)


def test_a_run_without_normalisation_takes_any_ticker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_rows(tmp_path / "rows.csv", {"A": rows(60)})
    folder = a_run(tmp_path / "run", from_csv(file, normalize="None"))
    found, _ = predict(capsys, folder, "--rows", write_rows(tmp_path / "other.csv", {"B": rows(9)}))
    assert len(found) == 5


def test_a_run_can_be_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, _ = predict(capsys, a_run(tmp_path / "run"))
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    after, _ = predict(capsys, tmp_path / "elsewhere")
    assert before == after
    assert torch.get_num_threads() == 1
