"""The wheel in an empty environment and an empty folder does what the clone does."""

import json
import shutil
from pathlib import Path

import pytest

from install.conftest import ROOT, Installed
from trainer.experiment.expand import expand
from trainer.experiment.load import read

SEARCH = ROOT / "examples" / "search.yaml"
NEEDS = "trialrun: this command needs the package"


@pytest.fixture(scope="module")
def run(trainer: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the example's 18 trials, from a folder with the file and, to confuse, modules of a user's."""
    folder = tmp_path_factory.mktemp("users")
    shutil.copy(SEARCH, folder)
    for name in ("trainer.py", "torch.py", "numpy.py", "yaml.py"):
        (folder / name).write_text("raise SystemExit('a module of the user was imported')\n")
    done = trainer("trialrun", "run", "search.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "18 of 18 trials succeeded" in done.stderr
    return folder / "runs" / "sp500-grid"


def test_a_wheel_runs_the_example_from_an_empty_folder_beside_a_users_modules(run: Path) -> None:
    lines = (run / "results.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == {trial.id for trial in expand(read(SEARCH))}
    assert (run / "report.html").stat().st_size > 100_000


def test_a_users_script_imports_the_trainer(trainer: Installed, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from trainer.experiment.load import read\nfrom pathlib import Path\nprint(read(Path('search.yaml')).name)\n"
    )
    shutil.copy(SEARCH, tmp_path)
    assert trainer("python", "script.py", cwd=tmp_path).stdout == "sp500-grid\n"


def test_the_module_is_the_same_program(trainer: Installed, tmp_path: Path) -> None:
    shutil.copy(SEARCH, tmp_path)
    one = trainer("trialrun", "list", "search.yaml", cwd=tmp_path)
    other = trainer("python", "-m", "trainer", "list", "search.yaml", cwd=tmp_path)
    assert one.stdout == other.stdout
    assert len(one.stdout.splitlines()) == 20


def test_a_plain_install_lists_and_refuses_and_gives_a_file_to_start_from(plain: Installed, tmp_path: Path) -> None:
    assert plain("python", "-c", "import torch", cwd=tmp_path).returncode == 1
    template = plain("trialrun", "init", cwd=tmp_path)
    (tmp_path / "mine.yaml").write_text(template.stdout)
    assert plain("trialrun", "list", "mine.yaml", cwd=tmp_path).stdout.startswith("my-search  6 trials\n")
    (tmp_path / "mine.yaml").write_text(template.stdout.replace("[0.0001,", "[-1,"))
    where = "trialrun: mine.yaml: spec.parameters[0].choices[0]: "
    for command in ("list", "run", "train"):
        refused = plain("trialrun", command, "mine.yaml", cwd=tmp_path)
        assert refused.returncode == 2
        assert refused.stderr == f"{where}must be > 0 as a value of train.learningRate, got -1\n"


def test_a_plain_install_compares_runs(plain: Installed, run: Path, tmp_path: Path) -> None:
    compared = plain("trialrun", "compare", run, run, cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert "The best trial is the same in both." in compared.stdout
    assert json.loads(plain("trialrun", "compare", run, run, "--json", cwd=tmp_path).stdout)


@pytest.mark.parametrize("arguments", [("run",), ("train",), ("data", "build")])
def test_a_plain_install_says_what_a_command_needs_that_trains(
    plain: Installed, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    shutil.copy(SEARCH, tmp_path)
    refused = plain("trialrun", *arguments, "search.yaml", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith(NEEDS)
    assert refused.stderr.endswith("install it with `pip install 'trialrun[trainer]'`\n")
    assert [path.name for path in tmp_path.iterdir()] == ["search.yaml"]


def test_a_plain_install_runs_programs_beside_a_users_modules(plain: Installed, tmp_path: Path) -> None:
    for name in ("yaml.py", "torch.py", "keeper.py"):
        (tmp_path / name).write_text("raise SystemExit('a module of the user was imported')\n")
    (tmp_path / "trainer.py").write_text("OFFSET = 3\n")
    (tmp_path / "mine.py").write_text(
        "import trainer, trialrun\n"
        "trial = trialrun.trial(lr=1)\n"
        "trial.report(0, loss=trainer.OFFSET + trial.parameters['lr'])\n"
    )
    template = plain("trialrun", "init", "--program", "python mine.py", cwd=tmp_path).stdout
    (tmp_path / "search.yaml").write_text(
        template.replace("    - {name: optimizer", "#").replace("    - {name: mom", "#")
    )
    done = plain("trialrun", "run", "search.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["best"]["value"] == 3.001
    assert "report: its charts need the package plotly, found none; install it with" in done.stderr
