"""Optuna's dashboard on a run's folder, as a user opens it: its own REST API shows the summary's figures."""

import json
import re
import select
import signal
import socket
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from eventually import eventually
from local.cli import kill, start, trainer
from local.test_programs import a_search
from trainer.__main__ import main
from unit.exported import CASES, many, windows

# Tells two steps, and ends when it may.
SCRIPT = """
import pathlib, sys, time
import trialrun
trial = trialrun.trial()
x = trial.parameters["x"]
for step in (1, 2):
    trial.report(step, loss=(x - 2) ** 2 + 1 / step)
while not pathlib.Path("{gate}").exists():
    time.sleep(0.05)
trial.report(3, loss=(x - 2) ** 2)
"""


class Dashboard:
    """A dashboard that runs, asked by its REST API."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(r"serves (http://127\.0\.0\.1:\d+)/ until it is interrupted\n", line)
        assert found, line
        self.address = found[1]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.address}{path}", timeout=300) as answer:  # noqa: S310 - of ours
            return json.load(answer)

    def refusal(self, request: urllib.request.Request) -> tuple[int, str]:
        with pytest.raises(HTTPError) as refused:
            urllib.request.urlopen(request, timeout=300)  # noqa: S310
        with refused.value as answer:
            return answer.code, json.load(answer)["reason"]

    def study(self, number: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/api/studies/{number}")
        return found

    def states(self) -> dict[str, int]:
        return Counter(trial["state"] for trial in self.study()["trials"])


@contextmanager
def opened(folder: Path) -> Iterator[Dashboard]:
    process = start("dashboard", folder, "--port", "0")
    try:
        yield Dashboard(process)
    finally:
        if process.poll() is None:
            kill(process)


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of a folder: when it was changed, and what it holds."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_it_shows_the_best_the_counts_and_the_importances_of_the_summary(name: str, tmp_path: Path) -> None:
    case = CASES[name]()
    folder, summary = case.leave(tmp_path / "run"), case.summary()
    before = content(folder)
    with opened(folder) as dashboard:
        (listed,) = dashboard.get("/api/studies")["study_summaries"]
        assert listed["study_name"] == case.experiment.name
        study = dashboard.study()
        (shares,) = dashboard.get("/api/studies/0/param_importances")["param_importances"]
    assert {each["name"]: each["importance"] for each in shares} == summary.importance
    if summary.best is None:
        assert study["best_trials"] == []
    else:
        (best,) = study["best_trials"]
        assert best["values"] == [summary.best.value]
        assert {"key": "index", "value": str(summary.best.index)} in best["user_attrs"]
    if case.experiment.spec.repeats == 1:
        states = Counter(trial["state"] for trial in study["trials"])
        assert (states["Complete"], states["Fail"], states["Pruned"]) == (
            summary.counts.succeeded, summary.counts.failed, summary.counts.stopped
        )  # fmt: skip
        assert len(study["trials"]) == summary.counts.total
    assert content(folder) == before, "it changes nothing there"


@pytest.mark.slow
def test_it_follows_a_run_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    gate, out = tmp_path / "go", tmp_path / "out"
    file = a_search(tmp_path, ["python", "train.py"])
    (tmp_path / "train.py").write_text(SCRIPT.replace("{gate}", str(gate)))
    runner = start("run", file, "--out", out, "--jobs", "2")
    try:
        eventually(lambda: len(list(out.glob("trials/*/reports.jsonl"))) == 2)
        with opened(out) as dashboard:
            eventually(lambda: dashboard.states() == {"Running": 2, "Waiting": 1})

            def told() -> bool:
                running = [trial for trial in dashboard.study()["trials"] if trial["state"] == "Running"]
                return [len(trial["intermediate_values"]) for trial in running] == [2, 2]

            eventually(told)
            gate.touch()
            eventually(lambda: dashboard.states() == {"Complete": 3})
            runner.communicate(timeout=300)
            summary = json.loads((out / "summary.json").read_text())
            (best,) = dashboard.study()["best_trials"]
            assert best["values"] == [summary["best"]["value"]]
            _, said = kill(dashboard.process, signal.SIGINT)
            assert (dashboard.process.returncode, said) == (0, "")
    finally:
        kill(runner)


@pytest.mark.slow
def test_it_is_for_this_machine_alone_and_changes_nothing(tmp_path: Path) -> None:
    with opened(CASES["the_default_search"]().leave(tmp_path / "run")) as dashboard:
        api = f"{dashboard.address}/api/studies"
        body = json.dumps({"study_name": "new", "directions": ["minimize"]}).encode()
        headers = {"Content-Type": "application/json"}
        for method, url in (("POST", api), ("DELETE", f"{api}/0"), ("PUT", f"{api}/0/note")):
            request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310
            assert dashboard.refusal(request) == (403, "the dashboard shows a run, and changes nothing")
        elsewhere = urllib.request.Request(api, headers={"Host": "elsewhere.example"})  # noqa: S310
        assert dashboard.refusal(elsewhere) == (403, "the dashboard is for this machine alone")
        assert len(dashboard.get("/api/studies")["study_summaries"]) == 1
        with urllib.request.urlopen(f"{dashboard.address}/dashboard", timeout=300) as page:  # noqa: S310
            assert b"<html" in page.read()
        _, said = kill(dashboard.process, signal.SIGTERM)
        assert (dashboard.process.returncode, said) == (0, "")


@pytest.mark.slow
def test_a_run_that_is_started_anew_or_gone_is_told_and_shown_as_it_was(tmp_path: Path) -> None:
    folder = CASES["the_default_search"]().leave(tmp_path / "run")
    with opened(folder) as dashboard:
        assert dashboard.states() == {"Complete": 18}
        folder.rename(tmp_path / "elsewhere")
        said = dashboard.process.stderr
        assert said is not None
        eventually(lambda: dashboard.states() and select.select([said], [], [], 0)[0])
        assert "holds no run" in said.readline()
        (tmp_path / "elsewhere").rename(folder)
        (folder / "results.jsonl").write_text("")
        eventually(lambda: dashboard.states() == {"Running": 18})


@pytest.mark.slow
def test_unlike_trials_are_in_studies_of_their_own(tmp_path: Path) -> None:
    case = windows()
    with opened(case.leave(tmp_path / "run")) as dashboard:
        listed = {each["study_name"]: each["study_id"] for each in dashboard.get("/api/studies")["study_summaries"]}
        name = case.experiment.name
        assert list(listed) == [name, f"{name} data.window=30", f"{name} data.window=60"]
        for group in case.summary().groups:
            study = dashboard.study(listed[f"{name} data.window={group.fields['data.window']}"])
            assert group.best is not None
            assert [each["values"] for each in study["best_trials"]] == [[group.best.value]]


@pytest.mark.slow
def test_five_thousand_trials_are_shown(tmp_path: Path) -> None:
    with opened(many().leave(tmp_path / "run")) as dashboard:
        assert dashboard.states() == {"Complete": 5000}


def test_what_it_can_t_show_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = CASES["the_default_search"]().leave(tmp_path / "run")

    def refused(*words: str | Path) -> str:
        capsys.readouterr()
        assert main(["dashboard", *map(str, words)]) == 2
        return capsys.readouterr().err

    assert "holds no run" in refused(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port: {port} must be free on 127.0.0.1" in refused(run, "--port", str(port))
    monkeypatch.setattr("trainer.packages.have", lambda package: package != "optuna_dashboard")
    assert "install it with `pip install 'trialrun[dashboard]'`" in refused(run)
    assert trainer("dashboard", run, "--port", "65536").returncode == 2
