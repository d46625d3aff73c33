"""What a program's results rest on: its inputs and its own files; and what may be loaded before a script begins."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainer.experiment import code
from trainer.experiment.errors import UserError
from trainer.experiment.program import Program
from trainer.local.program_files import ProgramFiles, code_files, leading_imports

FILE = "search.yaml"


def quietly(_: str) -> None: ...


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def content(folder: Path, **program: Any) -> dict[str, str]:
    given = json.dumps({"command": ["python", "train.py"]} | program)
    return ProgramFiles(Program.model_validate_json(given), folder / FILE).content(quietly)


def test_code_is_the_script_and_what_it_imports_beside_it(tmp_path: Path) -> None:
    written(tmp_path, {
        "train.py": "import os, model\ndef main():\n    from parts.deep import x\n",
        "model.py": "import layers.first\n",
        "layers/__init__.py": "",
        "layers/first.py": "",
        "parts/__init__.py": "",
        "parts/deep.py": "",
        "other.py": "",
    })  # fmt: skip
    before = content(tmp_path)
    assert set(before) == {"code"}
    written(tmp_path, {"other.py": "x = 1"})
    assert content(tmp_path) == before, "nothing imports it"
    for name in ("train.py", "model.py", "layers/first.py", "parts/deep.py"):
        was = (tmp_path / name).read_text()
        written(tmp_path, {name: was + "# changed\n"})
        assert content(tmp_path) != before, name
        written(tmp_path, {name: was})
        assert content(tmp_path) == before, "content counts, not when it was written"


def test_code_that_was_changed_within_a_second_is_what_python_runs(tmp_path: Path) -> None:
    loss = written(tmp_path, {"train.py": "import loss\n", "loss.py": "print(1)\n"}) / "loss.py"
    script = [sys.executable, str(tmp_path / "train.py")]
    assert subprocess.check_output(script, env={}) == b"1\n"
    [compiled] = tmp_path.glob("__pycache__/*.pyc")
    before = loss.stat().st_mtime_ns
    content(tmp_path)
    os.utime(compiled, ns=(before + 1, before + 1))
    content(tmp_path)
    assert compiled.exists(), "it is younger than its source"

    second = before // 10**9 * 10**9
    loss.write_text("print(2)\n")
    os.utime(loss, ns=(second + 2, second + 2))
    os.utime(compiled, ns=(second + 1, second + 1))
    assert subprocess.check_output(script, env={}) == b"1\n", "Python doesn't see it"
    content(tmp_path)
    assert subprocess.check_output(script, env={}) == b"2\n"


def test_a_module_that_is_run_by_name_and_a_file_in_the_command_are_code(tmp_path: Path) -> None:
    written(tmp_path, {"pkg/__init__.py": "", "pkg/train.py": "", "run.sh": "true", "${parameters.x}": ""})
    module = content(tmp_path, command=["python", "-m", "pkg.train"])
    shell = content(tmp_path, command=["sh", "run.sh", "${parameters.x}"])
    assert content(tmp_path, command=["python", "-m", "os"]) == {}
    written(tmp_path, {"pkg/train.py": "1", "run.sh": "false", "${parameters.x}": "1"})
    assert content(tmp_path, command=["python", "-m", "pkg.train"]) != module
    assert content(tmp_path, command=["sh", "run.sh", "${parameters.x}"]) != shell


def test_a_code_folder_is_all_that_is_in_it_but_what_no_trial_runs(tmp_path: Path) -> None:
    own = {
        "train.py": "1",
        "a.b": "2",
        "a/b": "3",
        "parts/deep/data.bin": "\xff",
        "search.yaml/x": "",
        "runs/notes": "",
    }
    written(tmp_path, own)
    before = [name for name, _ in code_files(tmp_path, tmp_path / FILE)]
    assert before == sorted(own), "as a ConfigMap's hash has them"
    told = content(tmp_path, code=".")
    assert told == {
        "code": code.digest({name: path.read_bytes() for name, path in code_files(tmp_path, tmp_path / FILE)})
    }
    others = {
        ".git/HEAD": "", ".env": "", "parts/.cache": "", "__pycache__/train.pyc": "", "parts/__pycache__/x.pyc": "",
        "runs/mine/.trialrun": "", "runs/mine/results.jsonl": "", "runs/mine/trials/x/files/model": "",
    }  # fmt: skip
    written(tmp_path, others)
    (tmp_path / "gone").symlink_to("nowhere")
    assert content(tmp_path, code=".") == told
    written(tmp_path, {"runs/others/results.jsonl": ""})
    assert content(tmp_path, code=".") != told, "nothing says that it is a run's"


def test_the_file_of_the_experiment_is_no_code_however_the_folder_is_named(tmp_path: Path) -> None:
    written(tmp_path / "src", {"train.py": "", FILE: "repeats: 1", f"deep/{FILE}": ""})
    for folder in ("src", "src/.", "src/../src", "src/deep/.."):
        names = [name for name, _ in code_files(tmp_path / folder, tmp_path / "src" / FILE)]
        assert names == [f"deep/{FILE}", "train.py"], folder
    assert FILE in [name for name, _ in code_files(tmp_path / "src", tmp_path / FILE)], "another one of that name"


def test_inputs_are_files_and_folders_by_name_and_content(tmp_path: Path) -> None:
    written(tmp_path, {"train.py": "", "data/a.csv": "1", "data/deep/b.csv": "2", "rows.csv": "3"})
    files = ProgramFiles(Program(command=("true",), inputs=("data", "rows.csv")), tmp_path / FILE)
    before = files.content(quietly)
    assert set(before) == {"inputs"}
    (tmp_path / "data/deep/b.csv").rename(tmp_path / "data/deep/c.csv")
    assert files.content(quietly) != before
    (tmp_path / "data/deep/c.csv").rename(tmp_path / "data/deep/b.csv")
    assert files.content(quietly) == before
    written(tmp_path, {"rows.csv": "4"})
    os.utime(tmp_path / "rows.csv", ns=(1, 1))
    assert files.content(quietly) != before


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, {"train.py": "import model", "model.py": "", "rows.csv": "3"})
    files = ProgramFiles(Program(command=("python", "train.py"), inputs=("rows.csv",)), tmp_path / FILE)
    before = files.content(quietly)
    opened = []
    original = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *given, **more: (opened.append(self), original(self, *given, **more))[1]
    )
    assert files.content(quietly) == before
    assert tmp_path / "rows.csv" not in opened


def test_an_input_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"spec\.program\.inputs\[1\]: must be a file .*nowhere\.csv, which is not there"
    ):
        content(written(tmp_path, {"train.py": ""}), inputs=["train.py", "nowhere.csv"])


@pytest.mark.parametrize(
    ("script", "loaded"),
    [
        ("import os\nimport yaml, pydantic.fields\nfrom numpy.random import rand\n", ["yaml", "pydantic", "numpy"]),
        ('"""Says what it is."""\nimport trialrun\nimport yaml\n', ["yaml"]),
        ("import os\nos.environ['X'] = '1'\nimport yaml\n", []),
        ("import yaml\nimport beside\nimport numpy\n", ["yaml", "pydantic"]),  # what it does comes before numpy
        ("import yaml\nimport nowhere\nimport numpy\n", ["yaml"]),
        ("import yaml\nimport trainer.experiment\nimport numpy\n", ["yaml"]),
        ("if True:\n    import yaml\n", []),
        ("import torch\n", ["torch", "torch._dynamo"]),
        ("from . import x\nimport yaml\n", ["yaml"]),
        ("this is no Python\n", []),
    ],
)
def test_only_what_comes_first_is_loaded_beforehand(tmp_path: Path, script: str, loaded: list[str]) -> None:
    written(tmp_path, {"train.py": script, "beside.py": "import pydantic\nprint()\nimport rich\n"})
    assert leading_imports(tmp_path / "train.py") == loaded
