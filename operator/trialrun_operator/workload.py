"""The workload of an object of the API server. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainer.experiment.code import MOST_BYTES
from trainer.experiment.entries import Entries
from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.expand import planned
from trainer.experiment.load import load
from trainer.experiment.section import NAME
from trainer.experiment.spec import Experiment, HyperparamSearch, ScaleTest
from trainer.experiment.suggestion import Suggestion
from trainer.scheduling import workload as scheduling
from trialrun_operator.ledger_format import MAX_VALUE_BYTES
from trialrun_operator.names import MAX_ATTEMPT
from trialrun_operator.orders import CODE, baseline_bytes, program_folder, suggested_points

# The kernel takes no environment variable of more than 128 KiB.
MAX_ORDER_BYTES = 120_000
# Beside its parameters a suggestion says why it was made.
_MAX_POINT_BYTES = MAX_VALUE_BYTES - 1024
NOT_STOPPED = (
    "spec.earlyStopping has no effect on a cluster yet: there are no progress reports to go by; trials run to their "
    "end"
)
NOT_PACKED = "spec.packing has no effect on a cluster: each trial has pods of its own"
_SEARCH = re.compile(r"(?:hps|hyperparamsearch|hyperparamsearches)/(.+)")


def workload(document: Mapping[str, Any], suggestions: Sequence[Suggestion] = ()) -> scheduling.Workload:
    """The workload, with what measures the floors of a scale test's cells, and a search's baseline.

    The `suggestions` are those of its ledger. A search whose baseline can't be told to a pod has none.

    Raises:
        InvalidExperiment: with all mistakes found.
    """
    experiment = load(document)
    if mistakes := [*_of_program(experiment), *_mistakes(experiment)]:
        raise InvalidExperiment(mistakes)
    suggested = Entries(suggestions=suggestions).suggested(experiment)
    work = replace(scheduling.workload(experiment, suggested), most_attempts=MAX_ATTEMPT)
    if isinstance(experiment, ScaleTest):
        return replace(work, floors=scheduling.floor_trials(experiment, work.trials))
    if experiment.spec.early_stopping is not None:
        work.ignored = (*work.ignored, NOT_STOPPED)
    if experiment.spec.packing != "None":
        work.ignored = (*work.ignored, NOT_PACKED)
    if not work.measures_baseline or _fits(work):
        work.baseline = scheduling.baseline_trial(experiment, work.trials)
    return work


def differs(work: scheduling.Workload, suggestions: Sequence[Suggestion]) -> bool:
    """Whether the ledger has not all points that a workload has, as where somebody has changed it by hand."""
    suggested = Entries(suggestions=suggestions).suggested(work.experiment)
    ours = suggested_points(work)
    return suggested[: len(ours)] != ours


def take_in(work: scheduling.Workload, suggestions: Sequence[Suggestion]) -> bool:
    """Has a learning search grow by the points that its ledger has by now; says whether there were new ones.

    Raises:
        InvalidExperiment: a point makes no valid training.
    """
    before = len(work.trials)
    work.update(Entries(suggestions=suggestions).suggested(work.experiment))
    grown = len(work.trials) > before
    if grown and work.baseline is not None and work.measures_baseline and not _fits(work):
        work.by_id.pop(work.baseline.id, None)
        work.baseline = None
    return grown


def _fits(work: scheduling.Workload) -> bool:
    """Whether a pod can be told to measure the baseline."""
    return baseline_bytes(work) <= most_baseline_bytes(work)


def most_baseline_bytes(work: scheduling.Workload) -> int:
    """How long what a baseline's pod is told may be: one variable, or of a program the files of a ConfigMap."""
    return MAX_ORDER_BYTES if work.experiment.spec.program is None else MOST_BYTES


def warm_start_of(search: HyperparamSearch) -> str | None:
    """The name of the search, in the same namespace, that one begins with the lessons of; None for none."""
    source = search.spec.warm_start
    found = None if source is None else _SEARCH.fullmatch(source)
    return None if found is None else found[1]


def _of_program(experiment: Experiment) -> Iterator[str]:
    """Which folders of a program no pod has."""
    program, pod = experiment.spec.program, experiment.spec.pod
    if program is None:
        return
    if program.code is not None and program.config_map is None:
        yield (
            "spec.program.code: must be configmap/NAME on a cluster, of the same namespace, got "
            f"{program.code}; `python -m trainer apply FILE` makes one of a folder"
        )
    folder = program_folder(program, pod)
    if folder is not None and not folder.startswith("/"):
        yield (
            f"spec.program.workingDirectory: must be absolute in an image, got {folder}; give spec.pod.workingDir, "
            "or spec.program.code, in which it then lies"
        )
    elif program.code is not None and pod.working_dir is None and not f"{folder}/".startswith(f"{CODE}/"):
        yield f"spec.program.workingDirectory: must lie within spec.program.code, got {program.working_directory}"


def _mistakes(experiment: Experiment) -> list[str]:
    """What a cluster can't do for a search that learns."""
    if planned(experiment) is None or not isinstance(experiment, HyperparamSearch):
        return []
    mistakes, source = [], experiment.spec.warm_start
    if source is not None and not re.fullmatch(NAME, warm_start_of(experiment) or ""):
        mistakes.append(
            f"spec.warmStart: must be hps/NAME on a cluster, a search in the same namespace, got {source}"
        )
    longest = _longest_point(experiment)
    if longest > _MAX_POINT_BYTES:
        mistakes.append(
            f"spec.parameters: must make points of at most {_MAX_POINT_BYTES} bytes with algorithm TPE on a cluster, "
            f"got some of {longest}; give choices shorter names"
        )
    return mistakes


def _longest_point(search: HyperparamSearch) -> int:
    """The bytes that the parameters of a point take as JSON, at most."""
    number = len(json.dumps(-1.2345678901234567e-300))
    size = 0
    for each in search.spec.parameters:
        values = [len(json.dumps(value, ensure_ascii=False).encode()) for value in each.choices or ()]
        size += len(json.dumps(each.name)) + 2 + max(values, default=number)
    return size
