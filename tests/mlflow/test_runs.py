"""Runs here are told to a real MLflow server: each trial once, with what the ledger says, whatever is killed."""

import json
import os
import random
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Sweep
from eventually import eventually
from local.cli import command, descendants, environment, write_search
from local.test_programs import a_search
from mlflow.server import PYTHON, Run, Server
from trainer.experiment.expand import expand
from trainer.experiment.record import Record, encode, latest
from trainer.local.ledger import read_ledger
from trainer.tracking.address import Address
from trainer.tracking.client import Mlflow
from trainer.tracking.follower import Follower
from unit.builders import a_record, an_experiment

MANY = 600
SCRIPT = """
import time
import trialrun
trial = trialrun.trial()
for step in range(6):
    time.sleep(0.03)
    trial.report(step, loss=trial.parameters["x"] + 0.1 * step, width=2.0**-step)
"""


def a_name() -> str:
    """An experiment's name that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}"


def a_program(folder: Path, script: str = SCRIPT, *, name: str, trials: int = 4, **spec: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(script)
    parameters = [{"name": "x", "choices": list(range(trials))}]
    whole = {"parameters": parameters, "maxFailedTrials": 1000} | spec
    return a_search(folder, ["python", "train.py"], name=name, **whole)


def tracked(server: Server, **more: str) -> dict[str, str]:
    return environment() | {"MLFLOW_TRACKING_URI": server.url} | more


def ran(file: Path, env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    out = file.parent / "out"
    return subprocess.run(
        command("run", file, "--out", out, "--jobs", "2", *options),
        cwd=file.parent, env=env, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def told(file: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs it until MLflow has all of it, as its last line says: a server beside many tests may take its time."""

    def all_told() -> subprocess.CompletedProcess[str] | None:
        done = ran(file, env)
        assert done.returncode == 0, done.stderr
        return done if "MLflow has " in done.stderr else None

    return eventually(all_told)


def reported(folder: Path, trial: str) -> dict[str, list[tuple[int, float]]]:
    """What a program has reported, by metric."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in (folder / "trials" / trial / "reports.jsonl").read_text().splitlines():
        report = json.loads(line)
        for name, value in report["metrics"].items():
            curves.setdefault(name, []).append((report["step"], value))
    return curves


def assert_told(server: Server, name: str, folder: Path, note: str = "") -> dict[str, Run]:
    """MLflow has the experiment once, and each trial of the ledger once, as it is there; gives them by trial."""
    runs = server.runs(name)
    records = latest(read_ledger(folder))
    assert Counter(run.trial for run in runs) == dict.fromkeys(["", *records], 1), note
    by_trial = {run.trial: run for run in runs}
    for trial, record in records.items():
        assert_alike(by_trial[trial], record, note)
        assert by_trial[trial].tags["mlflow.parentRunId"] == by_trial[""].id, note
    return by_trial


def assert_alike(run: Run, record: Record, note: str = "") -> None:
    assert run.params == {key: str(value) for key, value in record.parameters.items()}, note
    assert {key: run.metrics[key] for key in record.metrics} == record.metrics, note
    assert (run.started, run.ended) == (record.started_at, record.finished_at), note
    assert run.tags["trialrun.outcome"] == record.outcome, note
    assert run.tags["trialrun.attempt"] == str(record.attempt), note


def test_a_run_is_told_with_all_that_it_measured(server: Server, tmp_path: Path) -> None:
    name = a_name()
    done = told(a_program(tmp_path, name=name), tracked(server))
    runs = assert_told(server, name, tmp_path / "out")
    parent = runs.pop("")
    assert (parent.name, parent.status) == (name, "FINISHED")
    assert parent.metrics == {"best_loss": json.loads((tmp_path / "out/summary.json").read_text())["best"]["value"]}
    page = f"{server.url}/#/experiments/{server.experiment(name)}/runs?workflowType=machine_learning"
    assert f"MLflow has all 4 trials: {page}" in done.stderr
    assert sorted(run.name for run in runs.values()) == [f"trial {index}" for index in range(4)]
    for trial, run in runs.items():
        assert run.status == "FINISHED"
        curves = reported(tmp_path / "out", trial)
        assert {metric: server.curve(run, metric) for metric in curves} == curves


def test_a_rerun_that_trains_nothing_changes_nothing_and_tells_what_was_missing(
    own_server: Server, tmp_path: Path
) -> None:
    name = a_name()
    file = a_program(tmp_path, name=name)
    own_server.end()
    done = ran(file, tracked(own_server))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: MLflow at") == 2, "as it begins, and what was not told as it ends"
    assert "4 of 4 trials could not be told: it gave no answer (Connection refused)" in done.stderr
    assert "the same command again tells the rest" in done.stderr
    own_server.start()
    told(file, tracked(own_server))
    before = assert_told(own_server, name, tmp_path / "out")
    for trial, run in before.items():
        if trial:
            curves = reported(tmp_path / "out", trial)
            assert {metric: own_server.curve(run, metric) for metric in curves} == curves
    told(file, tracked(own_server))
    assert assert_told(own_server, name, tmp_path / "out") == before


def test_a_trial_that_is_tried_again_is_told_as_its_latest_attempt(server: Server, tmp_path: Path) -> None:
    name = a_name()
    script = SCRIPT + "import pathlib\nif not pathlib.Path('mended').exists(): raise SystemExit('no luck')\n"
    file = a_program(tmp_path, script, name=name, trials=2)
    assert ran(file, tracked(server)).returncode == 1
    first = assert_told(server, name, tmp_path / "out")
    failed = {run.status for trial, run in first.items() if trial}
    assert failed == {"FAILED"}
    assert all("exit code 1" in run.tags["trialrun.error"] for trial, run in first.items() if trial)
    (tmp_path / "mended").touch()
    told(file, tracked(server))
    second = assert_told(server, name, tmp_path / "out")
    assert {run.tags["trialrun.attempt"] for trial, run in second.items() if trial} == {"2"}
    for trial, run in second.items():
        if trial:
            assert server.curve(run, "loss") == reported(tmp_path / "out", trial)["loss"], "of one attempt"
    assert (first[""].id, first[""].status, second[""].status) == (second[""].id, "FAILED", "FINISHED")


def test_what_is_interrupted_ends_in_mlflow_too_and_goes_on(server: Server, tmp_path: Path) -> None:
    name = a_name()
    script = (
        "import pathlib, time, trialrun\nt = trialrun.trial()\nt.report(0, loss=1.0)\n"
        "if t.parameters['x'] and not pathlib.Path('hurry').exists(): time.sleep(600)\n"
    )
    file = a_program(tmp_path, script, name=name, trials=2)
    process = subprocess.Popen(
        command("run", file, "--out", tmp_path / "out"), cwd=tmp_path, env=tracked(server),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    both = {name: "RUNNING", "trial 1": "RUNNING"}
    eventually(lambda: {run.name: run.status for run in server.runs(name) if run.name in both} == both)
    process.send_signal(signal.SIGINT)
    assert "1 of 2 trials are kept" in process.communicate(timeout=120)[1]
    assert {run.name: run.status for run in server.runs(name)} == {
        name: "KILLED", "trial 0": "FINISHED", "trial 1": "KILLED",
    }  # fmt: skip
    (tmp_path / "hurry").touch()
    told(file, tracked(server))
    assert_told(server, name, tmp_path / "out")


@pytest.mark.torture
def test_every_trial_is_told_once_after_ten_kills_of_the_runner_and_of_what_follows_it(
    server: Server, tmp_path: Path, sweep: Sweep, say: Callable[[str], None]
) -> None:
    for seed in sweep.seeds(sample=1, full=10):
        chance, name, folder = random.Random(seed), a_name(), tmp_path / str(seed)
        file, env = a_program(folder, name=name, trials=12), tracked(server)
        for number in range(10):
            process = subprocess.Popen(
                command("run", file, "--out", folder / "out", "--jobs", "2"), cwd=folder, env=env,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            time.sleep(chance.uniform(0.5, 4.0))
            if number % 2:  # what follows it dies first, or alone
                for pid in descendants(process.pid):
                    if b"trainer.tracking" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(pid, signal.SIGKILL)
                time.sleep(chance.uniform(0.0, 1.0))
            process.kill()
            process.wait()
        done = told(file, env)
        runs = assert_told(server, name, folder / "out", f"seed {seed}: {done.stderr}")
        for trial, run in runs.items():
            if trial:
                curves = reported(folder / "out", trial)
                assert {metric: server.curve(run, metric) for metric in curves} == curves, f"seed {seed}, {trial}"
        say(f"  seed {seed}: {len(runs) - 1} trials, each once, after 10 kills")


def test_epochs_of_our_trainer_are_told_as_it_wrote_them_down(server: Server, tmp_path: Path) -> None:
    file = write_search(tmp_path, rates=[0.01], epochs=4)
    told(file, tracked(server, MLFLOW_EXPERIMENT_NAME="épochs / <b> ’"))
    runs = assert_told(server, "épochs / <b> ’", tmp_path / "out")
    ((trial, run),) = [(trial, run) for trial, run in runs.items() if trial]
    rows = [json.loads(line) for line in (tmp_path / f"out/trials/{trial}/history.jsonl").read_text().splitlines()]
    assert server.curve(run, "trainLoss") == [(row["epoch"], row["trainLoss"]) for row in rows]
    final = read_ledger(tmp_path / "out")[0].metrics["validMse"]
    assert server.curve(run, "validLoss") == [(row["epoch"], row["validLoss"]) for row in rows]
    assert server.curve(run, "validMse")[-1] == (4, final), "that of the best epoch"


def test_what_is_no_number_and_names_that_mlflow_refuses_are_told(server: Server, tmp_path: Path) -> None:
    name = a_name()
    script = (
        "import trialrun\nt = trialrun.trial()\n"
        "t.report(0, {'val//loss': float('nan'), 'up': float('inf')}, loss=3.0)\n"
        "t.report(2**40, {'val//loss': 1.0, 'a/../b': 2.0}, loss=2.0)\n"
    )
    file = a_program(
        tmp_path, script, name=name, parameters=[{"name": "x", "choices": ["</script>" + "ש" * 1000]}]
    )  # fmt: skip
    told(file, tracked(server))
    (run,) = [run for run in server.runs(name) if run.trial]
    assert run.params == {"x": "</script>" + "ש" * 1000}
    assert (run.metrics["val::loss"], run.metrics["a:..:b"], run.metrics["loss"]) == (1.0, 2.0, 2.0)
    first, second = server.curve(run, "val::loss")
    assert (str(first), second) == ("(0, nan)", (2**40, 1.0))
    assert server.curve(run, "up")[0][1] > 1e308


def test_mlflows_own_client_finds_a_search_as_its_users_do(server: Server, tmp_path: Path) -> None:
    name = a_name()
    told(a_program(tmp_path, name=name), tracked(server))
    script = (
        "import mlflow, json, sys\n"
        "runs = mlflow.search_runs(experiment_names=[sys.argv[1]], order_by=['metrics.loss ASC'],\n"
        "    filter_string=\"tags.`mlflow.parentRunId` LIKE '%' and attributes.status = 'FINISHED'\")\n"
        "print(runs[['tags.mlflow.runName', 'params.x', 'metrics.loss', 'metrics.width']].to_json(orient='values'))\n"
    )
    found = subprocess.run(
        [PYTHON, "-c", script, name], env=os.environ | {"MLFLOW_TRACKING_URI": server.url}, capture_output=True,
        text=True, check=True, timeout=300,
    ).stdout  # fmt: skip
    records = sorted(read_ledger(tmp_path / "out"), key=lambda record: record.metrics["loss"])
    assert json.loads(found.strip().splitlines()[-1]) == [
        [f"trial {each.index}", str(each.parameters["x"]), each.metrics["loss"], each.metrics["width"]]
        for each in records
    ]


def test_of_two_that_tell_of_one_run_at_once_each_trial_stays_once(server: Server, tmp_path: Path) -> None:
    """As it is where a request was carried out whose sender was killed: a copied folder has the same id."""
    name = a_name()
    file = a_program(tmp_path, name=name)
    assert ran(file, environment()).returncode == 0
    (tmp_path / "out/tracking.json").write_text(json.dumps({"run": str(uuid.uuid4())}))
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", tmp_path / "out", copy], check=True)
    both = [
        subprocess.Popen(
            command("run", file, "--out", out), cwd=tmp_path, env=tracked(server), stderr=subprocess.PIPE
        )
        for out in (tmp_path / "out", copy)
    ]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    told(file, tracked(server))
    assert_told(server, name, tmp_path / "out")


def test_a_run_that_starts_over_is_another_run_for_mlflow(server: Server, tmp_path: Path) -> None:
    name = a_name()
    file = a_program(tmp_path, name=name, trials=1)
    told(file, tracked(server))
    first = {run.id for run in server.runs(name)}
    ran(file, tracked(server), "--fresh")
    told(file, tracked(server))
    assert len(server.runs(name)) == 4
    assert first < {run.id for run in server.runs(name)}


def test_more_trials_than_an_answer_of_mlflows_has_are_told_once(
    server: Server, tmp_path: Path, say: Callable[[str], None]
) -> None:
    name = a_name()
    rate = {"name": "train.learningRate", "range": {"min": 0.001, "max": 1.0}}
    search = an_experiment(name=name, parameters=[rate], algorithm="Random", trials=MANY)
    (tmp_path / ".trialrun").touch()
    (tmp_path / "experiment.json").write_text(json.dumps(search.document(sparse=True)))
    lines = [encode(a_record(trial, value=trial.index / 7)) + "\n" for trial in expand(search)]
    (tmp_path / "results.jsonl").write_text("".join(lines))
    for changed in (MANY + 1, 0):
        began = time.monotonic()
        follower = Follower(Mlflow(Address(server.url), 120.0), tmp_path, name, {})
        follower.finish(lambda: None)
        say(f"  {MANY} trials, {changed} runs to change: {time.monotonic() - began:.1f} s")
        assert (follower.changed, follower.left) == (changed, 0)
    assert_told(server, name, tmp_path)


def test_nothing_is_told_and_left_where_no_server_is_named(tmp_path: Path) -> None:
    done = ran(a_program(tmp_path, name=a_name(), trials=1), environment())
    assert done.returncode == 0
    assert "MLflow" not in done.stderr
    assert not list((tmp_path / "out").glob("tracking*"))
