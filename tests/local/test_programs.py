"""Programs of the user's own, run as trials: shells and Pythons, good and bad."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventually import eventually
from local.cli import ROOT, trainer
from trainer.experiment.record import Record
from trainer.local.ledger import read_ledger

REPORTS = 'printf \'{"step": %d, "metrics": {"loss": %s}}\\n\' '


def a_search(folder: Path, command: list[str], *, name: str = "programs", **spec: Any) -> Path:
    """A file with a search over x, of a program."""
    program = {"command": command} | spec.pop("program", {})
    whole = {
        "objective": {"metric": "loss", "direction": "Minimize"},
        "parameters": [{"name": "x", "choices": [1, 2, 3]}],
        "program": program,
    }
    document = {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "HyperparamSearch",
        "metadata": {"name": name},
        "spec": whole | spec,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "search.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def sh(script: str) -> list[str]:
    return ["sh", "-c", script, "sh", "${parameters.x}"]


REPORT = """printf '{"step": 0, "metrics": {"loss": %d}}\\n' "$1" >> "$TRIALRUN_REPORTS"\n"""


def one(folder: Path, script: str, **spec: Any) -> Record:
    """The record of a search of a single trial."""
    file = a_search(folder, sh(script), parameters=[{"name": "x", "choices": [2]}], **spec)
    trainer("run", file, "--out", folder / "out", cwd=folder)
    (record,) = read_ledger(folder / "out")
    return record


def test_a_shell_is_a_program(tmp_path: Path) -> None:
    done = trainer("run", a_search(tmp_path, sh(REPORT)), "--out", tmp_path / "out", "--jobs", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = read_ledger(tmp_path / "out")
    assert sorted((record.parameters["x"], record.metrics["loss"]) for record in records) == [(1, 1), (2, 2), (3, 3)]
    assert json.loads((tmp_path / "out/summary.json").read_text())["best"]["value"] == 1
    again = trainer("run", tmp_path / "search.yaml", "--out", tmp_path / "out", cwd=tmp_path)
    assert again.returncode == 0
    assert read_ledger(tmp_path / "out") == records, "what is done is not run again"


@pytest.mark.parametrize(
    ("script", "outcome", "said"),
    [
        ("true", "MetricsMissing", "it ended without a report: none by trialrun.py, and no line in the file"),
        ("exit 3", "Crashed", "ended with exit code 3"),
        ("echo no such column: y; exit 1", "Crashed", "no such column: y"),
        ("exit 65", "DataUnavailable", "ended with exit code 65"),
        ("kill -9 $$", "Crashed", "was killed by signal 9"),
        (REPORT.replace("%d", "NaN"), "Diverged", "the objective loss was reported as nan"),
        (REPORT.replace("%d", '"low"'), "InvalidConfig", 'line 1: metrics.loss: must be a number, got "low"'),
        (REPORT.replace('"loss"', '"lost"'), "MetricsMissing", "the objective loss was not reported; reported: lost"),
        (REPORT.replace('"metrics"', '"metric"'), "InvalidConfig", "metric: no such field (did you mean metrics?)"),
        ('echo hello >> "$TRIALRUN_REPORTS"', "InvalidConfig", "line 1: must be a JSON object on one line"),
        ("sleep 60", "TimedOut", "killed by its deadline after 2."),
        ("trap '' TERM; while true; do sleep 0.1; done", "TimedOut", "killed by its deadline"),
    ],
    ids=lambda text: str(text)[:24],
)  # fmt: skip
@pytest.mark.slow
def test_how_a_program_ends_is_told(tmp_path: Path, script: str, outcome: str, said: str) -> None:
    record = one(tmp_path, script, deadlineSeconds=2)
    assert (record.outcome, said in record.error) == (outcome, True), record.error


@pytest.mark.slow
def test_a_program_that_was_asked_to_stop_and_finishes_is_out_of_time_all_the_same(tmp_path: Path) -> None:
    stops = f"""{REPORT} while [ ! -e "$(dirname "$TRIALRUN_REPORTS")/stop" ]; do sleep 0.1; done"""
    assert one(tmp_path, f"trap '' TERM; {stops}", deadlineSeconds=1).outcome == "TimedOut"


@pytest.mark.slow
def test_the_metrics_are_those_of_the_last_report(tmp_path: Path) -> None:
    again = REPORT.replace("%d", "0.%d")
    assert one(tmp_path, f"{again} {again.replace('0.%d', '0.5')}").metrics == {"loss": 0.5}


@pytest.mark.slow
def test_two_processes_that_report_for_one_trial_are_refused(tmp_path: Path) -> None:
    line = '{"metrics": {"loss": 1}, "process": %d}'
    record = one(tmp_path, f"""for p in 1 2; do printf '{line}\\n' $p >> "$TRIALRUN_REPORTS"; done""")
    assert record.outcome == "InvalidConfig"
    assert "processes 1 and 2 reported for one trial" in record.error


def test_what_a_program_leaves_behind_is_ended_whatever_its_session(tmp_path: Path) -> None:
    left = f"setsid sleep 987 & sleep 987 & {REPORT}"
    assert one(tmp_path, left).outcome == "Succeeded"
    assert not [line for line in processes() if "sleep 987" in line]


@pytest.mark.slow
def test_a_gigabyte_of_output_leaves_a_log_of_megabytes_and_closed_streams_are_no_end(tmp_path: Path) -> None:
    record = one(tmp_path, f"head -c 200000000 /dev/zero; echo; echo the end; exec >&- 2>&-; sleep 0.5; {REPORT}")
    assert record.outcome == "Succeeded"
    (log,) = (tmp_path / "out").rglob("log-0.txt")
    assert log.stat().st_size < 5 * 2**20
    assert log.read_bytes().endswith(b"the end\n")


@pytest.mark.slow
def test_ranks_are_told_where_they_meet_as_torchrun_does(tmp_path: Path) -> None:
    tells = "echo $RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT"
    record = one(tmp_path, f'{tells}; [ "$RANK" != 0 ] || {{ {REPORT} }}', workers=2)
    assert (record.outcome, len(record.memory)) == ("Succeeded", 2)
    told = [log.read_text().split() for log in sorted((tmp_path / "out").rglob("log-*.txt"))]
    assert [each[:5] for each in told] == [["0", "0", "2", "2", "127.0.0.1"], ["1", "1", "2", "2", "127.0.0.1"]]
    assert told[0][5] == told[1][5]


TORCHRUN = r"""
import os
import trialrun
trial = trialrun.trial()
os.write(1, f"{os.environ['LOCAL_RANK']} {os.environ['GROUP_RANK']}\n".encode())
trial.report(1, loss=int(os.environ["WORLD_SIZE"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_torchrun_starts_the_processes_of_each_worker_and_rank_0_of_them_all_reports(
    tmp_path: Path, workers: int
) -> None:
    (tmp_path / "train.py").write_text(TORCHRUN)
    program = {"processesPerWorker": 2}
    points = [{"name": "x", "choices": [1, 2]}]
    file = a_search(tmp_path, ["torchrun", "train.py"], program=program, workers=workers, parameters=points)
    done = trainer("run", file, "--out", tmp_path / "out", "--jobs", "2", cwd=tmp_path)
    records = read_ledger(tmp_path / "out")
    assert [record.metrics for record in records] == [{"loss": 2.0 * workers}] * 2, done.stderr
    for record in records:
        logs = sorted((tmp_path / "out" / "trials" / record.id).glob("log-*.txt"))
        # torchrun may add what it thinks of how its peers have left.
        said = [[line for line in log.read_text().splitlines() if re.fullmatch(r"\d \d", line)] for log in logs]
        assert [sorted(lines) for lines in said] == [
            [f"{local} {worker}" for local in (0, 1)] for worker in range(workers)
        ]


def test_the_point_is_put_into_command_environment_and_settings_and_nothing_else_is_touched(tmp_path: Path) -> None:
    told = "[sys.argv[1:], os.environ['KIND'], json.loads(os.environ['TRIALRUN_TRIAL'])]"
    script = f"import json, os, sys; print(json.dumps({told}))"
    file = a_search(
        tmp_path,
        ["python", "-c", script, "--x=${parameters.x}", "${settings.nested}", "$HOME ${x} $$ %s"],
        parameters=[{"name": "x", "choices": [0.5]}, {"name": "nested.kind", "choices": ["a b"]}],
        program={
            "settings": {"nested": {"deep": True}},
            "env": [{"name": "KIND", "value": "<${parameters.nested.kind}>"}],
        },
    )  # fmt: skip
    trainer("run", file, "--out", tmp_path / "out", cwd=tmp_path)
    (log,) = (tmp_path / "out").rglob("log-0.txt")
    words, kind, order = json.loads(log.read_text())
    assert words == ["--x=0.5", '{"deep":true,"kind":"a b"}', "$HOME ${x} $$ %s"]
    assert kind == "<a b>"
    assert (order["protocol"], order["parameters"]) == (1, {"x": 0.5, "nested.kind": "a b"})


@pytest.mark.slow
def test_memory_is_measured_of_a_program_and_its_children(tmp_path: Path) -> None:
    hog = "import time; x = bytearray(150 << 20); time.sleep(0.6)"
    record = one(tmp_path, f"{sys.executable} -c '{hog}'; {REPORT}")
    (memory,) = record.memory
    assert memory is not None
    assert 150 * 2**20 < memory.peak_bytes < 250 * 2**20


@pytest.mark.slow
def test_a_killed_runner_leaves_no_process_and_no_finished_trial_is_run_again(tmp_path: Path) -> None:
    script = f"{REPORT} setsid sleep 986 & sleep 0.$1; [ $1 != 3 ] || sleep 986"
    file = a_search(tmp_path, sh(script))
    command = [sys.executable, "-m", "trainer", "run", str(file), "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}) as runner:
        eventually(lambda: (tmp_path / "out").exists() and len(read_ledger(tmp_path / "out")) == 2)
        eventually(lambda: sum("sleep 986" in line for line in processes()) >= 2)
        runner.send_signal(signal.SIGKILL)
    eventually(lambda: not [line for line in processes() if "sleep 986" in line], within_seconds=30)
    before = read_ledger(tmp_path / "out")
    file.write_text(file.read_text())
    Path(tmp_path / "go").touch()
    assert [record.parameters["x"] for record in before] == [1, 2]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"program": {"command": ["no-such"]}}, "spec.program.command[0]: must be a program, got no-such"),
        ({"program": {"command": ["./missing.sh"]}}, "must be a program, got ./missing.sh"),
        ({"program": {"command": ["true"], "workingDirectory": "nowhere"}}, "workingDirectory: must be a folder"),
        ({"program": {"command": ["true"], "inputs": ["data.csv"]}}, "spec.program.inputs[0]: must be a file"),
    ],
)  # fmt: skip
def test_a_program_that_cannot_be_started_is_refused_and_nothing_is_written(
    tmp_path: Path, spec: dict[str, Any], said: str
) -> None:
    done = trainer("run", a_search(tmp_path, ["true"], **spec), "--out", tmp_path / "out", cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "out").exists()


def processes() -> list[str]:
    return subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
