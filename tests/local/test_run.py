"""A search on this machine, from its file to its report."""

import json
from pathlib import Path

import pytest

from local.cli import measured, trainer, write_search
from trainer.benchmark.suite import Suite
from trainer.cgroup import cores
from trainer.experiment.outcome import Outcome
from trainer.local.ledger import read_ledger


@pytest.mark.slow
def test_the_example_search_succeeds_eighteen_times_and_its_best_is_the_smallest_validation_mse(
    tmp_path: Path,
) -> None:
    done = trainer("run", "examples/search.yaml", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    records = read_ledger(tmp_path / "out")
    assert [record.outcome for record in records] == [Outcome.SUCCEEDED] * 18
    smallest = min(records, key=lambda record: record.metrics["validMse"])
    best = json.loads(done.stdout)["best"]
    assert (best["id"], best["value"]) == (smallest.id, smallest.metrics["validMse"])
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["best"] == best
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    assert len(list((tmp_path / "out" / "trials").glob("*/weights.safetensors"))) == 18


@pytest.mark.slow
def test_two_fresh_folders_and_two_jobs_give_the_same_metrics_to_the_bit(tmp_path: Path) -> None:
    search = write_search(tmp_path, rates=[0.1, 0.03, 0.01, 0.003])
    for name, jobs in (("one", "1"), ("again", "1"), ("two", "2")):
        assert trainer("run", search, "--out", tmp_path / name, "--jobs", jobs).returncode == 0
    first = sorted(measured(tmp_path / "one"), key=lambda record: record["index"])
    assert first == sorted(measured(tmp_path / "again"), key=lambda record: record["index"])
    assert first == sorted(measured(tmp_path / "two"), key=lambda record: record["index"])
    weights = [sorted((tmp_path / name / "trials").glob("*/weights.safetensors")) for name in ("one", "two")]
    assert [path.read_bytes() for path in weights[0]] == [path.read_bytes() for path in weights[1]]


@pytest.mark.slow
def test_a_finished_search_run_again_runs_nothing(tmp_path: Path) -> None:
    search = write_search(tmp_path)
    assert trainer("run", search, "--out", tmp_path / "out").returncode == 0
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    assert trainer("run", search, "--out", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before


@pytest.mark.slow
def test_added_choices_run_as_new_trials_and_nothing_else_does(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert trainer("run", write_search(tmp_path, rates=[0.1, 0.001]), "--out", out).returncode == 0
    before = read_ledger(out)
    assert trainer("run", write_search(tmp_path, rates=[0.1, 0.01, 0.001]), "--out", out).returncode == 0
    after = read_ledger(out)
    assert after[:2] == before
    assert [record.parameters for record in after[2:]] == [{"train.learningRate": 0.01}]
    assert json.loads((out / "summary.json").read_text())["counts"]["succeeded"] == 3


@pytest.mark.slow
def test_a_changed_training_is_refused_with_the_fields_that_differ(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert trainer("run", write_search(tmp_path, epochs=2), "--out", out).returncode == 0
    before = (out / "results.jsonl").read_bytes()
    refused = trainer("run", write_search(tmp_path, epochs=3), "--out", out)
    assert refused.returncode == 2
    assert "spec.training.train.epochs: was 2, is 3" in refused.stderr
    assert "--fresh" in refused.stderr
    assert (out / "results.jsonl").read_bytes() == before
    assert trainer("run", write_search(tmp_path, epochs=3), "--out", out, "--fresh").returncode == 0
    assert {record.epochs for record in read_ledger(out)} == {3}


@pytest.mark.slow
def test_the_report_can_be_made_again_from_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert trainer("run", write_search(tmp_path), "--out", out).returncode == 0
    page = (out / "report.html").read_text()
    (out / "report.html").unlink()
    (out / "summary.json").unlink()
    again = trainer("report", out, "--json")
    assert again.returncode == 0
    assert (out / "report.html").read_text() == page
    assert json.loads(again.stdout) == json.loads((out / "summary.json").read_text())


@pytest.mark.slow
def test_without_a_terminal_there_is_a_line_for_each_trial_and_no_control_character(tmp_path: Path) -> None:
    done = trainer("run", write_search(tmp_path), "--out", tmp_path / "out")
    assert "\x1b" not in done.stderr + done.stdout
    assert done.stdout == ""
    assert sum("Succeeded" in line for line in done.stderr.splitlines()) == 3


@pytest.mark.slow
def test_a_search_of_two_ranks_trains_with_ddp_and_agrees_with_one_rank(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    search = write_search(tmp_path, rates=[0.001])
    assert trainer("run", search, "--out", one).returncode == 0
    search.write_text(search.read_text() + "  workers: 2\n")
    done = trainer("run", search, "--out", two)
    assert done.returncode == 0, done.stderr
    (alone,), (shared,) = read_ledger(one), read_ledger(two)
    assert len(shared.memory) == 2
    assert None not in shared.memory
    assert shared.id != alone.id
    assert abs(shared.metrics["validMse"] / alone.metrics["validMse"] - 1) < 1e-4


@pytest.mark.slow
def test_what_several_ranks_need_beyond_torch_is_imported_once_and_not_by_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    search, out = write_search(tmp_path, rates=[0.001], more="  workers: 2\n"), tmp_path / "out"
    assert trainer("run", search, "--out", out).returncode == 0
    logs = list(out.glob("trials/*/log-?.txt"))
    assert len(logs) == 2
    assert "torch._dynamo" in (out / "fork-server.log").read_text()
    assert not any("torch._dynamo" in log.read_text() for log in logs)


def test_list_names_the_trials_that_run_records(tmp_path: Path) -> None:
    search = write_search(tmp_path)
    listed = [json.loads(line) for line in trainer("list", search, "--json").stdout.splitlines()]
    assert trainer("run", search, "--out", tmp_path / "out").returncode == 0
    assert [row["id"] for row in listed] == [record.id for record in read_ledger(tmp_path / "out")]


def test_without_a_command_it_says_what_to_do_next() -> None:
    said = trainer()
    assert said.returncode == 0
    assert "python -m trainer run search.yaml" in said.stdout


def test_the_file_that_init_prints_is_an_experiment_that_lists(tmp_path: Path) -> None:
    template = trainer("init").stdout
    (tmp_path / "new.yaml").write_text(template)
    listed = trainer("list", tmp_path / "new.yaml")
    assert listed.returncode == 0
    assert "6 trials" in listed.stdout


@pytest.mark.slow
def test_a_scale_test_runs_its_cells(tmp_path: Path) -> None:
    file = tmp_path / "scale.yaml"
    file.write_text(
        """
apiVersion: trialrun.dev/v1alpha1
kind: ScaleTest
metadata: {name: scale}
spec:
  axes: {multipliers: [1, 3]}
  training:
    data: {source: synthetic, rows: 200, window: 5}
    train: {epochs: 1}
"""
    )
    done = trainer("run", file, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    small, large = read_ledger(tmp_path / "out")
    assert large.samples == 3 * small.samples


@pytest.mark.slow
def test_repeats_are_compared_and_the_comparison_can_be_made_again_to_the_bit(tmp_path: Path) -> None:
    out = tmp_path / "out"
    search = write_search(tmp_path, rates=[0.1, 0.001], more="  repeats: 3\n  workers: 2\n  order: Shuffled\n")
    done = trainer("run", search, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "has the least mean of validMse" in done.stderr
    found = Suite.imported(out / "statistics.json")
    values = {record.metrics["validMse"] for record in read_ledger(out)}
    assert {value for sample in found.samples.values() for value in sample.values} == values
    assert len(values) == 6  # a figure per run, not per rank
    kept = {path: path.read_bytes() for path in [out / "report.html", out / "statistics.json", *out.glob("*/*.png")]}
    assert len(kept) == 4
    assert trainer("report", out).returncode == 0
    assert {path: path.read_bytes() for path in kept} == kept
    assert trainer("run", write_search(tmp_path), "--out", out, "--fresh").returncode == 0
    assert not (out / "statistics.json").exists()
    assert not (out / "statistics").exists()


@pytest.mark.parametrize("threads", [2, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 100))])
def test_as_many_trials_run_at_once_as_there_are_cores_for(threads: int, tmp_path: Path) -> None:
    search = write_search(tmp_path, epochs=1)
    search.write_text(search.read_text().replace("epochs: 1,", f"epochs: 1, device: CPU, threads: {threads},"))
    done = trainer("run", search, "--jobs", "auto", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    slots = max(1, cores() // threads)
    assert f"3 trials, {'one at a time' if slots == 1 else f'{slots} at once'}, {threads} thread" in done.stderr


@pytest.mark.slow
def test_cells_of_a_scale_test_are_measured_one_by_one_whatever_there_are_cores_for(tmp_path: Path) -> None:
    file = tmp_path / "scale.yaml"
    file.write_text(
        "{apiVersion: trialrun.dev/v1alpha1, kind: ScaleTest, metadata: {name: cells}, spec: "
        "{axes: {multipliers: [1, 2]}, training: {data: {source: synthetic, window: 5}, train: {epochs: 1}}}}"
    )
    done = trainer("run", file, "--jobs", "auto", "--out", tmp_path / "out")
    assert "2 trials, one at a time" in done.stderr
