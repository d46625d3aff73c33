"""What a pod is told: one JSON text in one environment variable, or in files, and what is run with it. Pure."""

import gzip
import json
import posixpath
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.experiment.best import direction
from trainer.experiment.comparable import depends_on_validation
from trainer.experiment.cost import quantity
from trainer.experiment.expand import Kind, Trial, expand
from trainer.experiment.memory_words import WORDS
from trainer.experiment.pod import Pod
from trainer.experiment.program import Invocation, Program
from trainer.experiment.program_report import TOLD_BY_CODE
from trainer.experiment.progress import PROTOCOL
from trainer.experiment.space import Point
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.workload import Workload, one_at_a_time

TRIAL_VARIABLE = "TRIALRUN_TRIAL"
BASELINE_VARIABLE = "TRIALRUN_BASELINE"
REPORTS_VARIABLE = "TRIALRUN_REPORTS"
MESSAGE_PATH = "/dev/termination-log"
DATA, OUTPUT, CODE, FILES = "/data", "/output", "/code", "/trialrun"
HOME, SCRATCH = "/tmp", "/tmp/trial"  # noqa: S108 - in the pod
# What runs a program's trials one after another, in an image that need not hold anything of ours, and its trials.
_IN_TURNS, _TRIALS = "in_turns.py", "trials.json.gz"
_SCRIPT = Path(__file__).with_name(_IN_TURNS).read_bytes()
_PYTHON = re.compile(r"([^$]*/)?python(3(\.[0-9]+)?)?")

Document = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What a container is to do. `args` are given to its image's entrypoint; a `command` takes that one's place.

    It is told by `variables`; `defaults` count where the experiment gives no others. `folder` is where it starts,
    None for where its image says. It finds `files` in FILES.
    """

    variables: Mapping[str, str]
    args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


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
        if work.experiment.spec.program is not None:
            return _baseline_order(work, work.experiment, work.experiment.spec.program, uid, attempt, known)
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
    defaults, folder = _program_defaults(program, pod), program_folder(program, pod)
    return Order({**runs.env, **told}, command=runs.command, defaults=defaults, folder=folder)


def _program_defaults(program: Program, pod: Pod) -> dict[str, str]:
    """What a program finds in its environment unless the experiment says otherwise."""
    cpus = pod.resources.limits.get("cpu") or pod.resources.requests.get("cpu")
    threads = max(1, int(quantity(cpus)) // program.processes_per_worker) if cpus is not None else 1
    return {"OMP_NUM_THREADS": str(threads), "HOME": HOME}


def program_folder(program: Program, pod: Pod) -> str | None:
    """Where a program starts in a pod; None for where its image says."""
    if pod.working_dir is not None:
        return pod.working_dir
    if program.code is None:
        return program.working_directory
    return posixpath.normpath(posixpath.join(CODE, program.working_directory or "."))


def program_document(work: Workload, uid: str, trial: Trial, runs: Invocation, attempt: int, known: Known) -> str:
    """The one thing that a program's pod is told: JSON as on one machine, with what is different in a pod."""
    folder, earlier = SCRATCH, list[str]()
    if (output := _output(work, uid)) is not None:
        of_trial = f"{output}/{trial.id}"
        folder, earlier = f"{of_trial}/{attempt}", [f"{of_trial}/{number}" for number in range(attempt, 0, -1)]
    return _json(
        _told_to_all(work, known)
        | {
            "id": trial.id,
            "index": trial.index,
            "parameters": trial.parameters,
            "settings": runs.settings,
            "repeat": trial.repeat,
            "seed": trial.seed,
            "workers": trial.workers,
            "attempt": attempt,
            "folder": folder,
            "checkpoints": earlier,
            "reports": MESSAGE_PATH,
        }
    )


def _told_to_all(work: Workload, known: Known) -> Document:
    """What all trials of a program are told alike."""
    experiment = work.experiment
    program = experiment.spec.program
    return {
        "protocol": PROTOCOL,
        "pod": True,
        "experiment": experiment.name,
        "kind": experiment.kind,
        "metric": experiment.spec.objective.metric if isinstance(experiment, HyperparamSearch) else None,
        "stop": None,
        "until": None,
        "inputs": [] if program is None else list(program.inputs),
        "known": {} if known.inputs is None else {"inputs": known.inputs},
    }


def _output(work: Workload, uid: str) -> str | None:
    """An experiment's folder on its output volume; None where it has none."""
    if work.experiment.spec.pod.output_claim is None:
        return None
    # A piece of the UID keeps an experiment apart from one of the same name that was deleted.
    return f"{OUTPUT}/{work.experiment.name}-{uid[:8]}"


def _baseline_order(
    work: Workload, search: HyperparamSearch, program: Program, uid: str, attempt: int, known: Known
) -> Order:
    """The order of a pod that runs a program's trials one after another, as pods of one worker ran them.

    What runs them is a script of ours. It is started by the Python that the program names, which its image has, else
    by `python3`; whatever the image sets up for Python is for the program alone.
    """
    python = program.command[0] if _PYTHON.fullmatch(program.command[0]) else "python3"
    return Order(
        {},
        command=(python, "-IS", f"{FILES}/{_IN_TURNS}", f"{FILES}/{_TRIALS}", MESSAGE_PATH),
        defaults=_program_defaults(program, search.spec.pod),
        folder=program_folder(program, search.spec.pod),
        files=_baseline_files(work, search, program, uid, attempt, known),
    )


def _baseline_files(
    work: Workload, search: HyperparamSearch, program: Program, uid: str, attempt: int, known: Known
) -> dict[str, bytes]:
    """The script, and what it is told: what is common to all trials once, of each what differs."""
    alone, output = one_at_a_time(search), _output(work, uid)
    trials = work.trials if search.spec.workers == 1 else expand(alone, suggested_points(work))
    ran = [trials[each.index] for each in work.order if known.ran is None or each.id in known.ran]
    told = {
        "trials": [{name: getattr(each, name) for name in ("id", "index", "repeat", "parameters")} for each in ran],
        "repeats": search.spec.repeats,
        "seed": search.spec.seed,
        "command": list(program.command),
        "env": {variable.name: variable.value for variable in program.env},
        "order": {
            **_told_to_all(work, known),
            "settings": program.settings,
            "workers": 1,
            "attempt": attempt,
            "checkpoints": [],
        },
        "folder": None if output is None else f"{output}/baseline/{attempt}",
        "code": None if known.code is None else known.code.digest,
        "deadlineSeconds": alone.spec.deadline_seconds,
        "metric": work.metric,
        "direction": direction(search.spec.objective),
        "byValidation": depends_on_validation(search.spec.objective.metric),
        "constrained": bool(search.spec.constraints),
        "exitCodes": TOLD_BY_CODE,
        "memoryWords": [[words.outcome, words.pattern] for words in WORDS],
    }
    return {_IN_TURNS: _SCRIPT, _TRIALS: gzip.compress(_json(told).encode(), mtime=0)}


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
    if search.spec.program is not None:
        files = _baseline_files(work, search, search.spec.program, "", 0, Known())
        return sum(map(len, files.values()))
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
