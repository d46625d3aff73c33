"""The text at the end of a run, and the list of trials."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.experiment.baseline import figures
from trainer.experiment.expand import expand
from trainer.experiment.outcome import ADVICE, Outcome
from trainer.experiment.record import STEP, Environment, Record
from trainer.experiment.spec import Experiment
from trainer.experiment.summary import summarize
from trainer.report.results import Results
from trainer.report.text import closing, listing
from unit.builders import a_record, an_experiment


def closed(experiment: Experiment, records: Sequence[Record], baseline: Sequence[Record] = ()) -> str:
    trials = expand(experiment)
    summary = summarize(experiment, trials, records, figures(experiment, trials, baseline))
    return closing(Results(experiment, trials, records, summary), Path("runs/here"))


def test_the_end_of_a_run_names_the_best_trial_its_parameters_the_times_and_the_folder() -> None:
    experiment = an_experiment()
    records = [a_record(trial, value=0.001 * (1 + trial.index * 7 % 18)) for trial in expand(experiment)]
    assert closed(experiment, records).splitlines() == [
        "sp500-grid  18 of 18 trials succeeded",
        "",
        "  best  trial 0             validMse 0.001",
        "        train.learningRate  0.0001",
        "        model.hiddenSize    32",
        "        model.layers        1",
        "",
        "  wall time       36.0 s",
        "  mean per trial  2.00 s",
        "  most at once    1",
        "  results         runs/here",
    ]


def test_each_way_to_fail_comes_with_advice_and_its_first_errors_on_one_line_each() -> None:
    experiment = an_experiment()
    trials = expand(experiment)
    records = [a_record(trials[0])]
    records += [a_record(trials[i], outcome=Outcome.DIVERGED, error=f"nan\nin \x1b[1mepoch {i}") for i in range(1, 6)]
    records += [a_record(trials[6], outcome=Outcome.TIMED_OUT, error="ran longer than 600 s")]
    text = closed(experiment, records)
    assert text.startswith("sp500-grid  1 of 18 trials succeeded, 6 failed, 11 not run\n")
    told = text.splitlines()
    at = told.index(f"  5 Diverged: {ADVICE[Outcome.DIVERGED]}")
    assert told[at + 1 : at + 5] == [
        "    trial 1  nan in [1mepoch 1",
        "    trial 2  nan in [1mepoch 2",
        "    trial 3  nan in [1mepoch 3",
        "    and 2 more",
    ]
    assert f"  1 TimedOut: {ADVICE[Outcome.TIMED_OUT]}" in told
    assert "  The same command again runs failed and missing trials." in told
    assert "\x1b" not in text


def test_without_records_there_is_no_best_and_no_time() -> None:
    text = closed(an_experiment(), [])
    assert "no best trial: none has measured validMse" in text
    assert "wall time" not in text


def test_repeats_show_their_deviation() -> None:
    experiment = an_experiment(repeats=2)
    records = [a_record(trial, value=0.1 + 0.2 * trial.repeat) for trial in expand(experiment)]
    assert "validMse 0.2 ± 0.14142 over 2 repeats" in closed(experiment, records)


def test_a_speedup_is_told_only_of_what_is_comparable() -> None:
    experiment = an_experiment()
    ours = [a_record(trial, started_at=1_700_000_000_000) for trial in expand(experiment)]
    theirs = [a_record(trial) for trial in expand(experiment)]
    assert "speedup         18.00, efficiency 100%" in closed(experiment, ours, theirs)
    elsewhere = [record.model_copy(update={"environment": Environment(cpu="Another")}) for record in theirs]
    text = closed(experiment, ours, elsewhere)
    assert "speedup" not in text
    assert "18.00 times as long" in text
    assert "differs" in text


def test_a_scale_test_has_no_best() -> None:
    experiment = an_experiment(kind="ScaleTest", axes={"multipliers": [1, 10]})
    records = [a_record(trial) for trial in expand(experiment)]
    assert "best" not in closed(experiment, records)


def test_the_list_has_one_line_per_trial_in_columns() -> None:
    experiment = an_experiment(parameters=[{"name": "train.optimizer", "choices": ["Adam", "SGD"]}], repeats=2)
    lines = listing(experiment, expand(experiment)).splitlines()
    assert lines[0] == "sp500-grid  4 trials"
    assert lines[1] == "trial          id  optimizer  repeat  workers"
    assert [line.split()[0] for line in lines[2:]] == ["0", "1", "2", "3"]
    assert [line.split()[2:] for line in lines[2:4]] == [["Adam", "0", "1"], ["Adam", "1", "1"]]


def test_neither_text_nor_lines_import_torch_rich_or_matplotlib() -> None:
    code = (
        "import sys, trainer.report.text, trainer.report.progress, trainer.report.page\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'rich', 'matplotlib', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_what_both_sides_cost_is_told_where_there_are_prices() -> None:
    priced: dict[str, Any] = {"prices": {"cpuHour": 3600}, "pod": {"resources": {"requests": {"cpu": "2"}}}}
    experiment = an_experiment(**priced)
    records = [a_record(trial) for trial in expand(experiment)]
    lines = [line.split(maxsplit=1) for line in closed(experiment, records, records).splitlines() if line]
    assert ["cost", "72, the baseline's 72"] in lines
    assert ["cost", "72"] in [line.split(maxsplit=1) for line in closed(experiment, records).splitlines() if line]


def test_the_end_says_what_was_stopped_early_and_what_ended_the_search() -> None:
    layers = [{"name": "model.layers", "choices": [1, 2, 3, 4, 5]}]
    experiment = an_experiment(parameters=layers, budget={"target": 0.3})
    trials = expand(experiment)
    stopped = a_record(trials[1], outcome=Outcome.STOPPED, epochs=5, seconds=0.5, evidence={STEP: 5})
    text = closed(experiment, [a_record(trials[0], value=0.5), stopped, a_record(trials[2], value=0.2)])
    assert "3 of 5" not in text
    assert text.startswith("sp500-grid  2 of 5 trials succeeded, 1 stopped, 2 not run\n")
    assert "  Stopped early: 1 of 3 trials, 25 % of the steps not run (15 of 60), 1.20 s saved.\n" in text
    assert "  spec.budget.target 0.3 is reached by trial 2 with 0.2.\n" in text
    assert "  With another spec.budget the same command goes on.\n" in text
    assert ADVICE[Outcome.STOPPED] not in text
