"""The examples of programs run for real: whole, again, killed, forked and not, and by hand."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Sweep
from eventually import eventually
from local.cli import ROOT, alive, descendants, environment, kill, start, trainer
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record, naive_name
from trainer.local.ledger import read_ledger

PROGRAMS = ROOT / "examples" / "programs"
PAGE = ROOT / "docs" / "bring-your-own-trainer.md"
FILES = sorted(PROGRAMS.glob("*.yaml"))
SCRIPTS = sorted(PROGRAMS.glob("*.py"))
FORKED = [script for script in SCRIPTS if script.stem != "ddp"]  # several workers are never forked
ROW = re.compile(r"^\| \[(\w+)\]\(\.\./(\S+)\) \| .+ \| `python -m trainer run (\S+)` \| (\d+) \|$", re.MULTILINE)
Metrics = dict[str, dict[str, float]]
Undisturbed = Callable[[Path], Path]


def document(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text())
    return found


def metrics(records: list[Record]) -> Metrics:
    """What was reported last, by the parameters."""
    return {json.dumps(record.parameters, sort_keys=True): dict(record.metrics) for record in records}


def name(file: Path) -> str:
    return file.stem


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Other tests run beside these: threads that wait for each other would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The results of an example by its file; each is run once."""
    ran: dict[Path, Path] = {}

    def run(file: Path) -> Path:
        if file not in ran:
            ran[file] = tmp_path_factory.mktemp(file.stem) / "out"
            done = trainer("run", file, "--out", ran[file])
            assert done.returncode == 0, done.stderr
        return ran[file]

    return run


def by_hand(script: Path, folder: Path, **told: str) -> subprocess.Popen[str]:
    environment_by_hand = {key: value for key, value in environment().items() if not key.startswith("TRIALRUN_")}
    return subprocess.Popen(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment_by_hand | told,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def steps(said: str) -> list[str]:
    """The reports that were printed."""
    return [line for line in said.splitlines() if line.startswith("step ")]


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=name)
def test_one_command_runs_an_example(file: Path, undisturbed: Undisturbed) -> None:
    out = undisturbed(file)
    records = read_ledger(out)
    listed = [json.loads(line) for line in trainer("list", "--json", file).stdout.splitlines()]
    assert [(record.index, record.id, record.parameters) for record in records] == [
        (trial["index"], trial["id"], trial["parameters"]) for trial in listed
    ]
    assert {record.outcome for record in records} == {Outcome.SUCCEEDED}
    best = json.loads((out / "summary.json").read_text())["best"]["value"]
    objective = document(file)["spec"]["objective"]
    naive = {record.metrics[naive_name(objective["metric"])] for record in records if file.stem != "shell"}
    assert all(best > each if objective["direction"] == "Maximize" else best < each for each in naive)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=name)
def test_an_example_that_is_run_again_runs_nothing(file: Path, undisturbed: Undisturbed) -> None:
    out = undisturbed(file)
    before = (out / "results.jsonl").read_bytes()
    assert trainer("run", file, "--out", out).returncode == 0
    assert (out / "results.jsonl").read_bytes() == before


@pytest.mark.slow
@pytest.mark.torture
def test_an_example_whose_runner_is_killed_goes_on_to_the_same_figures(
    tmp_path: Path, sweep: Sweep, undisturbed: Undisturbed
) -> None:
    for seed in sweep.seeds(sample=1, full=len(FILES)):
        file = FILES[seed % len(FILES)]
        expected, out = read_ledger(undisturbed(file)), tmp_path / file.stem
        runner = start("run", file, "--out", out)
        eventually(lambda out=out: read_ledger(out), what=f"a trial of {file} is done")
        family = descendants(runner.pid)
        kill(runner)
        eventually(lambda family=family: not alive(family), what="the runner's children are gone")
        kept = read_ledger(out)
        done = trainer("run", file, "--out", out)
        assert done.returncode == 0, done.stderr
        records = read_ledger(out)
        assert records[: len(kept)] == kept, file
        assert [(each.id, each.outcome) for each in records] == [(each.id, each.outcome) for each in expected], file
        assert metrics(records) == metrics(expected), file


@pytest.mark.slow
@pytest.mark.torture
def test_a_start_from_nothing_gives_the_same_figures_as_a_forked_one(
    tmp_path: Path, sweep: Sweep, undisturbed: Undisturbed
) -> None:
    for seed in sweep.seeds(sample=1, full=len(FORKED)):
        file = FORKED[seed % len(FORKED)].with_suffix(".yaml")
        cold = document(file)
        python, *words = cold["spec"]["program"]["command"]
        assert python == "python"
        cold["spec"]["program"] |= {"command": [sys.executable, *words], "workingDirectory": str(PROGRAMS)}
        for parameter in cold["spec"]["parameters"][:-1]:
            parameter["choices"] = parameter["choices"][-1:]  # each trial takes seconds to start
        (tmp_path / file.name).write_text(yaml.safe_dump(cold))
        done = trainer("run", tmp_path / file.name, "--out", tmp_path / file.stem)
        assert done.returncode == 0, done.stderr
        found, forked = metrics(read_ledger(tmp_path / file.stem)), metrics(read_ledger(undisturbed(file)))
        assert len(found) > 1
        assert found == {parameters: forked[parameters] for parameters in found}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_an_example_runs_by_hand(tmp_path: Path, script: Path) -> None:
    process = by_hand(script, tmp_path)
    printed, said = process.communicate(timeout=600)
    assert (process.returncode, printed) == (0, ""), said
    assert steps(said)
    assert steps(said) == said.splitlines(), "nothing else is said"


@pytest.mark.slow
def test_ranks_started_as_torchrun_does_come_to_what_the_trial_came_to(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    script = PROGRAMS / "ddp.py"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [by_hand(script, tmp_path, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(2)]
    first, second = [rank.communicate(timeout=600)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], first + second
    assert steps(second) == [], "rank 0 reports"
    parameters = json.dumps({"lr": 0.03, "width": 32})  # those that count by hand
    accuracy = metrics(read_ledger(undisturbed(script.with_suffix(".yaml"))))[parameters]["accuracy"]
    assert steps(first)[-1] == f"step 7  accuracy {accuracy:.6g}"


@pytest.mark.slow
def test_a_training_that_goes_on_from_a_checkpoint_comes_to_the_same_figures(tmp_path: Path) -> None:
    def reports(folder: str, epochs: int, checkpoints: list[str]) -> list[dict[str, Any]]:
        (tmp_path / folder).mkdir(exist_ok=True)
        file = tmp_path / f"{folder}-{epochs}.jsonl"
        order = {
            "parameters": {"epochs": epochs},
            "folder": str(tmp_path / folder),
            "checkpoints": checkpoints,
            "reports": str(file),
        }
        told = environment() | {"TRIALRUN_TRIAL": json.dumps(order)}
        subprocess.run([sys.executable, PROGRAMS / "text.py"], env=told, cwd=tmp_path, timeout=600, check=True)
        return [json.loads(line) for line in file.read_text().splitlines()]

    whole, _ = reports("whole", 4, []), reports("cut", 2, [])
    rest = reports("cut", 4, [str(tmp_path / "cut")])
    assert [report["step"] for report in rest] == [1, 2, 3], (
        "it began with the epoch that the checkpoint was left before"
    )
    assert [report["metrics"] for report in rest] == [report["metrics"] for report in whole[1:]]


def test_the_page_names_every_example_its_command_and_how_many_lines_it_needed() -> None:
    told = {row[0]: row[1:] for row in ROW.findall(PAGE.read_text())}
    found = {}
    for file in FILES:
        script = file.with_suffix(".py") if file.with_suffix(".py").exists() else file
        numbers = [int(number) for number in re.findall(r"  # (\d+)$", script.read_text(), re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1)), script
        found[file.stem] = (*(str(each.relative_to(ROOT)) for each in (script, file)), str(len(numbers)))
    assert told == found
    assert {script.with_suffix(".yaml") for script in SCRIPTS} <= set(FILES)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_every_line_that_speaks_of_trialrun_is_counted(script: Path) -> None:
    lines = script.read_text().splitlines()[1:]
    asks = re.compile(r"\btrialrun\b|\btrial\.(report|naive|rests_on|checkpoints|folder|stopping)\b")
    assert [line for line in lines if asks.search(line) and not re.search(r"  # \d+$", line)] == []
