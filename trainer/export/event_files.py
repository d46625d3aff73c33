"""TensorBoard's event files of a run: a TensorBoard run for each trial, and what its HParams tab reads.

A folder of ours holds nothing but event files, which end in `.trialrun`. Scalars are 32-bit floats there, as
TensorBoard has them.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata, plugin_data_pb2, summary_v2
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.summary.writer.record_writer import RecordWriter

from trainer.experiment.best import objective_reader
from trainer.experiment.errors import UserError
from trainer.experiment.expand import Trial, by_point
from trainer.experiment.outcome import Outcome
from trainer.experiment.progress import Step
from trainer.experiment.record import NAIVE, STEP, STEP_SECONDS, Record
from trainer.experiment.spec import HyperparamSearch, Parameter, Scalar, ScaleTest
from trainer.export.run import Kind, Run, as_kind, kind_of
from trainer.report.wording import brief, short_names

FINAL = "final/"  # begins the tags of the figures that a trial ended with, beside those of its steps
_SUFFIX = ".trialrun"
_MOST_NAME = 120  # characters of a folder's name
_WORKERS = "workers"


def write_event_files(folder: Path, run: Run) -> None:
    """Replaces the folder by one with the event files of each trial that has run or is running.

    Raises:
        OSError: it can't be written; then the folder is as it was.
    """
    target = folder.resolve()
    new = target.with_name(f".{target.name}.{os.getpid()}")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        new.mkdir(parents=True)
        _write_all(new, run)
        if target.exists():
            target.rename(old)
        new.rename(target)
    except BaseException as error:
        if old.exists() and not target.exists():
            old.rename(target)
        if isinstance(error, OSError):
            error.filename = str(folder)  # a full disk names no file, and nobody knows the temporary one
        raise
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


def require_event_folder(folder: Path) -> None:
    """Raises UserError where something stands at `folder` that isn't a folder of event files written here."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: must be a folder or new, and is none; name a folder")
    try:
        others = [each for each in folder.rglob("*") if not each.is_dir() and each.suffix != _SUFFIX]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}; name another folder") from error
    if others:
        raise UserError(
            f"{folder}: must be new, empty, or hold event files of Trialrun alone, and holds "
            f"{others[0].relative_to(folder)}, which stays; name another folder"
        )


def _write_all(folder: Path, run: Run) -> None:
    kinds = {
        name: kind_of([trial.parameters[name] for trial in run.trials if name in trial.parameters])
        for name in dict.fromkeys(name for trial in run.trials for name in trial.parameters)
    }
    begun = min((record.accepted_at for record in run.attempts), default=0) / 1000
    _write(folder, [(begun, 0, _experiment(run, kinds, begun))])
    names = short_names(kinds)
    varying = len({trial.workers for trial in run.trials}) > 1
    firsts = {point: repeats[0] for point, repeats in by_point(run.trials).items()}
    for trial in run.trials:
        record, steps = run.records.get(trial.id), run.steps(trial)
        if record is None and not steps:
            continue
        hparams = {name: as_kind(value, kinds[name]) for name, value in trial.parameters.items()}
        if isinstance(run.experiment, ScaleTest):
            hparams[_WORKERS] = trial.workers
        events = _events(trial, record, steps, run, hparams, firsts[trial.point].id)
        _write(folder / _name(trial, names, workers=varying, repeats=run.experiment.spec.repeats > 1), events)


def _write(folder: Path, events: Sequence[tuple[float, int, Summary]] | Iterator[tuple[float, int, Summary]]) -> None:
    """Writes an event file: of each event its moment, in seconds since 1970, the step, and what it tells."""
    folder.mkdir(exist_ok=True)
    found = list(events)
    begun = found[0][0]
    with (folder / f"events.out.tfevents.{int(begun):010d}{_SUFFIX}").open("wb") as file:
        records = RecordWriter(file)
        records.write(Event(wall_time=begun, file_version="brain.Event:2").SerializeToString())
        for wall, step, summary in found:
            records.write(Event(wall_time=wall, step=step, summary=summary).SerializeToString())


def _events(
    trial: Trial,
    record: Record | None,
    steps: Sequence[Step],
    run: Run,
    hparams: Mapping[str, Scalar],
    group: str,
) -> Iterator[tuple[float, int, Summary]]:
    """What a trial's file tells, in its order. Repeats of a point are of one `group`."""
    begun = (record.started_at if record is not None else run.curves.begun(trial) or 0) / 1000
    yield begun, 0, summary_v2.hparams_pb(dict(hparams), trial_id=group, start_time_secs=begun)
    for step, wall in zip(steps, _moments(record, steps, begun), strict=True):
        yield wall, step.step, _scalars(step.metrics)
    if record is None:
        return
    ended = record.finished_at / 1000
    final = {f"{FINAL}{name}": value for name, value in _figures(record, run).items()}
    yield ended, _last_step(record, steps), _scalars(final)
    yield ended, 0, _session_end(record, ended)


def _moments(record: Record | None, steps: Sequence[Step], begun: float) -> list[float]:
    """When each step was told, in seconds since 1970.

    That is as recorded or, of our trainer, the sum of what its epochs took. A program's steps lie as far before its
    end as their mean time says; where that isn't known all are at the end.
    """
    if record is None:
        return [begun if step.clock is None else step.clock / 1000 for step in steps]
    ended = record.finished_at / 1000
    if all(step.seconds is not None for step in steps):
        before = sum(step.seconds or 0 for step in steps if step.step <= record.resumed_from)
        at, found = begun + record.seconds.start + record.seconds.data - before, list[float]()
        for step in steps:
            at += step.seconds or 0
            found.append(min(at, ended))
        return found
    pace, last = record.evidence.get(STEP_SECONDS), steps[-1].step
    each = float(pace) if isinstance(pace, int | float) else 0.0
    return [
        max(begun, ended - each * (last - step.step)) if step.clock is None else step.clock / 1000 for step in steps
    ]


def _figures(record: Record, run: Run) -> dict[str, float]:
    """What a trial ended with, the objective among it also where it is a time."""
    found = {name: value for name, value in record.metrics.items() if not name.startswith(NAIVE)}
    if isinstance(run.experiment, HyperparamSearch):
        metric = run.experiment.spec.objective.metric
        if (value := objective_reader(metric)(record)) is not None:
            found[metric] = value
    return found | {"totalSeconds": record.seconds.total}


def _last_step(record: Record, steps: Sequence[Step]) -> int:
    told = record.evidence.get(STEP)
    return told if isinstance(told, int) else max((step.step for step in steps), default=record.epochs)


def _scalars(figures: Mapping[str, float]) -> Summary:
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in figures.items()])


def _session_end(record: Record, ended: float) -> Summary:
    status = {Outcome.SUCCEEDED: Status.STATUS_SUCCESS, Outcome.STOPPED: Status.STATUS_SUCCESS}
    end = plugin_data_pb2.SessionEndInfo(
        status=status.get(record.outcome, Status.STATUS_FAILURE), end_time_secs=ended
    )
    told = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=told, tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _experiment(run: Run, kinds: Mapping[str, Kind], begun: float) -> Summary:
    """Which parameters vary and which figures there are, the objective first."""
    spec = run.experiment.spec
    by_name = {each.name: each for each in getattr(spec, "parameters", ())}
    hparams = [summary_v2.HParam(name, _domain(run, name, kind, by_name.get(name))) for name, kind in kinds.items()]
    if isinstance(run.experiment, ScaleTest):
        hparams.append(
            summary_v2.HParam(_WORKERS, summary_v2.Discrete(sorted({trial.workers for trial in run.trials})))
        )
    figures = dict.fromkeys(name for record in run.records.values() for name in _figures(record, run))
    if isinstance(run.experiment, HyperparamSearch):
        figures = dict.fromkeys([run.experiment.spec.objective.metric]) | figures
    metrics = [summary_v2.Metric(f"{FINAL}{name}", display_name=name) for name in figures]
    return summary_v2.hparams_config_pb(hparams=hparams, metrics=metrics, time_created_secs=begun)


def _domain(run: Run, name: str, kind: Kind, parameter: Parameter | None) -> Any:
    """The values that a parameter may have."""
    if parameter is not None and parameter.range is not None:
        return summary_v2.RealInterval(float(parameter.range.min), float(parameter.range.max))
    values = {as_kind(trial.parameters[name], kind) for trial in run.trials if name in trial.parameters}
    return summary_v2.Discrete(values)


def _name(trial: Trial, names: Mapping[str, str], *, workers: bool, repeats: bool) -> str:
    """What TensorBoard calls a trial: index and id, then its parameters, in letters that fit a file's name."""
    told = [f"{names[path]}={brief(value)}" for path, value in trial.parameters.items()]
    told += [f"workers={trial.workers}"] if workers else []
    told += [f"repeat={trial.repeat}"] if repeats else []
    return re.sub(r"[^A-Za-z0-9.,=+-]", "_", ",".join([trial.name, *told]))[:_MOST_NAME]
