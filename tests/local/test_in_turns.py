"""A program's trials one after another in a pod, told as the operator tells it: the same figures as of a run here."""

import ast
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eventually import eventually
from local.cli import ROOT, alive, descendants, environment
from trainer.experiment import moments
from trainer.experiment.baseline import figures, rests_on
from trainer.experiment.expand import expand
from trainer.experiment.judge import Times, judge, make_record
from trainer.experiment.outcome import Outcome
from trainer.experiment.program import Invocation
from trainer.experiment.record import (
    MAX_REPORT_BYTES,
    Environment,
    RankReport,
    Record,
    RunFigures,
    Seconds,
    decode_report,
    hash_number,
)
from trainer.experiment.spec import HyperparamSearch
from trainer.experiment.suggestion import Suggestion
from trainer.local.ledger import Ledger
from trainer.local.program_files import ProgramFiles
from trainer.local.programs import Programs
from trainer.local.run import now, run
from trainer.scheduling.history import History
from trainer.scheduling.workload import Workload, one_at_a_time
from trialrun_operator import in_turns
from trialrun_operator.orders import FILES, MESSAGE_PATH, Code, Known, order, program_document
from trialrun_operator.workload import workload
from unit.builders import Silent
from unit.objects import observed, pod_document

UID = "5f0c6f0e-0000-4000-8000-000000000001"
SCRIPT = ROOT / "operator/trialrun_operator/in_turns.py"
REPORT = """printf '{"step": %s, "metrics": {"loss": %s}}\\n' """
OF = """printf '{"metrics": {"loss": 1}, "process":"""
TO = """ >> "$TRIALRUN_REPORTS"\n"""


def a_search(command: list[str], **spec: Any) -> dict[str, Any]:
    """A search over x of a program, as a file has it."""
    program = {"command": command} | spec.pop("program", {})
    whole = {
        "objective": {"metric": "loss", "direction": "Minimize"},
        "parameters": [{"name": "x", "choices": [1, 2, 3]}],
        "program": program,
        "baseline": "Measure",
        "maxFailedTrials": 1000,
    }
    return {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "HyperparamSearch",
        "metadata": {"name": "programs"},
        "spec": whole | spec,
    }


def sh(script: str, *words: str) -> list[str]:
    return ["sh", "-c", script, "sh", *(words or ("${parameters.x}",))]


def told(at: Path, work: Workload, known: Known | None = None, **changed: Any) -> list[str]:
    """The command of a baseline's pod, whose files and message lie in a folder; `changed` is of what it is told."""
    assert work.baseline is not None
    made = order(work, UID, work.baseline, 2, known or Known())
    at.mkdir(parents=True, exist_ok=True)
    for name, content in made.files.items():
        (at / name).write_bytes(content)
    if changed:
        trials = at / "trials.json.gz"
        trials.write_bytes(
            gzip.compress(json.dumps(json.loads(gzip.decompress(trials.read_bytes())) | changed).encode())
        )
    (at / "message").touch()
    words = [word.replace(FILES, str(at)).replace(MESSAGE_PATH, str(at / "message")) for word in made.command]
    return [sys.executable, *words[1:]]


def told_of(work: Workload) -> dict[str, Any]:
    """What the script is told of a search."""
    assert work.baseline is not None
    made = order(work, UID, work.baseline, 1, Known())
    found: dict[str, Any] = json.loads(gzip.decompress(made.files["trials.json.gz"]))
    return found


def variables(folder: Path) -> dict[str, str]:
    """The environment of the pod's container, whose /tmp is in the folder."""
    (folder / "tmp").mkdir(exist_ok=True)
    return environment() | {"TMPDIR": str(folder / "tmp")}


def measure(at: Path, document: dict[str, Any], known: Known | None = None, **changed: Any) -> RankReport:
    """What a baseline's pod reports, which ended well."""
    command = told(at, workload(document), known, **changed)
    done = subprocess.run(command, cwd=at, env=variables(at), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = decode_report((at / "message").read_bytes())
    assert (report.outcome, report.provisional, report.error) == (Outcome.SUCCEEDED, False, "")
    return report


def run_of(report: RankReport) -> RunFigures:
    assert report.run is not None
    return report.run


def here(folder: Path, document: dict[str, Any]) -> tuple[RunFigures, dict[str, float]]:
    """The figures of a run of the same search on this machine, one trial at a time, and what its results rest on."""
    folder.mkdir()
    work = workload(document)
    program = work.experiment.spec.program
    assert program is not None
    with (
        Ledger(folder) as ledger,
        Programs(work.experiment, ProgramFiles(program, folder / "search.yaml"), 1, folder / "log") as launcher,
    ):
        launcher.await_ready(print)
        records = run(
            work,
            History(work, {}, now()),
            folder=folder,
            jobs=1,
            ledger=ledger,
            launcher=launcher,
            progress=Silent(),  # type: ignore[arg-type]
        )
    found = figures(work.experiment, work.trials, records)
    assert found is not None
    hashes = rests_on(work.experiment, work.trials, records)
    return found, {f"{key}Hash": hash_number(text) for key, text in hashes.items()}


TIMELESS = ("trials", "digest", "seeds", "workers", "most_at_once", "outcomes", "best_id", "best_value")
SEED = """seed=$(printf %s "$TRIALRUN_TRIAL" | sed 's/.*"seed":\\([0-9]*\\).*/\\1/'); """
# What a program may do that is told the value $2, in a shell.
ACTS = {
    "reports": f"""{REPORT} 1 "$2$seed" {TO}""",
    "reports twice": f"""{REPORT} 1 17 {TO} {REPORT} 2 "$2" {TO}""",
    "reports half a line more": f"""{REPORT} 1 17 {TO} {REPORT} 2 "$2" {TO} printf '{{"st' {TO} exit 3""",
    "has other data": f"""printf '{{"metrics": {{"loss": %s}}, "restsOn": {{"data": "other"}}}}' "$2" {TO}""",
    "has some data": f"""printf '{{"metrics": {{"loss": %s}}, "restsOn": {{"data": "some"}}}}' "$2" {TO}""",
    "is validated on this": f"""printf '{{"metrics": {{"loss": %s}}, "restsOn": {{"validation": "a"}}}}' "$2" {TO}""",
    "is validated on that": f"""printf '{{"metrics": {{"loss": %s}}, "restsOn": {{"validation": "b"}}}}' "$2" {TO}""",
    "says nothing": "true",
    "diverges": f"{REPORT} 1 NaN {TO}",
    "diverges beyond": f"{REPORT} 1 -Infinity {TO}",
    "tells another metric": f"""printf '{{"metrics": {{"other": 1}}}}\\n' {TO}""",
    "writes what is none": f"""printf 'loss: 1\\n' {TO}""",
    "tells an unknown key": f"""printf '{{"metric": {{"loss": 1}}}}\\n' {TO}""",
    "reports from two processes": "".join(
        f"""printf '{{"metrics": {{"loss": 1}}, "process": {number}}}\\n' {TO}""" for number in (1, 2)
    ),
    "crashes": "exit 3",
    "crashes for memory": "echo MemoryError: no more >&2; exit 1",
    "crashes having reported": f"{REPORT} 1 1 {TO} exit 1",
    "misses its data": "exit 65",
    "says that it diverged": f"{REPORT} 1 1 {TO} exit 66",
    "is killed": "kill -9 $$",
    "is aborted": "kill -6 $$",
    "leaves others behind": f"""setsid sleep 9 & sleep 9 & {REPORT} 1 "$2" {TO}""",
}
SCRIPTED = SEED + "case $1 in " + "".join(f'"{name}") {act.strip()} ;;\n' for name, act in ACTS.items()) + "esac"


@st.composite
def searches(draw: st.DrawFn) -> dict[str, Any]:
    acts = draw(st.lists(st.sampled_from([*ACTS]), min_size=1, max_size=3, unique=True))
    usual = draw(st.sampled_from(["reports", *acts]))
    values = draw(st.lists(st.sampled_from([-3.0, -1.5, 0.0, 0.25, 2.5, 1e15]), min_size=1, max_size=3, unique=True))
    constraints = draw(st.sampled_from([[], [], [], [{"metric": "loss", "atMost": 1}]]))
    return a_search(
        sh(SCRIPTED, "${parameters.act}", "${settings.deep.value}"),
        parameters=[
            {"name": "act", "choices": list({*acts, usual})},
            {"name": "deep.value", "choices": values, "when": {"act": usual}},
        ],
        program={"settings": {"deep": {"value": 7, "other": "ünïcode"}}},
        repeats=draw(st.integers(1, 2)),
        order=draw(st.sampled_from(["Listed", "Shuffled"])),
        seed=draw(st.integers(0, 3)),
        objective={"metric": "loss", "direction": draw(st.sampled_from(["Minimize", "Maximize"]))},
        **({"constraints": constraints} if constraints else {}),
    )


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(searches())
def test_its_figures_are_those_of_a_run_here(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("search")
    report = measure(folder / "pod", document)
    ours, (theirs, hashes) = run_of(report), here(folder / "here", document)
    expected = {name: getattr(theirs, name) for name in TIMELESS}
    if "constraints" in document["spec"]:
        expected |= {"best_id": None, "best_value": None}
    assert {name: getattr(ours, name) for name in TIMELESS} == expected
    assert report.metrics == hashes


@st.composite
def ledgers(draw: st.DrawFn) -> tuple[dict[str, Any], list[Record]]:
    """A search, and the records of a run of it, in the order in which they ended."""
    document = a_search(
        ["train"],
        parameters=[{"name": "x", "choices": [1, 2, 3, 4]}],
        repeats=draw(st.integers(1, 3)),
        objective={
            "metric": draw(st.sampled_from(["loss", "totalSeconds"])),
            "direction": draw(st.sampled_from(["Minimize", "Maximize"])),
        },
    )
    records = list[Record]()
    for trial in draw(st.permutations(workload(document).trials)):
        succeeded = draw(st.sampled_from([True, True, True, False]))
        told = {
            key: draw(st.sampled_from(["0123456789ab", "0123456789ab", "fedcba987654", None])) for key in EVIDENCE
        }
        seconds = draw(st.integers(1, 3))
        began = records[-1].finished_at if records else 1000
        records.append(
            Record(
                id=trial.id,
                index=trial.index,
                seed=trial.seed,
                outcome=Outcome.SUCCEEDED
                if succeeded
                else draw(st.sampled_from([Outcome.CRASHED, Outcome.DIVERGED])),
                evidence={key: text for key, text in told.items() if text is not None},
                metrics={"loss": draw(st.sampled_from([0.1, 0.2, 0.30000000000000004, 1e308, -1e308]))},
                seconds=Seconds(total=float(seconds)),
                environment=Environment(threads=draw(st.integers(1, 2))),
                accepted_at=1000,
                started_at=began,
                finished_at=began + 1000 * seconds,
            )
        )
    return document, records[: draw(st.integers(1, len(records)))]


EVIDENCE = ("data", "validation", "inputs", "code")


@given(ledgers())
def test_what_it_makes_of_trials_is_what_is_made_of_their_records(
    given_: tuple[dict[str, Any], list[Record]],
) -> None:
    document, records = given_
    work = workload(document)
    known = told_of(work)
    ours = [
        {
            "id": record.id, "index": record.index, "seed": record.seed, "seconds": record.seconds.total,
            "finished": record.finished_at, "outcome": str(record.outcome), "metrics": record.metrics,
            "environment": {"threads": record.environment.threads}, "evidence": record.evidence,
        }
        for record in records
    ]  # fmt: skip
    found = in_turns.report(known, ours, 1000, provisional=False)
    report = RankReport.model_validate_json(json.dumps(found))
    assert report.run is not None
    theirs = figures(work.experiment, work.trials, records)
    assert theirs is not None
    assert report.run.model_copy(update={"environments": ()}) == theirs.model_copy(update={"environments": ()})
    assert sorted(map(str, report.run.environments)) == sorted(map(str, theirs.environments))
    hashes = rests_on(work.experiment, work.trials, records)
    assert report.metrics == {f"{key}Hash": hash_number(text) for key, text in hashes.items()}


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
@example([0.1, 0.2, 0.2])
@example([1.7e308, 1.7e308])
def test_its_means_are_those_of_the_summary(values: list[float]) -> None:
    assert in_turns.mean(values) == moments.mean(values)


def as_a_pod(folder: Path, work: Workload) -> Any:
    """How the first trial ends in a pod: its program is run here, and a kubelet would have told what it left."""
    (trial, *_), reports, log = work.trials, folder / "reports", folder / "log"
    assert isinstance(trial.runs, Invocation)
    told = json.loads(program_document(work, UID, trial, trial.runs, 1, Known())) | {"reports": str(reports)}
    reports.touch()
    seen = environment() | {"TRIALRUN_TRIAL": json.dumps(told), "TRIALRUN_REPORTS": str(reports)} | trial.runs.env
    with log.open("wb") as file:
        done = subprocess.run(trial.runs.command, env=seen, stdout=file, stderr=file, check=False)
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    left = reports.read_bytes()[-MAX_REPORT_BYTES:] or (log.read_bytes()[-2048:] if code else b"")
    terminated = {
        "exitCode": code,
        "message": left.decode(errors="replace"),
        "reason": "Error" if code else "Completed",
    }
    status = {"containerStatuses": [{"name": "pytorch", "state": {"terminated": terminated}}],
              "phase": "Failed" if code else "Succeeded"}  # fmt: skip
    pod = observed(pod_document(trial, work=work, **status))
    assert pod.exit is not None
    return pod.exit


@pytest.mark.slow
@pytest.mark.parametrize(
    "act",
    [
        *ACTS.values(),
        f"printf 'loss: 1' {TO} exit 1",
        f"printf 'CUDA out of memory' {TO} exit 1",
        f"{REPORT} 1 1 {TO} printf 'no report\n' {TO} exit 1",
        f"printf 'no report\n' {TO} {REPORT} 1 1 {TO} exit 1",
        f"printf 'no report\n' {TO} {REPORT} 1 1 {TO} exit 67",
        f"for i in $(seq 300); do {REPORT} $i $i {TO} done",
        f"printf '{{\"metrics\": {{\"loss\": 1, \"%05000d\": 2}}}}' 0 {TO}",
        f"""printf '{{"metrics": {{"loss": 1}}, "read": ["x"], "naive": {{"loss": 2}}, "clock": 17}}' {TO}""",
        f"""printf '{{"metrics": {{"loss": 1}}, "step": 1.5}}' {TO}""",
        f"""printf '{{"metrics": {{"loss": 1}}, "step": -1}}' {TO}""",
        f"""printf '{{"metrics": {{"loss": true}}}}' {TO}""",
        f"""printf '{{"metrics": {{"loss": "1"}}}}' {TO}""",
        f"""printf '{{"metrics": {{"loss": 1, "a b": 2}}}}' {TO}""",
        f"""printf '{{"metrics": {{"loss": 1%0400d}}}}' 0 {TO}""",
        f"""printf '{{"metrics": {{"loss": 1}}, "restsOn": {{"data": ""}}}}' {TO}""",
        f"""printf '{{"metrics": {{"loss": 1}}, "restsOn": {{"code": "x"}}}}' {TO}""",
        f"""printf '{{"metrics": {{"loss": 1}}, "inputs": "x"}}' {TO}""",
        f"""printf '{{"metrics": {{"loss": 1}}, "environment": {{"threads": "4"}}}}' {TO}""",
        f"""printf '{{"metrics": {{"loss": 1}}, "restsOn": {{"data": "\\\\ud800"}}}}' {TO}""",
        f"""printf '[1]\n' {TO}""",
        f"""printf '[%.0s' $(seq 3000) {TO}""",
        f"""printf '{{"error": "it broke"}}\n' {TO} exit 3""",
        f"""{OF} 1}}\n' {TO} printf '{{"error": "another did", "process": 2}}\n' {TO}""",
        f"""{OF} 1}}\n' {TO} printf '{{"error": "another did", "metrics": {{"loss": 2}}, "process": 2}}\n' {TO}""",
        f"""printf '{{"error": "RuntimeError: CUDA out of memory."}}\n' {TO} exit 1""",
        "echo 'RuntimeError: CUDA out of memory. Tried'; exit 1",
        "echo MemoryError; echo; echo that was nothing; exit 1",
        "echo 'Traceback (most recent call last):'; echo '  File x'; echo 'MemoryError'; echo; echo more; exit 1",
        "for i in $(seq 200); do echo line; done; echo std::bad_alloc; exit 1",
        "exec nowhere/there",
        "exit 2", "exit 66", "exit 67", "exit 68", "exit 255", "kill -11 $$",
    ],
)  # fmt: skip
def test_a_trial_ends_as_in_a_pod_of_its_own(tmp_path: Path, act: str) -> None:
    document = a_search(sh(SEED + act, "x", "2.5"), parameters=[{"name": "x", "choices": [1]}])
    ours, theirs = run_of(measure(tmp_path, document)), judge([as_a_pod(tmp_path, workload(document))], "loss")
    assert ours.outcomes == {theirs.outcome: 1}, theirs.error


@pytest.mark.parametrize("command", [["nowhere"], ["./nowhere"], ["/etc/passwd"]])
def test_a_command_that_cannot_be_started_is_invalid(tmp_path: Path, command: list[str]) -> None:
    assert run_of(measure(tmp_path, a_search(command))).outcomes == {"InvalidConfig": 3}


def test_each_trial_is_told_what_its_own_pod_was(tmp_path: Path) -> None:
    program = {
        "settings": {"deep": {"a": [1, {"b": None}], "c": "ü"}, "plain": True},
        "env": [{"name": "GIVEN", "value": "${parameters.deep.d} $(HOME) $$ ${settings.deep.a}"}],
        "inputs": ["data.csv"],
    }
    told_to = 'printf "%s\\0" "$TRIALRUN_TRIAL" "$TRIALRUN_REPORTS" "$GIVEN" "$RANK" "$LC_CTYPE" "$@" > "$OUT/$1"'
    document = a_search(
        sh(told_to, "${parameters.x}-${settings.plain}", "${parameters.deep.d}", "$(NOT) ${settings.deep.a}"),
        parameters=[{"name": "x", "choices": [1, "ä b"]}, {"name": "deep.d", "choices": [0.1, 1e-10, True, "t"]}],
        program=program,
        repeats=2,
        seed=7,
    )
    work, known = workload(document), Known(inputs="0123456789ab")
    command = told(tmp_path, work, known)
    seen = {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(tmp_path),
        "RANK": "0",
        "OUT": str(tmp_path),
        "GIVEN": "overridden",
    }
    subprocess.run(command, env=seen, capture_output=True, check=True)
    kept = (tmp_path / f"{x}-true" for x in (1, "ä b"))
    for one in kept:
        order_, reports, given, rank, locale, *words = one.read_bytes().decode().split("\0")[:-1]
        ours = json.loads(order_)
        trial = next(each for each in work.trials if each.id == ours["id"])
        assert isinstance(trial.runs, Invocation)
        alone = json.loads(program_document(work, UID, trial, trial.runs, 2, known))
        where = {"folder", "reports"}
        assert {name: ours[name] for name in ours.keys() - where} == {
            name: alone[name] for name in alone.keys() - where
        }
        assert ours.keys() == alone.keys()
        assert (reports, Path(reports).parent) == (ours["reports"], Path(ours["folder"]).parent)
        assert given == trial.runs.env["GIVEN"]
        assert tuple(words) == trial.runs.command[4:]
        assert (rank, locale) == ("0", ""), "the pod's own environment, and nothing that Python adds to it"


@pytest.mark.slow
def test_out_of_time_it_is_told_to_end_and_then_killed(tmp_path: Path) -> None:
    deaf = "trap '' TERM; while true; do sleep 0.1; done"
    ends = f"{REPORT} 1 1 {TO} trap 'exit 0' TERM; sleep 60 & wait"
    script = f"case $1 in 1) {deaf} ;; 2) {ends} ;; 3) {REPORT} 1 1 {TO} esac"
    report = measure(tmp_path, a_search(sh(script)), deadlineSeconds=1)
    assert run_of(report).outcomes == {"Succeeded": 1, "TimedOut": 2}
    assert 7 < run_of(report).wall < 30


def start(folder: Path, document: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(told(folder, workload(document)), env=variables(folder), stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_whenever_it_is_killed_it_leaves_the_figures_of_what_has_ended(tmp_path: Path, how: signal.Signals) -> None:
    document = a_search(sh(f"{REPORT} 1 $1 {TO} [ $1 = 1 ] || exec sleep 987"))
    process = start(tmp_path, document)
    eventually(lambda: b'"trials":1' in (tmp_path / "message").read_bytes(), what="the first trial has ended")
    eventually(lambda: any("sleep" in Path(f"/proc/{pid}/comm").read_text() for pid in descendants(process.pid)))
    below = descendants(process.pid)
    process.send_signal(how)
    assert process.wait() == (143 if how is signal.SIGTERM else -9)
    report = decode_report((tmp_path / "message").read_bytes())
    assert (report.provisional, run_of(report).trials, run_of(report).outcomes) == (True, 1, {"Succeeded": 1})
    if how is signal.SIGTERM:
        assert not alive(below), "a container's first process takes the others with it, this one is none"
    for pid in alive(below):
        os.kill(pid, signal.SIGKILL)


def test_what_a_trial_leaves_behind_is_ended_before_the_next_one_begins(tmp_path: Path) -> None:
    script = f"""[ -e $OUT/alive ] && kill -0 $(cat $OUT/alive) && exit 3; {REPORT} 1 $1 {TO}
    setsid sh -c 'echo $$ > $OUT/alive; exec sleep 987' & while [ ! -s $OUT/alive ]; do sleep 0.01; done"""
    document = a_search(sh(script), program={"env": [{"name": "OUT", "value": str(tmp_path)}]})
    assert run_of(measure(tmp_path, document)).outcomes == {"Succeeded": 3}


def test_a_trial_during_which_the_kernel_has_killed_for_memory_is_out_of_it(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 3\noom_kill 3\n")
    script = f"[ $1 != 2 ] || {{ echo 'oom_kill 4' > {counter}; kill -9 $$; }}; {REPORT} 1 $1 {TO}"
    command = told(tmp_path, workload(a_search(sh(script))))
    copied = tmp_path / "in_turns.py"
    copied.write_text(copied.read_text().replace("/sys/fs/cgroup/memory.events", str(counter)))
    subprocess.run(command, env=variables(tmp_path), check=True, capture_output=True)
    assert run_of(decode_report((tmp_path / "message").read_bytes())).outcomes == {"HostOOM": 1, "Succeeded": 2}


def test_only_what_has_run_runs_and_a_point_of_which_a_repeat_has_not_is_never_best(tmp_path: Path) -> None:
    document = a_search(sh(f"{REPORT} 1 $1 {TO}"), repeats=2, order="Shuffled")
    trials = workload(document).trials
    ran = [trial.id for trial in trials[1:]]
    report = measure(tmp_path, document, Known(ran=[*ran, "baseline"]))
    assert (run_of(report).trials, run_of(report).best_id) == (5, trials[2].id)


def test_several_workers_trials_are_those_of_one_worker_which_has_as_long_as_all(tmp_path: Path) -> None:
    document = a_search(sh(f"{REPORT} 1 $1 {TO}"), workers=2, deadlineSeconds=40, algorithm="TPE", trials=2)
    work = workload(document, [Suggestion(number=0, parameters={"x": 2}), Suggestion(number=1, parameters={"x": 3})])
    command = told(tmp_path, work)
    subprocess.run(command, env=variables(tmp_path), check=True, capture_output=True)
    search = work.experiment
    assert isinstance(search, HyperparamSearch)
    alone = expand(one_at_a_time(search), [{"x": 2}, {"x": 3}])
    report = run_of(decode_report((tmp_path / "message").read_bytes()))
    assert (report.workers, report.trials, report.best_id) == (1, 2, alone[0].id)
    assert alone[0].id != work.trials[0].id
    assert json.loads(gzip.decompress((tmp_path / "trials.json.gz").read_bytes()))["deadlineSeconds"] == 80


LEAVES = """
import trialrun
trial = trialrun.trial()
assert not [*trial.folder.iterdir()]
(trial.folder / "weights").touch()
trial.report(loss=1)
"""


def test_an_output_volume_keeps_what_trials_leave_and_each_begins_with_an_empty_folder(tmp_path: Path) -> None:
    document = a_search([sys.executable, "-c", LEAVES])
    output = tmp_path / "output"
    for _ in range(2):
        report = measure(tmp_path, document, folder=str(output))
        assert run_of(report).outcomes == {"Succeeded": 3}
    ids = sorted(trial.id for trial in workload(document).trials)
    assert sorted(str(path.relative_to(output)) for path in output.glob("*/*")) == [f"{each}/weights" for each in ids]
    measure(tmp_path, document)
    left = {path.name for path in (tmp_path / "tmp").glob("*/*")}
    assert left == {"reports"}, "without such a volume nothing is kept"


TELLS = """
import trialrun
trial = trialrun.trial()
trial.rests_on(data="some", validation="more")
trial.loaded()
trial.report(1, loss=trial.parameters["x"])
"""


def test_a_search_and_its_baseline_tell_the_same_of_where_they_ran_and_of_what_they_rest_on(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1,2\n")
    limits = {"cpu": "2", "memory": "1Gi"}
    document = a_search(
        [sys.executable, "-c", TELLS],
        parameters=[{"name": "x", "choices": [1]}],
        program={"inputs": [str(data)], "env": [{"name": "OMP_NUM_THREADS", "value": "3"}]},
        pod={"resources": {"limits": limits}},
    )
    work = workload(document)
    report = measure(tmp_path, document, Known(code=Code("code", "c0de00000000", ("a",))))
    # In its pod's termination message, with the limits that the pod has.
    exit_ = as_a_pod(tmp_path, work)
    assert work.baseline is not None
    terminated = {"exitCode": 0, "message": (tmp_path / "message").read_text(), "reason": "Completed"}
    status = {"containerStatuses": [{"name": "pytorch", "state": {"terminated": terminated}}], "phase": "Succeeded"}
    measured = observed(pod_document(work.baseline, work=work, **status)).exit
    assert measured is not None
    assert measured.report is not None
    (environment_,) = run_of(measured.report).environments
    assert environment_ == exit_.report.environment
    assert (environment_.threads, environment_.cpus, environment_.memory_limit_bytes) == (3, 2.0, 2**30)
    assert environment_.packages["python"]
    record = make_record(work.trials[0], attempt=1, exits=[exit_], metric="loss", times=Times(0, 0, 0))
    record = record.model_copy(update={"evidence": record.evidence | {"code": "c0de00000000"}})
    told_ = rests_on(work.experiment, work.trials, [record])
    assert sorted(told_) == ["code", "data", "inputs", "validation"]
    assert report.metrics == {f"{key}Hash": hash_number(text) for key, text in told_.items()}


def test_inputs_that_are_not_those_of_the_search_are_refused_as_there(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1,2\n")
    document = a_search([sys.executable, "-c", TELLS], program={"inputs": [str(data)]})
    assert run_of(measure(tmp_path, document, Known(inputs="0" * 12))).outcomes == {"DataUnavailable": 3}


def test_environments_that_do_not_fit_a_message_are_left_out(tmp_path: Path) -> None:
    tells = f"""printf '{{"metrics": {{"loss": 1}}, "environment": {{"cpu": "%01000d", "threads": %d}}}}' 0 $1 {TO}"""
    report = measure(tmp_path, a_search(sh(tells), parameters=[{"name": "x", "choices": [1, 2, 3, 4, 5]}]))
    assert (tmp_path / "message").stat().st_size <= MAX_REPORT_BYTES
    assert len(run_of(report).environments) == 3


def test_what_others_wrote_into_the_message_is_overwritten(tmp_path: Path) -> None:
    script = f"{REPORT} 1 $1 {TO} echo garbage >> {tmp_path}/message; head -c 9000 /dev/zero >> {tmp_path}/message"
    assert run_of(measure(tmp_path, a_search(sh(script)))).outcomes == {"Succeeded": 3}
    assert (tmp_path / "message").stat().st_size <= MAX_REPORT_BYTES


def test_what_it_is_not_told_is_an_error_that_says_so(tmp_path: Path) -> None:
    command = told(tmp_path, workload(a_search(sh("true"))))
    (tmp_path / "trials.json.gz").write_bytes(b"no archive")
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 1
    report = decode_report((tmp_path / "message").read_bytes())
    assert (report.outcome, report.error.partition(":")[0]) == (Outcome.CRASHED, "BadGzipFile")


def test_it_is_one_file_of_the_standard_library_in_the_grammar_of_python_3_8() -> None:
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 8))
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    whole = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert plain | whole <= set(sys.stdlib_module_names)
