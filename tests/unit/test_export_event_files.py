"""Event files of a run: TensorBoard's own package reads from them what the ledger and the curves hold."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from trainer.__main__ import main
from trainer.experiment.entries import Entries
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record
from trainer.export.event_files import write_event_files
from unit.builders import START, a_record, an_experiment
from unit.exported import CASES, Case, failing, hostile, many, repeated, the_default_search

OBJECTIVE = {"the_default_search": "validMse"}


def left(case: Case, folder: Path) -> Path:
    """The folder that the command leaves of a run."""
    found = folder / "events"
    if not (folder / "run").exists():
        assert main(["export", str(case.leave(folder / "run")), "--tensorboard", str(found)]) == 0
    return found


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return found


def hparams(events: EventAccumulator) -> dict[str, HParamsPluginData]:
    """What the HParams tab reads of a run, by tag."""
    told = events.summary_metadata
    return {
        tag: HParamsPluginData.FromString(each.plugin_data.content)
        for tag, each in told.items()
        if each.plugin_data.plugin_name == metadata.PLUGIN_NAME
    }


def started(events: EventAccumulator) -> dict[str, Any]:
    """The parameters of a run."""
    told = hparams(events)[metadata.SESSION_START_INFO_TAG].session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in told.items()}


def ended(events: EventAccumulator) -> Any:
    return hparams(events)[metadata.SESSION_END_INFO_TAG].session_end_info


def folder_of(events: Path, record: Record) -> Path:
    (found,) = events.glob(f"{record.index:04d}-{record.id}*")
    return found


@pytest.mark.parametrize("name", CASES)
def test_every_trial_is_a_run_with_its_curves_parameters_and_final_figures(name: str, tmp_path: Path) -> None:
    case = CASES[name]()
    events = left(case, tmp_path)
    run = case.run(tmp_path / "run")
    assert len([each for each in events.iterdir() if each.is_dir()]) == len(run.records)
    for trial in run.trials[:12]:
        if (record := run.records.get(trial.id)) is None:
            continue
        read_back = read(folder_of(events, record))
        scalars = {tag: read_back.Scalars(tag) for tag in read_back.Tags()["scalars"]}
        steps = run.steps(trial)
        for metric in {metric for step in steps for metric in step.metrics}:
            told = [(step.step, np.float32(step.metrics[metric])) for step in steps if metric in step.metrics]
            assert [(each.step, np.float32(each.value)) for each in scalars[metric]] == told
            walls = [each.wall_time for each in scalars[metric]]
            assert walls == sorted(walls)
            assert record.started_at / 1000 <= walls[0]
            assert walls[-1] <= record.finished_at / 1000
        for metric, value in record.metrics.items():
            (final,) = scalars[f"final/{metric}"]
            assert np.float32(final.value) == np.float32(value)
            assert final.wall_time == record.finished_at / 1000
        assert started(read_back) == trial.parameters
        well = record.outcome in (Outcome.SUCCEEDED, Outcome.STOPPED)
        assert ended(read_back).status == (api_pb2.STATUS_SUCCESS if well else api_pb2.STATUS_FAILURE)


def test_the_experiment_names_parameters_with_their_values_and_figures_the_objective_first(tmp_path: Path) -> None:
    case = the_default_search()
    told = hparams(read(left(case, tmp_path)))[metadata.EXPERIMENT_TAG].experiment
    assert [each.name for each in told.hparam_infos] == ["train.learningRate", "model.hiddenSize", "model.layers"]
    assert [each.number_value for each in told.hparam_infos[1].domain_discrete.values] == [32, 64, 128]
    assert told.metric_infos[0].name.tag == "final/validMse"
    assert told.metric_infos[0].display_name == "validMse"
    space = hparams(read(left(CASES["constrained"](), tmp_path / "other")))[metadata.EXPERIMENT_TAG].experiment
    assert space.hparam_infos[0].domain_interval.max_value == 1.0


def test_the_epochs_of_our_trainer_lie_where_they_were(tmp_path: Path) -> None:
    case = the_default_search()
    events = left(case, tmp_path)
    walls = [each.wall_time for each in read(folder_of(events, case.entries.records[0])).Scalars("validLoss")]
    assert walls == pytest.approx([START / 1000 + 0.1 + 0.2 + 0.08 * epoch for epoch in range(1, 21)])


def test_the_steps_of_a_program_lie_before_its_end_by_their_mean_time_or_where_it_told(tmp_path: Path) -> None:
    case = CASES["constrained"]()
    first, second = case.entries.records[:2]
    case.curves[second.id] = [{"step": 1, "metrics": {"loss": 1.0}, "clock": START + 123}]
    events = left(case, tmp_path)
    walls = [each.wall_time for each in read(folder_of(events, first)).Scalars("loss")]
    assert walls == pytest.approx([first.finished_at / 1000 - ago for ago in (1.0, 0.5, 0.0)])
    assert read(folder_of(events, second)).Scalars("loss")[0].wall_time == (START + 123) / 1000


def test_repeats_of_a_point_are_one_group(tmp_path: Path) -> None:
    case = repeated()
    events = left(case, tmp_path)
    groups = [
        hparams(read(folder_of(events, record)))[metadata.SESSION_START_INFO_TAG].session_start_info.group_name
        for record in case.entries.records[:6]
    ]
    assert groups == [case.trials[0].id] * 3 + [case.trials[3].id] * 3


def test_names_say_what_varies_and_fit_a_file_s_name(tmp_path: Path) -> None:
    names = sorted(each.name for each in left(the_default_search(), tmp_path).iterdir() if each.is_dir())
    assert names[0] == f"0000-{the_default_search().trials[0].id},learningRate=0.0001,hiddenSize=32,layers=1"
    case = hostile()
    odd = left(case, tmp_path / "odd")
    assert all(each.name.isascii() and len(each.name) <= 120 for each in odd.iterdir())
    texts = {started(read(folder_of(odd, record)))["text"] for record in case.entries.records}
    assert texts == {trial.parameters["text"] for trial in case.trials}


def test_a_run_of_a_cluster_has_what_its_ledger_has(tmp_path: Path) -> None:
    case = the_default_search()
    write_event_files(tmp_path / "events", case.run())
    found = read(folder_of(tmp_path / "events", case.entries.records[0]))
    assert set(found.Tags()["scalars"]) == {"final/validMse", "final/validMae", "final/totalSeconds"}


@pytest.mark.parametrize("count", [0, 1])
def test_with_no_trial_or_one_there_is_a_folder_that_tensorboard_reads(count: int, tmp_path: Path) -> None:
    experiment = an_experiment()
    trials = Entries().trials(experiment)
    events = left(Case(experiment, Entries([a_record(trial) for trial in trials[:count]]), {}), tmp_path)
    assert metadata.EXPERIMENT_TAG in hparams(read(events))
    assert len(list(events.iterdir())) == 1 + count


def test_a_scale_test_tells_workers_and_multiplier(tmp_path: Path) -> None:
    experiment = an_experiment(kind="ScaleTest", name="sizes", axes={"multipliers": [1, 10], "workers": [1, 2]})
    records = [a_record(trial) for trial in Entries().trials(experiment)]
    events = left(Case(experiment, Entries(records), {}), tmp_path)
    assert started(read(folder_of(events, records[3]))) == {"data.multiplier": 10, "workers": 2}


def test_a_trial_that_still_runs_has_its_curve(tmp_path: Path) -> None:
    case = failing()
    running = case.trials[4]
    case.curves[running.id] = [{"step": 1, "metrics": {"loss": 5.0}}]
    (found,) = left(case, tmp_path).glob(f"0004-{running.id}*")
    events = read(found)
    assert [each.value for each in events.Scalars("loss")] == [5.0]
    assert metadata.SESSION_END_INFO_TAG not in hparams(events)


def test_folders_of_others_stay_and_ours_are_replaced_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = the_default_search()
    events, run = left(case, tmp_path), tmp_path / "run"
    words = ["export", str(run), "--tensorboard"]
    (run / "results.jsonl").write_text("")
    assert main([*words, str(events)]) == 0
    assert len(list(events.iterdir())) == 19, "what began and hasn't ended has its curve"
    (events / "mine").mkdir()
    (events / "mine" / "events.out.tfevents.1.host").write_bytes(b"mine")
    capsys.readouterr()
    for folder, why in ((events, "mine/events.out.tfevents.1.host, which stays"), (run, "which stays")):
        before = sorted(folder.rglob("*"))
        assert main([*words, str(folder)]) == 2
        assert why in capsys.readouterr().err
        assert sorted(folder.rglob("*")) == before
    assert main([*words, str(run / "results.jsonl")]) == 2
    assert "must be a folder or new" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


@pytest.mark.slow
def test_five_thousand_trials_take_seconds(tmp_path: Path) -> None:
    case = many()
    run = case.run(case.leave(tmp_path / "run"))
    begun = time.monotonic()
    write_event_files(tmp_path / "events", run)
    took = time.monotonic() - begun
    print(f"event files {took:.2f} s")
    assert took < 60
    assert len(list((tmp_path / "events").iterdir())) == 5001
