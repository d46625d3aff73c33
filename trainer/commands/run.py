"""`run FILE`: runs an experiment here and leaves its ledger, summary and report."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.cgroup import cores
from trainer.commands.report import leave_report, leave_summary
from trainer.data.cache import default_cache
from trainer.data.errors import DataUnavailable
from trainer.experiment.comparable import Contents, Fields, content_fields, contents
from trainer.experiment.entries import Entries
from trainer.experiment.errors import InvalidExperiment, UserError
from trainer.experiment.expand import Trial, canonical
from trainer.experiment.record import CODE, DATA, INPUTS, Record, latest
from trainer.experiment.spec import Experiment, HyperparamSearch, ScaleTest
from trainer.interrupts import interruptible
from trainer.local.folder import EXPERIMENT, LOCK, MARK, occupied, require_ours, require_same, settle
from trainer.local.launcher import Launcher, LauncherEnded
from trainer.local.ledger import Ledger, read_entries, read_ledger
from trainer.local.program_files import ProgramFiles
from trainer.local.programs import Programs, devices
from trainer.local.replay import Replay, is_replay, read_replay
from trainer.local.run import now, run
from trainer.local.suggester import LOG as SUGGESTIONS_LOG
from trainer.local.suggester import Suggester
from trainer.local.warm_start import earlier_lessons, leave_lessons
from trainer.packages import require
from trainer.report.progress import progress
from trainer.scheduling.history import History, taken_up
from trainer.scheduling.lessons import Lesson
from trainer.scheduling.packs import none_packed
from trainer.scheduling.workload import Workload, workload
from trainer.tracking.tracker import LOG as TRACKING_LOG
from trainer.tracking.tracker import Tracker, tracking

if TYPE_CHECKING:  # what trains needs more than a program does, and is imported where it is needed
    from trainer.local.packer import Packer
    from trainer.local.processes import Processes

INTERRUPTED = 130
_MOST_DATA = 8  # data sets that are built before a learning search begins, which may come to need others
LOGS = {"local": "fork-server.log", "spark": "spark.log", "program": "programs.log"}


def main(options: argparse.Namespace) -> int:
    """0 when the experiment succeeded, 1 when it did not, 130 when it was interrupted."""
    experiment: Experiment = options.experiment
    if experiment.spec.program is None:
        require("torch")
    elif options.launcher == "spark":
        raise UserError("--launcher spark: must be given an experiment of Trialrun's trainer, got one with a program")
    if options.launcher == "spark" and options.jobs == "auto":
        raise UserError("--jobs: must be a number with --launcher spark, whose cluster says what it has room for")
    if options.launcher == "spark" and isinstance(experiment, ScaleTest):
        raise UserError(
            "--launcher spark: must be given a HyperparamSearch, got a ScaleTest: nothing limits the memory of each "
            "rank on Spark's executors; leave --launcher out"
        )
    folder: Path = options.out or Path("runs") / experiment.name
    require_ours(folder)
    log = folder / _log_name(options)
    made = [log, *(folder / name for name in (SUGGESTIONS_LOG, TRACKING_LOG, MARK, LOCK))]
    new = [each for each in made if not each.exists()]
    try:
        with occupied(folder), _removed_unless_begun(new) as begun, ExitStack() as launchers:
            interruptible()
            loading = _loading(options, log)
            if loading is not None:
                launchers.enter_context(loading)
            return _run(options, folder, loading, launchers, begun)
    except LauncherEnded as error:
        raise UserError(
            f"{error}\nWhat was done is kept; see {folder / _log_name(options)}, then run again."
        ) from error


def _run(
    options: argparse.Namespace,
    folder: Path,
    loading: "Processes | None",
    launchers: ExitStack,
    begun: Callable[[], None],
) -> int:
    """The exit code. `launchers` holds what is `loading` and will start trials; `begun` hears when they can start."""
    experiment: Experiment = options.experiment
    replay = _replay(options, folder)
    if replay is not None:
        experiment = replay.search
    entries = _entries(options, folder, replay)
    work = workload(experiment, entries.suggested(experiment))
    if replay is not None:
        replay.restrict(work)
    _require_sound(options.file, work, entries.records)
    if options.jobs == "auto":
        options.jobs = _fitting(experiment, work.samples)
    _warn(work, options)
    if not options.fresh:
        require_same(folder, experiment)
    if work.missing:
        require("optuna")
    program = experiment.spec.program
    files = None if program is None else ProgramFiles(program, options.file)
    found = build_data(work.samples[:_MOST_DATA]) if files is None else _program_content(experiment, files)
    require_same_content(folder, work.trials, entries.records, found)
    lessons = _lessons(options, work, folder, found)
    with tracking(experiment, folder) as tracker:
        try:
            _run_what_is_left(
                options, work, entries, folder, files, lessons, replay, tracker, loading, launchers, begun
            )
        except KeyboardInterrupt:
            _tell_what_is_kept(folder, experiment)
            if tracker is not None:
                tracker.finish(interrupted=True)
            return INTERRUPTED
        summary = leave_report(folder, experiment, read_entries(folder))
        if tracker is not None:
            tracker.finish()
    if options.json:
        print(summary.model_dump_json(by_alias=True))
    return 0 if summary.state == "Succeeded" else 1


@contextmanager
def _removed_unless_begun(new: Sequence[Path]) -> Iterator[Callable[[], None]]:
    """Yields what is to be called when trials can start: a run that doesn't come so far leaves none of these files.

    But where what starts trials has failed, its log says why.
    """
    left = list(new)
    try:
        yield left.clear
    except LauncherEnded:
        left.clear()
        raise
    finally:
        for file in left:
            file.unlink(missing_ok=True)


def _loading(options: argparse.Namespace, log: Path) -> "Processes | None":
    """What starts a search's trials on this machine: it loads PyTorch while files are read here."""
    experiment: Experiment = options.experiment
    if not isinstance(experiment, HyperparamSearch) or experiment.spec.program or options.launcher != "local":
        return None
    from trainer.local.processes import Processes

    return Processes(default_cache(), log, experiment.spec.workers)


def _run_what_is_left(
    options: argparse.Namespace,
    work: Workload,
    entries: Entries,
    folder: Path,
    files: ProgramFiles | None,
    lessons: Sequence[Lesson],
    replay: Replay | None,
    tracker: Tracker | None,
    loading: "Processes | None",
    launchers: ExitStack,
    begun: Callable[[], None],
) -> None:
    """Runs what has no success in the ledger. Nothing of the folder changes before trials can be started."""
    history = taken_up(work, entries, now())
    todo = list(history.left)
    done = work.by_id.keys() - {trial.id for trial in todo}
    kept = [record for record in latest(entries.records).values() if record.id in done]
    with launchers.pop_all() as starting:
        log = folder / _log_name(options)
        # It starts before anything here has threads.
        launcher: Launcher = loading or starting.enter_context(_launcher(options, work.experiment, todo, log, files))
        packer = None if replay is not None else _packer(options, work, todo, launcher)
        with (
            _suggester(work, history, folder, lessons) as suggester,
            progress(
                work.experiment, work.trials, kept, slots=options.jobs, stream=sys.stderr, planned=work.points
            ) as shown,
        ):
            if todo or work.missing:
                launcher.await_ready(shown.waits)
            settle(folder, work.experiment, fresh=options.fresh)
            begun()
            if replay is not None:
                replay.leave(folder)
            elif lessons:
                leave_lessons(folder, lessons)
            if tracker is not None:
                tracker.follow()
            with Ledger(folder) as ledger:
                run(
                    work,
                    history,
                    folder=folder,
                    jobs=options.jobs,
                    ledger=ledger,
                    launcher=launcher,
                    progress=shown,
                    packer=packer,
                    suggester=suggester,
                    ends={} if replay is None else replay.ends,
                    begun=None if tracker is None else tracker.begun,
                )


def _entries(options: argparse.Namespace, folder: Path, replay: Replay | None) -> Entries:
    """What the folder's ledger holds; of a replay the suggestions are those of the run that it replays."""
    entries = Entries() if options.fresh else read_entries(folder)
    return entries if replay is None else Entries(entries.records, replay.suggestions, only=replay.only)


def _replay(options: argparse.Namespace, folder: Path) -> Replay | None:
    """What is replayed, if anything is."""
    if not options.fresh and read_ledger(folder) and is_replay(folder) != (options.replay is not None):
        holds = "no replay" if options.replay is not None else "a replay"
        raise UserError(
            f"{folder}: holds results of {holds}, which cannot be mixed with these; name another with --out"
        )
    return None if options.replay is None else read_replay(options.replay, options.experiment)


def _lessons(options: argparse.Namespace, work: Workload, folder: Path, found: Contents) -> list[Lesson]:
    """What a search begins with that another has learnt."""
    if not isinstance(work.experiment, HyperparamSearch) or not work.missing:
        return []
    lessons, told = earlier_lessons(None if options.fresh else folder, work.experiment, found)
    if told:
        print(f"warm start: {told}", file=sys.stderr)
    return lessons


def _suggester(
    work: Workload, history: History, folder: Path, lessons: Sequence[Lesson]
) -> AbstractContextManager[Suggester | None]:
    """What supplies the points of a search that still lacks some."""
    return Suggester(work, history, folder / SUGGESTIONS_LOG, lessons) if work.missing else nullcontext()


def _tell_what_is_kept(folder: Path, experiment: Experiment) -> None:
    """On stderr, and in summary.json where the run had come to have results."""
    said = "no trial had started"
    if (folder / EXPERIMENT).exists():
        counts = leave_summary(folder, experiment, read_entries(folder)).counts
        said = f"{counts.done} of {counts.total} trials are kept in {folder}"
    print(f"stopped: {said}; run the same command again to go on", file=sys.stderr)


def _require_sound(file: Path, work: Workload, records: Sequence[Record]) -> None:
    """Raises InvalidExperiment where the file says what its author can't mean; one that has begun is warned."""
    found = [f"{file}: {doubt}" for doubt in work.doubts]
    wanted = work.by_id.keys()
    if found and not any(record.id in wanted for record in records):
        raise InvalidExperiment(found)
    for doubt in found:
        print(f"warning: {doubt}", file=sys.stderr)


def _warn(work: Workload, options: argparse.Namespace) -> None:
    """What the file or the command asks for, and gets otherwise than it may seem."""
    told = [f"{options.file}: {sentence}" for sentence in work.ignored]
    if elsewhere := _counts_elsewhere(work.experiment):
        told.append(f"{options.file}: on a cluster only, and not here, counts {', '.join(elsewhere)}")
    told += _crowded(work.samples, options.jobs) if options.launcher == "local" else []
    for sentence in told:
        print(f"warning: {sentence}", file=sys.stderr)


def _counts_elsewhere(experiment: Experiment) -> list[str]:
    """The fields from which a user may expect something here in vain, and what counts in their place.

    parallelTrials, which many files have, only beside another one.
    """
    spec, found = experiment.spec, []
    if spec.pod.image is not None:
        found.append(f"spec.pod.image (trials run with the trainer that is installed, not with {spec.pod.image})")
    for name, given in (("env", spec.pod.env), ("envFrom", spec.pod.env_from)):
        if given:
            found.append(f"spec.pod.{name} (trials have the environment of this command)")
    if spec.pod.volumes:
        found.append("spec.pod.volumes (trials have the files of this machine)")
    if spec.suspend:
        found.append("spec.suspend (trials start)")
    if isinstance(experiment, HyperparamSearch) and experiment.spec.baseline == "Measure":
        found.append("spec.baseline (run again with --jobs 1 and another --out, and `compare` the two)")
    if found and "parallel_trials" in spec.model_fields_set:
        found.append("spec.parallelTrials (--jobs says)")
    return found


def _fitting(experiment: Experiment, trials: Sequence[Trial]) -> int:
    """How many trials this machine has room for that don't slow each other down.

    By its cores or, where trials use them, its GPUs. Cells of a scale test are measured one by one.
    """
    if isinstance(experiment, ScaleTest):
        return 1
    workers = max(trial.workers for trial in trials)
    if experiment.spec.program is not None:
        gpus = len(devices())
    else:  # of Trialrun's trainer all use the first
        gpus = 1 if devices() and any(trial.training.train.device != "CPU" for trial in trials) else 0
    if gpus:
        return max(1, gpus // workers)
    return max(1, cores() // max(trial.workers * (trial.threads or 1) for trial in trials))


def _crowded(trials: Sequence[Trial], jobs: int) -> Iterator[str]:
    """A sentence where trials that run at once have more threads than there are cores, as their records say too."""
    threads = max(trial.workers * (trial.threads or 1) for trial in trials)
    if jobs * threads <= cores():
        return
    fit = cores() // threads
    mend = f"--jobs {fit} leaves each its own" if fit else "lower workers or train.threads"
    what = "workers x train.threads" if trials[0].threads is not None else "one for each worker, if not more"
    yield (
        f"--jobs {jobs}: {_count(jobs, 'trial')} of {_count(threads, 'thread')} ({what}) need "
        f"{_count(jobs * threads, 'core')}, and {cores()} may be used, so they slow each other down and their times "
        f"say little; {mend}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _launcher(
    options: argparse.Namespace, experiment: Experiment, todo: Sequence[Trial], log: Path, files: ProgramFiles | None
) -> AbstractContextManager[Launcher]:
    """What starts the trials of any other run: a scale test's each from nothing and within its limits."""
    if files is not None:
        return Programs(experiment, files, options.jobs, log)
    if isinstance(experiment, ScaleTest):
        from trainer.local.cells import Cells

        return Cells(experiment.spec.cell, todo, default_cache(), log)
    from trainer.spark.launcher import Spark

    return Spark(default_cache(), log, options.jobs * max((trial.workers for trial in todo), default=1))


def _packer(
    options: argparse.Namespace, work: Workload, todo: Sequence[Trial], launcher: Launcher
) -> "Packer | None":
    """What has trials train together, where the search asks for it; what it can't is said on stderr."""
    experiment = work.experiment
    if not isinstance(experiment, HyperparamSearch) or experiment.spec.packing == "None":
        return None
    from trainer.local.packer import Packer, what_is_packed
    from trainer.local.processes import Processes

    why = none_packed(work)
    if why is not None or not isinstance(launcher, Processes):
        why = why or f"--launcher {options.launcher} starts each trial by itself"
        print(f"packing: nothing is packed: {why}", file=sys.stderr)
        return None
    packer = Packer(launcher, options.jobs, in_order=experiment.spec.budget is not None)
    told: Iterable[str] = what_is_packed(todo, packer)
    if work.points is not None:
        told = [f"the {experiment.spec.repeats} repeats of a point can train together"]
    for sentence in told:
        print(f"packing: {sentence}", file=sys.stderr)
    return packer


def _log_name(options: argparse.Namespace) -> str:
    """What the process that starts trials says goes there."""
    return LOGS["program" if options.experiment.spec.program is not None else options.launcher]


def _program_content(experiment: Experiment, files: ProgramFiles) -> Contents:
    """What a program's results will rest on, once it is known that it can be started."""
    if isinstance(experiment, ScaleTest) and experiment.spec.cell.memory_above_floor is not None:
        raise UserError(
            "spec.cell.memoryAboveFloor: must be left out here with a program, whose floor a cluster measures, got "
            f"{experiment.spec.cell.memory_above_floor}; give memoryLimit"
        )
    files.require_startable()
    return {(key, ()): told for key, told in files.content(lambda what: print(f"{what} …", file=sys.stderr)).items()}


def build_data(trials: Sequence[Trial], ready: Sequence[Path] = ()) -> Contents:
    """Builds the data sets of the trials, so that a mistake in them is told once and before anything runs.

    Returns the content of each.

    Those in the caches `ready` are taken as they are. Where only some trials lack theirs it is a result of those
    trials, and the others run.

    Raises:
        DataUnavailable: no trial can have its data.
    """
    from trainer.data.build import prepare
    from trainer.data.concerns import kept
    from trainer.data.dataset import open_dataset

    wanted = {
        canonical(trial.training.data.document(sparse=True)): trial
        for trial in trials
        if trial.training.data.source != "kafka"  # each trial reads its topic itself
    }
    found: dict[tuple[str, Fields], str] = {}
    told: dict[str, None] = {}
    mistakes = []
    for trial in wanted.values():
        try:
            dataset = open_dataset(prepare(trial.training.data, default_cache(), ready=ready))
            found[DATA, content_fields(trial)] = dataset.manifest.content
            told |= dict.fromkeys(kept(dataset.path))
        except DataUnavailable as error:
            mistakes.append(error)
    if mistakes and len(mistakes) == len(wanted):
        raise mistakes[0]
    for concern in told:
        print(f"warning: {concern}", file=sys.stderr)
    return found


def require_same_content(folder: Path, trials: Sequence[Trial], records: Iterable[Record], found: Contents) -> None:
    """Raises UserError where what results rest on is not what it was for the first record of the folder."""
    by_id = {trial.id: trial for trial in trials}
    first = contents((by_id[record.id], record) for record in records if record.id in by_id)
    changed = sorted(chosen for chosen in first.keys() & found.keys() if first[chosen] != found[chosen])
    if changed:
        key, fields = changed[0]
        where, what = {INPUTS: ("spec.program.inputs", "data"), CODE: ("spec.program.command", "code")}.get(key) or (
            next(_data_of(trial) for trial in trials if content_fields(trial) == fields), "data"
        )  # fmt: skip
        raise UserError(
            f"{where}: the {what} has changed since the first trial of {folder} (content {first[changed[0]]} then, "
            f"{found[changed[0]]} now), so further trials could not be compared with its results; put the old {what} "
            "back, give this run a folder of its own with --out, or run all anew with --fresh"
        )


def _data_of(trial: Trial) -> str:
    data = trial.training.data
    return data.path or f"data.source {data.source}"
