"""Searches with repeats: what the report says of their treatments, in text, page, JSON and pictures."""

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from trainer.benchmark.suite import Suite
from trainer.commands.report import leave_report
from trainer.experiment.entries import Entries
from trainer.experiment.expand import Trial, expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record, encode
from trainer.experiment.spec import Experiment
from trainer.experiment.summary import summarize
from trainer.report.results import Results
from trainer.report.treatments import Statistics, compared, statistics
from unit.builders import a_record, a_trial, an_experiment
from unit.test_report_page import HOSTILE, Page

# What stands in for the formats and compressions of a loading benchmark.
FORMATS = {"Adam": ("avro", 3136.0), "SGD": ("json", 7840.0)}
CODECS = {1: 1.003, 2: 0.55}
MESSAGES = 60_000


# Each bootstraps and draws; the words, the box plots and the tests behind them have quick ones of their own.
pytestmark = pytest.mark.slow


def loading(repeats: int = 30, **spec: Any) -> Experiment:
    """A benchmark of four treatments."""
    parameters = [
        {"name": "train.optimizer", "choices": list(FORMATS)},
        {"name": "model.layers", "choices": list(CODECS)},
    ]
    return an_experiment(
        **{
            "name": "loading",
            "objective": {"metric": "trainSeconds"},
            "parameters": parameters,
            "repeats": repeats,
            "order": "Shuffled",
            "workers": 3,
            **spec,
        }
    )


def loaded(trial: Trial, rng: random.Random, **fields: Any) -> Record:
    """What loading leaves: json takes twice as long as avro."""
    optimizer, codec = trial.parameters["train.optimizer"], trial.parameters["model.layers"]
    size = MESSAGES * FORMATS[str(optimizer)][1]
    seconds = (1 if optimizer == "Adam" else 2) * (1 if codec == 1 else 1.2) * rng.lognormvariate(0, 0.03)
    record = a_record(trial, **{"seconds": 1.0, **fields})
    metrics = {
        "messages": MESSAGES,
        "messagesPerSecond": MESSAGES / seconds,
        "megabytesPerSecond": size / seconds / 1e6,
        "setupSeconds": 0.2,
        "fetchSeconds": 0.6 * seconds,
        "decodeSeconds": 0.4 * seconds,
        "payloadBytes": size,
        "wireBytes": size * CODECS[int(codec)],
        "checksum": 123456789.0,
    }
    times = record.seconds.model_copy(update={"train": seconds})
    return record.model_copy(update={"metrics": metrics, "seconds": times}) if record.metrics else record


def ledger(experiment: Experiment, seed: int = 0) -> list[Record]:
    rng = random.Random(seed)
    return [loaded(trial, rng) for trial in expand(experiment)]


def results(experiment: Experiment, records: Sequence[Record]) -> Results:
    trials = expand(experiment)
    return Results(experiment, trials, records, summarize(experiment, trials, records))


def found(experiment: Experiment, records: Sequence[Record]) -> Statistics:
    return statistics(results(experiment, records))


def by_value(experiment: Experiment, value: Callable[[Trial], float]) -> list[Record]:
    return [a_record(trial, value=value(trial)) for trial in expand(experiment)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a benchmark of 120 runs one of which failed, with its report; drawn once."""
    folder = tmp_path_factory.mktemp("loading")
    experiment = loading()
    records = ledger(experiment)
    records[70] = a_record(
        expand(experiment)[70],
        outcome=Outcome.DATA_UNAVAILABLE,
        error="partition 2, offset 19,999: the broker went away",
    )
    leave_report(folder, experiment, Entries(records))
    return folder


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page((report / "report.html").read_text(encoding="utf-8"))


def test_the_page_ranks_the_treatments_and_tells_them_apart(page: Page) -> None:
    assert (
        "Adam · 1 has the least mean of trainSeconds and was told apart from Adam · 2, SGD · 2 and SGD · 1."
        in page.words
    )
    assert "rank optimizer · layers runs mean 95 % interval times the best 95 % interval told apart" in page.words
    assert re.search(
        r"1 Adam · 1 30 (1\.0|0\.9)\d+ \S+ to \S+ – – – 2 Adam · 2 30 1\.\d+ .* 3 SGD · 1 29 of 30|"
        r"– SGD · 1 29 of 30 \S+ \S+ to \S+ (1\.9|2\.0)\d+",
        page.words,
    )


def test_a_failed_run_is_counted_and_named_and_its_treatment_has_no_rank(page: Page) -> None:
    assert "1 run left no figure: trial 70 of SGD · 1 (DataUnavailable)." in page.words
    assert "– SGD · 1 29 of 30" in page.words


def test_the_page_has_box_plots_bars_with_error_bars_and_says_what_they_are(page: Page) -> None:
    for title in ("trainSeconds by treatment", "trainSeconds, mean", "messagesPerSecond, mean", "wireBytes, mean"):
        assert title in page.words
    assert "the line at its end is the mean's 95 % confidence interval" in page.words
    assert "Whiskers reach to the last value within 1.5 interquartile ranges" in page.words
    box = page.charts["treatment-boxes"]["data"][0]
    assert (box["type"], box["y"]) == ("box", ["Adam · 1"])
    assert box["lowerfence"][0] < box["q1"][0] < box["median"][0] < box["q3"][0] < box["upperfence"][0]


def test_the_page_tells_every_pair_with_its_ratio_correction_and_effect(page: Page) -> None:
    assert "A B A / B 95 % interval p corrected Cliff's delta Hedges' g told apart" in page.words
    assert re.search(r"SGD · 2 Adam · 1 2\.4\d+ 2\.\d+ to 2\.\d+ < 0\.0001 1\.00 \(large\) \d+\.\d+ yes", page.words)
    for word in ("Welch's", "percentile bootstrap", "Holm's method", "never counted apart"):
        assert word in page.words


def test_the_page_tells_throughput_bytes_on_the_wire_and_compression(page: Page) -> None:
    assert "messages messages/s MB/s set-up s fetch s decode s encoded on the wire compression" in page.words
    assert re.search(r"SGD · 2 60,000 \S+ \S+ 0\.2000 \S+ \S+ 449 MiB 247 MiB 1\.818", page.words)
    assert "All 119 runs read the same: their checksums are equal." in page.words


def test_the_folder_holds_the_statistics_as_json_and_as_pictures(report: Path) -> None:
    said = json.loads((report / "statistics.json").read_text())
    assert (said["experiment"], said["namedBy"]) == ("loading", "optimizer · layers")
    assert said["findings"]["quantity"] == {"name": "trainSeconds", "unit": "s", "better": "Minimize"}
    assert [each["rank"] for each in said["findings"]["treatments"]] == [1, 2, 3, None]
    assert said["findings"]["treatments"][0]["sample"]["parameters"] == {"train.optimizer": "Adam", "model.layers": 1}
    assert len(said["findings"]["comparison"]["pairs"]) == 6
    assert [round(each["ratio"], 3) for each in said["compression"]] == [0.997, 1.818, 1.818, 0.997]
    pictures = sorted(path.name for path in (report / "statistics").iterdir())
    assert pictures == [
        "box-plots.png",
        "means.png",
        "megabytesPerSecond.png",
        "messagesPerSecond.png",
        "wireBytes.png",
    ]


def test_the_statistics_can_be_imported_as_a_suite(report: Path) -> None:
    suite = Suite.imported(report / "statistics.json")
    assert (suite.name, len(suite.samples["Adam · 1"].values)) == ("trainSeconds", 30)
    said = Statistics.model_validate_json((report / "statistics.json").read_bytes())
    assert suite.findings() == said.findings


def test_the_same_ledger_gives_the_same_bytes_in_whatever_order_its_records_are() -> None:
    experiment = loading(6)
    records = ledger(experiment)
    there, back = found(experiment, records), found(experiment, records[::-1])
    assert there.model_dump_json() == back.model_dump_json()


def test_the_text_has_the_ranking_the_pairs_and_what_loading_took() -> None:
    text = compared(found(loading(6), ledger(loading(6))))
    lines = [line.split() for line in text.splitlines()]
    assert lines[0][:6] == ["Adam", "·", "1", "has", "the", "least"]
    assert ["1", "Adam", "·", "1", "6"] in [line[:5] for line in lines]
    assert any(line[:6] == ["SGD", "·", "2", "Adam", "·", "1"] and line[-1] == "yes" for line in lines)
    assert "compression" in text
    assert "The runs were shuffled by seed 0; results.jsonl has them as they ran." in text
    assert max(map(len, text.splitlines()[:20])) <= 130


def test_the_ranks_of_a_run_are_one_run() -> None:
    many, one = loading(5), loading(5, workers=1)
    there, here = found(many, ledger(many)), found(one, ledger(one))
    assert there.findings == here.findings


def test_the_first_treatment_is_the_point_that_the_summary_calls_best() -> None:
    rng = random.Random(5)
    experiment = an_experiment(repeats=3)
    records = by_value(experiment, lambda _: rng.random())
    records[0] = a_record(expand(experiment)[0], outcome=Outcome.CRASHED)
    shown = results(experiment, records)
    best = shown.summary.best
    assert best is not None
    first = statistics(shown).findings.treatments[0]
    assert first.sample.parameters == best.parameters
    assert first.box is not None
    assert first.box.mean == pytest.approx(best.value, rel=1e-15)


@pytest.mark.parametrize("repeats", [2, 3, 4])
def test_with_few_repeats_it_says_that_intervals_are_wide_and_what_telling_apart_assumes(repeats: int) -> None:
    said = " ".join(found(loading(repeats), ledger(loading(repeats))).remarks)
    assert f"With {repeats} runs of a treatment little is known of its spread, so that intervals are wide" in said
    assert f"With {repeats} runs of each, treatments are told apart only on the assumption" in said
    assert "Ranks, which assume nothing, need 5 runs of each to tell any of 6 pairs apart" in said


def test_five_repeats_are_enough_for_four_treatments_that_do_not_overlap() -> None:
    said = found(loading(5), ledger(loading(5)))
    assert {pair.ranks.differs for pair in said.findings.comparison.pairs} == {True}
    assert "wide" not in " ".join(said.remarks)


def test_treatments_that_are_equal_are_not_told_apart() -> None:
    rng = random.Random(7)
    experiment = an_experiment(repeats=12, parameters=[{"name": "model.layers", "choices": [1, 2, 3]}])
    said = found(experiment, by_value(experiment, lambda _: rng.gauss(1, 0.1)))
    assert {pair.differs for pair in said.findings.comparison.pairs} == {False}
    assert re.search("but could not be told apart from [123] and [123]", compared(said))


def test_where_every_run_measured_the_same_there_is_a_comparison_without_intervals(tmp_path: Path) -> None:
    experiment = an_experiment(repeats=3, parameters=[{"name": "model.layers", "choices": [1, 2]}])
    records = by_value(experiment, lambda trial: 0.5 + trial.point)
    leave_report(tmp_path, experiment, Entries(records))
    (pair,) = found(experiment, records).findings.comparison.pairs
    assert (pair.difference.value, pair.difference.interval, pair.hedges_g) == (1, None, None)


def test_figures_below_zero_are_compared_by_their_differences(tmp_path: Path) -> None:
    experiment = an_experiment(
        repeats=3, objective={"metric": "validR2"}, parameters=[{"name": "model.layers", "choices": [1, 2]}]
    )
    rng = random.Random(1)
    records = [
        a_record(trial).model_copy(update={"metrics": {"validR2": rng.gauss(-0.5 * trial.point, 0.1)}})
        for trial in expand(experiment)
    ]
    leave_report(tmp_path, experiment, Entries(records))
    words = Page((tmp_path / "report.html").read_text()).words
    assert "has the greatest mean of validR2" in words
    assert "A B A − B 95 % interval p corrected" in words


def test_a_mean_that_a_few_runs_decide_is_pointed_out() -> None:
    experiment = an_experiment(repeats=20, parameters=[{"name": "model.layers", "choices": [1, 2]}])
    rng = random.Random(2)

    def value(trial: Trial) -> float:
        stalled = trial.point == 0 and trial.repeat < 3
        return (factor if stalled else 1 if trial.point == 0 else 1.2) * rng.uniform(0.99, 1.01)

    factor = 10
    said = " ".join(found(experiment, by_value(experiment, value)).remarks)
    assert "1 has less than 2 by ranks, that is in most runs, but the means say the opposite" in said
    factor = 2
    said = " ".join(found(experiment, by_value(experiment, value)).remarks)
    assert "2 has more than 1 by ranks, that is in most runs, but the means can't tell them apart" in said


def test_runs_that_read_different_things_are_pointed_out() -> None:
    experiment = loading(2)
    records = ledger(experiment)
    changed = records[0].metrics | {"checksum": 5.0}
    records[0] = records[0].model_copy(update={"metrics": changed})
    said = " ".join(found(experiment, records).remarks)
    assert "did not all read the same: their checksums differ (Adam · 1 5 and 123456789; Adam · 2 123456789" in said


def test_a_listed_order_and_runs_side_by_side_are_pointed_out_where_time_is_measured() -> None:
    experiment = loading(2, order="Listed")
    rng = random.Random(0)
    records = [loaded(trial, rng, started_at=1_700_000_000_000) for trial in expand(experiment)]
    said = " ".join(found(experiment, records).remarks)
    assert "The treatments ran one after another, as they are listed" in said
    assert "Up to 8 runs went on at the same time" in said
    other = an_experiment(repeats=2)
    assert "one after another" not in " ".join(found(other, by_value(other, lambda trial: 1 + trial.index)).remarks)


@pytest.mark.parametrize("ended", [0, 1])
def test_a_search_that_has_hardly_begun_has_a_report(tmp_path: Path, ended: int) -> None:
    experiment = loading(3)
    leave_report(tmp_path, experiment, Entries(ledger(experiment)[:ended]))
    words = Page((tmp_path / "report.html").read_text()).words
    assert ("No run measured trainSeconds." in words) == (ended == 0)
    assert ("With one run there is nothing to compare Adam · 1 by." in words) == (ended == 1)
    assert f"Yet to run: {12 - ended} of 12 runs." in words


def test_one_treatment_is_shown_and_compared_with_nothing(tmp_path: Path) -> None:
    experiment = an_experiment(repeats=5, parameters=[{"name": "train.learningRate", "choices": [0.001]}])
    records = by_value(experiment, lambda trial: 1 + trial.repeat)
    leave_report(tmp_path, experiment, Entries(records))
    words = Page((tmp_path / "report.html").read_text()).words
    assert "0.001 has the least mean of validMse; there is no other to compare it with." in words


def test_hostile_values_stay_text(tmp_path: Path) -> None:
    experiment = an_experiment(repeats=2, parameters=[{"name": "data.target", "choices": [HOSTILE, "Close"]}])
    leave_report(tmp_path, experiment, Entries(by_value(experiment, lambda trial: 1 + trial.index)))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.scripts) == 3
    assert "<img" not in text.replace(page.scripts[1], "")


def test_five_thousand_treatments_stay_a_page_that_opens(tmp_path: Path) -> None:
    rng, first = random.Random(0), a_trial()
    drawn = {"name": "train.learningRate", "range": {"min": 1e-5, "max": 0.1}}
    experiment = an_experiment(algorithm="Random", trials=5000, repeats=2, parameters=[drawn])
    records = []
    for trial in expand(experiment):
        told = {"index": trial.index, "id": trial.id, "repeat": trial.repeat, "parameters": trial.parameters}
        records.append(a_record(first).model_copy(update=told | {"metrics": {"validMse": rng.random()}}))
    began = time.process_time()
    leave_report(tmp_path, experiment, Entries(records))
    assert time.process_time() - began < 30
    assert (tmp_path / "report.html").stat().st_size < 10_000_000
    words = Page((tmp_path / "report.html").read_text()).words
    assert "Of 5,000 treatments the 24 best are drawn and compared; statistics.json has them all." in words
    assert "Of 276 pairs, for all of which p is corrected, those with the best treatment are listed." in words


def stored(folder: Path, experiment: Experiment, records: Sequence[Record]) -> Path:
    """What `run` leaves of an experiment."""
    (folder / "experiment.json").write_text(json.dumps(experiment.document(sparse=True)))
    (folder / "results.jsonl").write_text("".join(encode(record) + "\n" for record in records))
    return folder


def test_without_repeats_there_are_no_statistics_and_nothing_is_imported_for_them(tmp_path: Path) -> None:
    experiment = loading(1)
    stored(tmp_path, experiment, ledger(experiment))
    code = (
        "import sys; from trainer.__main__ import main\n"
        f"assert main(['report', {str(tmp_path)!r}]) == 0\n"
        "print(sorted(n for n in sys.modules if n.startswith(('scipy', 'statsmodels', 'trainer.benchmark'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not (tmp_path / "statistics.json").exists()
    assert "Treatments compared" not in (tmp_path / "report.html").read_text()


def test_without_the_libraries_there_is_a_report_and_a_sentence_on_how_to_install_them(tmp_path: Path) -> None:
    experiment = loading(2)
    stored(tmp_path, experiment, ledger(experiment))
    code = (
        "import sys; from trainer.__main__ import main\n"
        "sys.modules['scipy'] = None\n"
        f"sys.exit(main(['report', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert (
        "the package scipy is required, found none; install it with `pip install 'trialrun[statistics]'`"
        in done.stderr
    )
    assert (tmp_path / "report.html").exists()
    assert not (tmp_path / "statistics.json").exists()
