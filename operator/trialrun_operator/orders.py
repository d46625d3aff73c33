"""What a pod is told: one JSON text in one environment variable, and what is run with it. Pure."""

import json
import posixpath
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.experiment.cost import quantity
from trainer.experiment.expand import Kind, Trial
from trainer.experiment.pod import Pod
from trainer.experiment.program import Invocation, Program
from trainer.experiment.progress import PROTOCOL
from trainer.experiment.space import Point
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.workload import Workload, one_at_a_time

TRIAL_VARIABLE = "TRIALRUN_TRIAL"
BASELINE_VARIABLE = "TRIALRUN_BASELINE"
REPORTS_VARIABLE = "TRIALRUN_REPORTS"
MESSAGE_PATH = "/dev/termination-log"
DATA, OUTPUT, CODE = "/data", "/output", "/code"
HOME, SCRATCH = "/tmp", "/tmp/trial"  # noqa: S108 - in the pod

Document = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What a container is to do. `args` are given to its image's entrypoint; a `command` takes that one's place.

    It is told by `variables`; `defaults` count where the experiment gives no others. `folder` is where it starts,
    None for where its image says.
    """

    variables: Mapping[str, str]
    args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None


@dataclass(frozen=True)
class Code:
    """A ConfigMap of a program's code: its name, the hash of its files, and their keys."""

    name: str
    digest: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Known:
    """What the cluster tells of an experiment beside its file.

    `ran` are the ids of trials that a baseline runs again, None for all. `code` is a program's, `inputs` the hash of
    what the first of its trials that succeeded has read; both None where there is none.
    """

    ran: Container[str] | None = None
    code: Code | None = None
    inputs: str | None = None


def order(work: Workload, uid: str, trial: Trial, attempt: int, known: Known) -> Order:
    """The order of an attempt."""
    if isinstance(work.experiment, HyperparamSearch) and trial.kind is Kind.BASELINE:
        only = None if known.ran is None else [each.index for each in work.trials if each.id in known.ran]
        if only is not None and len(only) == len(work.trials):
            only = None
        told = baseline_document(work.experiment, uid, attempt, suggested_points(work), only)
        return Order({BASELINE_VARIABLE: told, **_surroundings(trial)}, args=("baseline",))
    if isinstance(trial.runs, Invocation):
        return _program_order(work, uid, trial, trial.runs, attempt, known)
    return Order({TRIAL_VARIABLE: trial_document(work, uid, trial, attempt), **_surroundings(trial)}, args=("pod",))


def _surroundings(trial: Trial) -> dict[str, str]:
    """What our trainer is given besides: unset, torch and numpy would start a thread for every CPU of the node."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**dict.fromkeys(names, str(trial.training.train.threads)), "HOME": HOME}


def _program_order(work: Workload, uid: str, trial: Trial, runs: Invocation, attempt: int, known: Known) -> Order:
    program, pod = work.experiment.spec.program, work.experiment.spec.pod
    assert program is not None, "its trials run a program"  # noqa: S101
    told = {TRIAL_VARIABLE: program_document(work, uid, trial, runs, attempt, known), REPORTS_VARIABLE: MESSAGE_PATH}
    if trial.workers > 1 and program.processes_per_worker == 1:
        told |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    cpus = pod.resources.limits.get("cpu") or pod.resources.requests.get("cpu")
    threads = max(1, int(quantity(cpus)) // program.processes_per_worker) if cpus is not None else 1
    return Order(
        {**runs.env, **told},
        command=runs.command,
        defaults={"OMP_NUM_THREADS": str(threads), "HOME": HOME},
        folder=program_folder(program, pod),
    )


def program_folder(program: Program, pod: Pod) -> str | None:
    """Where a program starts in a pod; None for where its image says."""
    if pod.working_dir is not None:
        return pod.working_dir
    if program.code is None:
        return program.working_directory
    return posixpath.normpath(posixpath.join(CODE, program.working_directory or "."))


def program_document(work: Workload, uid: str, trial: Trial, runs: Invocation, attempt: int, known: Known) -> str:
    """The one thing that a program's pod is told: JSON as on one machine, with what is different in a pod."""
    experiment, folder, earlier = work.experiment, SCRATCH, list[str]()
    program = experiment.spec.program
    if experiment.spec.pod.output_claim is not None:
        # A piece of the UID keeps an experiment apart from one of the same name that was deleted.
        of_trial = f"{OUTPUT}/{experiment.name}-{uid[:8]}/{trial.id}"
        folder, earlier = f"{of_trial}/{attempt}", [f"{of_trial}/{number}" for number in range(attempt, 0, -1)]
    return _json(
        {
            "protocol": PROTOCOL,
            "pod": True,
            "experiment": experiment.name,
            "kind": experiment.kind,
            "id": trial.id,
            "index": trial.index,
            "parameters": trial.parameters,
            "settings": runs.settings,
            "repeat": trial.repeat,
            "seed": trial.seed,
            "workers": trial.workers,
            "attempt": attempt,
            "metric": experiment.spec.objective.metric if isinstance(experiment, HyperparamSearch) else None,
            "folder": folder,
            "checkpoints": earlier,
            "reports": MESSAGE_PATH,
            "stop": None,
            "until": None,
            "inputs": [] if program is None else list(program.inputs),
            "known": {} if known.inputs is None else {"inputs": known.inputs},
        }
    )


def baseline_document(
    search: HyperparamSearch,
    uid: str,
    attempt: int,
    suggested: Sequence[Point] = (),
    only: Sequence[int] | None = None,
) -> str:
    """The one thing a baseline's pod is told: the search as one worker at a time trains it.

    `suggested` are the points of one that learns, and `only` the indices of the trials to run, None for all.
    """
    document = one_at_a_time(search).document(sparse=True)
    for name in ("pod", "prices", "baseline"):  # which are for the cluster only, and may be long
        document["spec"].pop(name, None)
    told: Document = {"uid": uid, "attempt": attempt, "search": document}
    if suggested:
        told["suggested"] = list(suggested)
    if only is not None:
        told["only"] = list(only)
    return _json(told)


def baseline_bytes(work: Workload) -> int:
    """How long what a baseline's pod is told is at most, but for the UID and the attempt."""
    search = work.experiment
    assert isinstance(search, HyperparamSearch), "a scale test has no baseline"  # noqa: S101
    suggested = suggested_points(work)
    only = [each.index for each in work.trials] if suggested else None
    return len(baseline_document(search, "", 0, suggested, only).encode())


def suggested_points(work: Workload) -> list[Point]:
    """The points of a search that learns, but for those that its file gives."""
    if work.points is None or not isinstance(work.experiment, HyperparamSearch):
        return []
    first = len(work.experiment.spec.points)
    return [trials[0].parameters for number, trials in sorted(work.by_point.items()) if number >= first]


def trial_document(work: Workload, uid: str, trial: Trial, attempt: int) -> str:
    """The one thing a trial's pod is told: JSON with everything that its training and its report need."""
    return _json(
        {
            "experiment": work.experiment.name,
            "uid": uid,
            "kind": work.experiment.kind,
            "id": trial.id,
            "index": trial.index,
            "parameters": trial.parameters,
            "repeat": trial.repeat,
            "attempt": attempt,
            "workers": trial.workers,
            "metric": work.metric,
            "training": trial.training.portable(),
        }
    )


def _json(value: Document) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
