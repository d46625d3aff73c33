"""Learning curves from histories of any state, and how those are read."""

import json
import math
from pathlib import Path

import pytest

from trainer.experiment.expand import expand
from trainer.experiment.progress import HISTORY, REPORTS, Step, read_steps
from trainer.experiment.summary import summarize
from trainer.report.charts import learning_curves
from trainer.report.results import Results
from unit.builders import a_record, an_experiment


def test_a_history_is_read_though_its_last_line_is_torn_and_a_loss_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / HISTORY
    path.write_text(
        '{"epoch": 1, "trainLoss": 0.5, "validLoss": NaN, "seconds": 2}\n[]\n'
        '{"epoch": 2, "trainLoss": 0.4, "odd": true, "word": "x"}\n{"trainLoss": 1}\n{"epoch": 3, "tr'
    )
    first, second = read_steps(path)
    assert (first.step, first.metrics["trainLoss"], first.seconds, first.clock) == (1, 0.5, 2.0, None)
    assert math.isnan(first.metrics["validLoss"])
    assert second == Step(2, {"trainLoss": 0.4})
    assert read_steps(tmp_path / "missing") == []
    path.write_text("")
    assert read_steps(path) == []


def test_reports_are_read_whatever_else_their_file_holds(tmp_path: Path) -> None:
    path = tmp_path / REPORTS
    path.write_text(
        '{"step": 4, "metrics": {"loss": 1}, "clock": 7}\n{"metrics": 3}\n{"step": 5}\nnull\n'
        f'{{"metrics": {{"loss": 1{"0" * 400}}}}}\n{{"metrics": {{"loss": Infinity}}, "clock": -1}}\n'
    )
    assert read_steps(path) == [Step(4, {"loss": 1.0}, clock=7), Step(1, {"loss": math.inf})]


@pytest.mark.parametrize(
    ("losses", "logarithmic"),
    [([0.9, 0.1, 0.01], True), ([0.11, 0.1, 0.09], False), ([0.5, 0.1, -0.2], False), ([0.0, 0.0], False)],
)
def test_only_positive_losses_that_span_much_get_a_log_axis(
    tmp_path: Path, losses: list[float], logarithmic: bool
) -> None:
    charts = learning_curves(searched(), history(tmp_path, {"trainLoss": losses, "validLoss": losses}))
    for chart in charts:
        assert chart.figure is not None
        assert ("logarithmic" in chart.text) is logarithmic
        assert (chart.figure["layout"]["yaxis"].get("type") == "log") is logarithmic
        (line,) = chart.figure["data"]
        assert (line["x"], line["y"]) == (tuple(range(1, len(losses) + 1)), losses)
        assert (line["name"], line["text"]) == ("best", {"column": "label", "row": 0})


def test_a_history_without_training_loss_says_so_in_place_of_the_chart(tmp_path: Path) -> None:
    valid, train = learning_curves(searched(), history(tmp_path, {"validLoss": [0.3, 0.2]}))
    assert valid.figure is not None
    assert (train.figure, train.text) == (None, "The histories hold no finite figure of it.")


def test_a_long_history_is_thinned_but_keeps_its_last_epoch(tmp_path: Path) -> None:
    losses = [1 / (1 + epoch) for epoch in range(10_000)]
    folder = history(tmp_path, {"trainLoss": losses, "validLoss": losses})
    path = next(folder.glob(f"trials/*/{HISTORY}"))
    steps = read_steps(path, 120)
    assert len(steps) <= 121
    assert (steps[0].step, steps[-1].step) == (1, 10_000)
    assert len(read_steps(path)) == 10_000


def searched() -> Results:
    experiment = an_experiment()
    trials = expand(experiment)
    records = [a_record(trials[0])]
    return Results(experiment, trials, records, summarize(experiment, trials, records))


def history(folder: Path, columns: dict[str, list[float]]) -> Path:
    trial = folder / "trials" / searched().trials[0].id
    trial.mkdir(parents=True)
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    lines = (json.dumps({"epoch": epoch, **row}) + "\n" for epoch, row in enumerate(rows, 1))
    (trial / HISTORY).write_text("".join(lines))
    return folder
