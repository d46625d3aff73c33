"""`apply` refuses a file or a code folder that is wrong before it asks any cluster; and `run` takes the same file."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from local.cli import command, environment, trainer
from local.test_programs import a_search
from trainer.experiment import code
from trainer.experiment.load import read
from trainer.experiment.record import CODE
from trainer.local.folder import require_alike
from trainer.local.ledger import read_ledger
from trainer.local.program_files import code_files

MIB = 2**20
REPORTS = """
import trialrun
trial = trialrun.trial(x=1)
trial.report(1, loss=trial.parameters["x"])
"""


def refused(file: Path) -> str:
    """What `apply` says on a machine without kubectl."""
    without = environment() | {"PATH": os.devnull}
    done = subprocess.run(command("apply", file), env=without, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def of_folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    """A search whose code is a folder with these files."""
    for name, content in files.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return a_search(tmp_path, ["python", "train.py"], program={"code": "./src"})


def test_without_kubectl_it_says_what_to_install(tmp_path: Path) -> None:
    said = refused(of_folder(tmp_path, {"train.py": b""}))
    assert said.startswith("trialrun: hps/programs: is asked for with kubectl, which cannot be started")


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    file = a_search(tmp_path, ["python", "train.py"], program={"code": "./src"})
    none = f"trialrun: spec.program.code: must be a folder on this machine, got {tmp_path / 'src'}, which is none\n"
    assert refused(file) == none
    (tmp_path / "src").write_text("")
    assert refused(file) == none


def test_a_folder_with_nothing_to_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "src" / "__pycache__").mkdir(parents=True)
    said = refused(of_folder(tmp_path, {".hidden": b"", "__pycache__/train.pyc": b""}))
    assert said == (
        f"trialrun: spec.program.code: must be a folder with files that are not hidden, got {tmp_path / 'src'}\n"
    )


def test_a_working_directory_that_is_not_in_it_is_named(tmp_path: Path) -> None:
    of_folder(tmp_path, {"train.py": b""})
    file = a_search(tmp_path, ["python", "train.py"], program={"code": "src", "workingDirectory": "deep"})
    assert refused(file) == (
        f"trialrun: spec.program.workingDirectory: must be a folder, got {tmp_path / 'src' / 'deep'}, which is none\n"
    )


def test_more_than_a_config_map_holds_is_told_with_the_largest_file(tmp_path: Path) -> None:
    said = refused(of_folder(tmp_path, {"train.py": b"x" * 10, "deep/rows.csv": bytes(MIB)}))
    assert said == (
        "trialrun: spec.program.code: must have at most 1048576 bytes of code, which is what a ConfigMap holds, got "
        "1048586; the largest file is deep/rows.csv with 1048576. Put the code into an image, or data onto a volume\n"
    )


@pytest.mark.parametrize("name", ["a b.py", "a..b.py", "ä.py", "x" * 250 + ".json"])
def test_a_name_that_no_key_can_have_is_told(tmp_path: Path, name: str) -> None:
    said = refused(of_folder(tmp_path, {"train.py": b"", name: b""}))
    assert said.startswith("trialrun: spec.program.code: must have paths of at most 253 letters, digits, '-', '_',")
    assert f"got {name}: a ConfigMap takes no other" in said


def test_all_mistakes_of_the_file_are_told_at_once(tmp_path: Path) -> None:
    file = a_search(tmp_path, ["python"], program={"code": "gone"}, repeats=0, maxFailedTrials=-1)
    said = refused(file)
    assert "spec.repeats: must be >= 1, got 0" in said
    assert "spec.maxFailedTrials: must be >= 0, got -1" in said


def test_run_takes_the_same_file_and_knows_its_code_by_the_hash_that_a_cluster_has(tmp_path: Path) -> None:
    file = of_folder(tmp_path, {"train.py": REPORTS.encode(), "deep/part.py": b"", "data.bin": b"\xff"})
    files = {name: path.read_bytes() for name, path in code_files(tmp_path / "src", file)}
    told = code.digest(code.files(code.config_map(files)))
    done = trainer("run", file, "--out", tmp_path / "src" / "runs" / "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {record.evidence[CODE] for record in read_ledger(tmp_path / "src/runs/here")} == {told}

    listed = trainer("list", "--json", file).stdout
    without = a_search(tmp_path / "src", ["python", "train.py"])
    assert trainer("list", "--json", without).stdout == listed
    again = trainer("run", without, "--out", tmp_path / "without", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert [record.id for record in read_ledger(tmp_path / "without")] == [
        json.loads(line)["id"] for line in listed.splitlines()
    ]


def test_code_is_known_by_what_it_holds_and_not_by_where_it_lies(tmp_path: Path) -> None:
    file = of_folder(tmp_path, {"train.py": REPORTS.encode()})
    done = trainer("run", file, "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = read_ledger(tmp_path / "out")
    (tmp_path / "src").rename(tmp_path / "moved")
    moved = a_search(tmp_path, ["python", "train.py"], program={"code": "moved"})
    assert trainer("run", moved, "--out", tmp_path / "out", cwd=tmp_path).returncode == 0
    assert read_ledger(tmp_path / "out") == before
    on_a_cluster = a_search(tmp_path / "there", ["python", "train.py"], program={"code": "configmap/programs-code"})
    require_alike("a run that was fetched", read(on_a_cluster), read(moved))


def test_run_says_what_to_do_where_the_code_is_on_a_cluster(tmp_path: Path) -> None:
    file = a_search(tmp_path, ["python", "train.py"], program={"code": "configmap/my-code"})
    done = trainer("run", file, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr == (
        "trialrun: spec.program.code: must be a folder on this machine, got configmap/my-code, which a cluster has; "
        "give the folder that it was made of\n"
    )
    assert not (tmp_path / "out").exists()
