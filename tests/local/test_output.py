"""Whoever stops reading what a command says changes neither what it does nor its exit code."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.cli import ROOT, command, environment, write_search
from trainer.experiment.outcome import Outcome
from trainer.local.ledger import read_ledger
from unit.builders import a_document

OF_0_1 = Path(__file__).parents[1] / "data" / "of_0_1" / "search-run"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands below read. `many.yaml` has more trials than a pipe holds."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(OF_0_1, folder / "run")
    rates = [0.001 * (1 + number) for number in range(60)]
    sizes = list(range(1, 51))
    names = {"train.learningRate": rates, "model.hiddenSize": sizes}
    many = a_document(parameters=[{"name": name, "choices": choices} for name, choices in names.items()])
    (folder / "many.yaml").write_text(json.dumps(many))
    write_search(folder)
    (folder / "wrong.yaml").write_text(json.dumps(a_document(repeats=0, nonsense=1)))
    return folder


# What is run, and its exit code.
COMMANDS = {
    "": 0,
    "--help": 0,
    "nonsense": 2,
    "list many.yaml": 0,
    "list wrong.yaml": 2,
    "run wrong.yaml": 2,
    "init": 0,
    "schema": 0,
    "report run": 0,
    "compare run run": 0,
    "data build search.yaml --cache cache": 0,
    "data show none": 2,
}


def run(words: str, place: Path, **how: Any) -> subprocess.CompletedProcess[bytes]:
    process = command(*words.split())
    return subprocess.run(process, cwd=place, env=environment(place) | {"PYTHONPATH": str(ROOT)}, check=False, **how)


def pipe_without_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("lost", ["stdout", "stderr", "both"])
@pytest.mark.parametrize("words", COMMANDS)
def test_a_reader_that_has_gone_changes_no_exit_code(words: str, lost: str, place: Path) -> None:
    gone = pipe_without_reader()
    kept = subprocess.PIPE
    done = run(words, place, stdout=kept if lost == "stderr" else gone, stderr=kept if lost == "stdout" else gone)
    os.close(gone)
    assert done.returncode == COMMANDS[words]
    said = (done.stdout or b"") + (done.stderr or b"")
    assert b"Traceback" not in said
    assert b"Exception ignored" not in said
    assert b"Broken pipe" not in said


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("words", ["list wrong.yaml", "init", "report run", "compare run run"])
def test_an_output_that_was_closed_before_changes_no_exit_code_and_gets_into_no_file(
    words: str, closed: tuple[int, ...], place: Path
) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    done = run(words, place, preexec_fn=close, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == COMMANDS[words]
    assert b"Traceback" not in done.stdout + done.stderr
    for line in (place / "run" / "results.jsonl").read_bytes().splitlines():
        json.loads(line)


@pytest.mark.slow
def test_the_exit_code_in_a_shell_s_pipe_is_the_command_s(place: Path) -> None:
    for words, code in COMMANDS.items():
        script = f'{" ".join(command())} {words} 2>&1 | head -1 >/dev/null; exit "${{PIPESTATUS[0]}}"'
        done = subprocess.run(["bash", "-c", script], cwd=place, env=environment(place), check=False)
        assert done.returncode == code, words


@pytest.mark.parametrize("words", ["list many.yaml", "init", "schema", "compare run run", ""])
def test_output_that_finds_no_room_is_no_success(words: str, place: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(words, place, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == b"trialrun: standard output: cannot be written: No space left on device\n"


def test_errors_that_find_no_room_change_nothing(place: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        assert run("list many.yaml", place, stdout=subprocess.DEVNULL, stderr=full).returncode == 0
        assert run("list wrong.yaml", place, stdout=subprocess.DEVNULL, stderr=full).returncode == 2


def test_letters_that_a_terminal_lacks_are_escaped(place: Path) -> None:
    here = place / "größe.yaml"
    shutil.copy(place / "wrong.yaml", here)
    for coding in ("ascii", "latin-1", "utf-8"):
        done = subprocess.run(
            command("list", here.name),
            cwd=place,
            env=environment() | {"PYTHONIOENCODING": coding},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 2
        assert b"Traceback" not in done.stderr
        assert b"spec.repeats: must be >= 1, got 0" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", ["no reader", "closed"])
def test_a_search_that_fails_before_nobody_s_eyes_is_run_to_its_end(how: str, tmp_path: Path) -> None:
    search = write_search(tmp_path, rates=[1e14, 1e15])
    search.write_text(search.read_text().replace("batchSize: 16", "batchSize: 16, optimizer: SGD"))
    gone = pipe_without_reader()
    done = subprocess.run(
        command("run", search, "--out", tmp_path / "out", "--json"),
        env=environment(),
        preexec_fn=(lambda: (os.close(1), os.close(2))) if how == "closed" else None,
        stdout=gone,
        stderr=gone,
        check=False,
    )
    assert done.returncode == 1
    assert [record.outcome for record in read_ledger(tmp_path / "out")] == [Outcome.DIVERGED] * 2
    assert (tmp_path / "out" / "report.html").exists()
