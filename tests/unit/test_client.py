"""The client that users' scripts import: what it gives, what it writes, and that a script runs by hand with it."""

import ast
import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy
import pytest

import trialrun
from trainer.experiment.outcome import EXIT_CODES, Outcome
from trainer.experiment.program import Program
from trainer.experiment.program_report import told as told_by
from trainer.experiment.progress import MOST_METRICS, PROTOCOL, ProgressReport, decode
from trainer.local.program_files import ProgramFiles

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRIALRUN_TRIAL", "RANK"):
        monkeypatch.delenv(name, raising=False)


def told(monkeypatch: pytest.MonkeyPatch, folder: Path, **order: Any) -> Path:
    """Where a trial that is told so reports."""
    whole = {"protocol": PROTOCOL, "reports": str(folder / "reports"), "stop": str(folder / "stop")} | order
    monkeypatch.setenv("TRIALRUN_TRIAL", json.dumps(whole))
    return folder / "reports"


def lines(reports: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in reports.read_text().splitlines()]
    for line in reports.read_bytes().splitlines():
        decode(line)  # what it writes is what is read
    return found


def test_by_hand_the_defaults_count_and_reports_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    trial = trialrun.trial(lr=0.1, kind="a")
    assert (trial.parameters["lr"], dict(trial.parameters), trial.seed) == (0.1, {"lr": 0.1, "kind": "a"}, 0)
    assert trial.report(3, {"val/loss": 0.25}, right=1) is False
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "step 3  val/loss 0.25  right 1\n")
    assert (trial.stopping, trial.checkpoints, trial.folder) == (False, [], Path())


def test_parameters_come_before_settings_and_these_before_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = {"epochs": 5, "optimizer": {"kind": "adam", "lr": 0.5}}
    told(monkeypatch, tmp_path, parameters={"optimizer.lr": 0.5}, settings=settings)
    trial = trialrun.trial(epochs=1, width=8)
    found = [trial.parameters[name] for name in ("epochs", "width", "optimizer.lr", "optimizer.kind")]
    assert found == [5, 8, 0.5, "adam"]
    assert trial.settings == settings
    with pytest.raises(KeyError, match=r"no parameter or setting lrr; there are: epochs, optimizer, optimizer\.kind"):
        trial.parameters["lrr"]


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (lambda parameters: parameters["a"], ["a"]),
        (lambda parameters: parameters.get("a"), ["a"]),
        (lambda parameters: "a" in parameters, []),
        (lambda parameters: dict(**parameters), ["a", "b"]),
        (lambda parameters: list(parameters), ["a", "b"]),
        (lambda parameters: list(parameters.items()), ["a", "b"]),
        (lambda parameters: list(parameters.values()), ["a", "b"]),
    ],
)
def test_what_was_read_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read: Any, names: list[str]) -> None:
    reports = told(monkeypatch, tmp_path, parameters={"a": 1, "b": 2})
    trial = trialrun.trial()
    read(trial.parameters)
    trial.report(loss=1)
    assert [line["read"] for line in lines(reports)] == [names]


def test_reports_are_lines_with_what_was_told_besides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reports = told(monkeypatch, tmp_path)
    trial = trialrun.trial()
    trial.report(loss=2)
    trial.naive(loss=9)
    trial.rests_on(data="rows", validation=7)
    trial.report(loss=math.inf)
    trial.report(10, {"val/loss": -math.nan}, more=True)
    first, second, third = lines(reports)
    assert (first["step"], first["metrics"], "naive" in first) == (0, {"loss": 2.0}, False)
    assert (second["step"], second["metrics"], second["naive"]) == (1, {"loss": math.inf}, {"loss": 9.0})
    assert second["restsOn"] == {"data": "rows", "validation": "7"}
    assert (third["step"], math.isnan(third["metrics"]["val/loss"]), third["metrics"]["more"]) == (10, True, 1.0)
    assert first["process"] == second["process"]


def test_a_report_says_whether_to_stop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told(monkeypatch, tmp_path)
    trial = trialrun.trial()
    assert (trial.report(loss=1), trial.stopping) == (False, False)
    (tmp_path / "stop").touch()
    assert (trial.report(loss=1), trial.stopping) == (True, True)


def test_only_rank_0_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reports = told(monkeypatch, tmp_path)
    monkeypatch.setenv("RANK", "1")
    trialrun.trial().report(loss=1)
    assert not reports.exists()
    monkeypatch.setenv("RANK", "0")
    trialrun.trial().report(loss=1)
    assert len(lines(reports)) == 1


@pytest.mark.parametrize(
    ("metrics", "error", "said"),
    [
        ({"loss": "low"}, TypeError, "metric loss must be a number, got 'low'"),
        ({"loss": None}, TypeError, "metric loss must be a number, got NoneType"),
        ({"loss": [1, 2]}, TypeError, "metric loss must be a number, got list"),
        (
            {f"m{i}": i for i in range(MOST_METRICS + 1)},
            ValueError,
            "a report must have at most 100 metrics, got 101",
        ),
    ],
)
def test_what_is_no_number_is_refused_where_it_is_reported(metrics: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        trialrun.trial().report(0, metrics)


def test_numbers_of_libraries_are_taken() -> None:
    trialrun.trial().report(0, a=numpy.float32(1), b=numpy.int64(2), c=numpy.array(3.0))


def test_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told(monkeypatch, tmp_path, protocol=PROTOCOL + 1)
    with pytest.raises(RuntimeError, match=r"take the trialrun\.py of that version"):
        trialrun.trial()


def test_the_client_is_one_file_of_the_standard_library() -> None:
    body = ast.walk(ast.parse((ROOT / "trialrun.py").read_text()))
    imported = {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names} | {"pathlib"}
    assert imported <= set(sys.stdlib_module_names)
    assert (trialrun.PROTOCOL, trialrun.MOST_METRICS) == (PROTOCOL, MOST_METRICS)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"metrics": {"loss": 1}, "stepp": 1}', "stepp: no such field"),
        ('{"metrics": {"loss": "low"}}', 'metrics.loss: must be a number, got "low"'),
        ('{"metrics": {"a b": 1}}', "metrics"),
        ('{"metrics": {"loss": 1}, "step": -1}', "step: must be >= 0, got -1"),
        ('{"metrics": {"loss": 1}, "step": 1.5}', "step: "),
        ("[1]", "must be"),
        ("loss 1", "must be a JSON object on one line, got loss 1"),
        (json.dumps({"metrics": {f"m{i}": i for i in range(1000)}}), "metrics: must have at most 100"),
        ("[" * 4000, "must be a JSON object on one line, got [[["),
        ('{"inputs": "x"}', 'inputs: must be a hash of 12 hex digits, got "x"'),
    ],
)
def test_a_line_that_is_no_report_says_why(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        decode(line.encode())


def in_pod(folder: Path, script: str, **order: Any) -> tuple[int, str]:
    """The exit code of a script in a pod, and what the pod's termination message is then."""
    variables = {name: order.pop(name) for name in ("RANK", "LOCAL_RANK") if name in order}
    whole = {"protocol": PROTOCOL, "pod": True, "reports": str(folder / "message"), "folder": str(folder / "left")}
    told = {"TRIALRUN_TRIAL": json.dumps(whole | order), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", f"import trialrun\ntrial = trialrun.trial()\n{script}"],
        cwd=folder, env=told | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    message = folder / "message"
    return done.returncode, message.read_text() if message.exists() else done.stderr


def only(message: str) -> ProgressReport:
    (line,) = message.splitlines()
    return decode(line.encode())


def test_in_a_pod_each_report_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    script = "for step in range(500):\n    trial.report(step, {f'loss/{step % 7}': 1 / (step + 1)}, a=2)"
    code, message = in_pod(tmp_path, script)
    report = only(message)
    assert (code, report.step, report.metrics) == (0, 499, {"loss/2": 1 / 500, "a": 2})
    assert len(message) < 1000
    assert (tmp_path / "left").is_dir()


def test_in_a_pod_it_tells_its_memory_its_packages_and_when(tmp_path: Path) -> None:
    script = "import numpy\ntrial.loaded()\nheld = b'x' * (80 * 2**20)\ntrial.report(1, loss=1)"
    _, message = in_pod(tmp_path, script)
    report = only(message)
    assert report.memory is not None
    assert report.memory.floor_bytes is not None
    assert 79 * 2**20 < report.memory.peak_bytes - report.memory.floor_bytes < 120 * 2**20
    assert report.environment is not None
    assert report.environment.packages["numpy"] == numpy.__version__
    assert report.environment.packages["python"].startswith("3.")
    assert abs(report.clock / 1000 - time.time()) < 600


def test_in_a_pod_the_exception_that_ends_it_is_told_beside_the_last_figures(tmp_path: Path) -> None:
    code, message = in_pod(tmp_path, "trial.report(1, loss=1)\nraise ValueError('no row 17\\udcff' + 'x' * 5000)")
    report = only(message)
    assert (code, report.metrics, report.error[:21]) == (1, {"loss": 1}, "ValueError: no row 17")
    assert report.error[21:28] == "\\udcffx"
    assert len(report.error) <= 1000


def test_a_rank_that_reports_nothing_tells_its_memory_and_its_error(tmp_path: Path) -> None:
    code, message = in_pod(tmp_path, "trial.report(1, loss=1)\nraise OSError('gone')", RANK="3", LOCAL_RANK="0")
    report = only(message)
    assert (code, report.metrics, report.error) == (1, {}, "OSError: gone")
    assert report.memory is not None


def test_of_several_processes_in_a_pod_one_reports_and_any_tells_its_error(tmp_path: Path) -> None:
    in_pod(tmp_path, "trial.report(1, loss=1)", RANK="0", LOCAL_RANK="0")
    assert in_pod(tmp_path, "trial.loaded()", RANK="1", LOCAL_RANK="1")[1].count("\n") == 1
    _, message = in_pod(tmp_path, "raise OSError('gone')", RANK="2", LOCAL_RANK="2")
    found = told_by(message.encode().splitlines(), "the reports")
    assert (found.wrong, found.error) == ("", "OSError: gone")
    assert found.last is not None
    assert found.last.metrics == {"loss": 1}


def test_inputs_that_are_not_those_of_the_trials_before_end_it_before_it_trains(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "b.csv").write_text("b")
    (tmp_path / "data" / "a.csv").write_text("a")
    (tmp_path / "rows.csv").write_text("rows")
    inputs = ["rows.csv", "data"]
    _, message = in_pod(tmp_path, "trial.report(1, loss=1)", inputs=inputs)
    known = only(message).inputs
    program = Program(command=("true",), inputs=tuple(inputs))
    assert known == ProgramFiles(program, tmp_path / "search.yaml").content(lambda _: None)["inputs"], (
        "as on one machine"
    )

    assert in_pod(tmp_path, "", inputs=inputs, known={"inputs": known})[0] == 0
    (tmp_path / "message").unlink()
    (tmp_path / "data" / "a.csv").write_text("A")
    code, message = in_pod(tmp_path, "trial.report(1, loss=1)", inputs=inputs, known={"inputs": known})
    assert code == EXIT_CODES[Outcome.DATA_UNAVAILABLE]
    assert only(message).metrics == {}
    assert (
        f"the inputs are not those of the trials before: {only(message).inputs}, and theirs were {known}" in message
    )


@pytest.mark.parametrize("pod", [False, True])
def test_a_report_that_no_cluster_would_keep_whole_is_refused_here_too(tmp_path: Path, pod: bool) -> None:
    script = "trial.report(1, {'m' + 'x' * 59 + str(100 + i): 1.5 for i in range(80)})"
    code, message = in_pod(tmp_path, script, pod=pod)
    assert code == 1
    assert "a report must have at most 4000 bytes, got " in message


def test_the_largest_report_that_it_takes_is_told_in_a_pod_with_whatever_else_has_room(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("rows")
    script = """
metrics = {f"m{number:02}/{'x' * 30}": 1 / 3 for number in range(60)}
while True:
    try:
        trial.report(1, metrics)
        metrics[f"n{len(metrics)}"] = 1
    except ValueError:
        break
raise OSError("x" * 900)
"""
    code, message = in_pod(tmp_path, script, inputs=["rows.csv"])
    report = only(message)
    assert (code, len(message) <= 4096) == (1, True)
    assert len(report.metrics) > 60
    assert (report.inputs is not None, report.error) == (True, "")
