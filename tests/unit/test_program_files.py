"""What a program's results rest on: its inputs and its own files; and what may be loaded before a script begins."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from trainer.experiment.errors import UserError
from trainer.experiment.program import Program
from trainer.local.program_files import ProgramFiles, leading_imports


def quietly(_: str) -> None: ...


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def content(folder: Path, **program: Any) -> dict[str, str]:
    given = json.dumps({"command": ["python", "train.py"]} | program)
    return ProgramFiles(Program.model_validate_json(given), folder).content(quietly)


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


def test_a_module_that_is_run_by_name_and_a_file_in_the_command_are_code(tmp_path: Path) -> None:
    written(tmp_path, {"pkg/__init__.py": "", "pkg/train.py": "", "run.sh": "true", "${parameters.x}": ""})
    module = content(tmp_path, command=["python", "-m", "pkg.train"])
    shell = content(tmp_path, command=["sh", "run.sh", "${parameters.x}"])
    assert content(tmp_path, command=["python", "-m", "os"]) == {}
    written(tmp_path, {"pkg/train.py": "1", "run.sh": "false", "${parameters.x}": "1"})
    assert content(tmp_path, command=["python", "-m", "pkg.train"]) != module
    assert content(tmp_path, command=["sh", "run.sh", "${parameters.x}"]) != shell


def test_inputs_are_files_and_folders_by_name_and_content(tmp_path: Path) -> None:
    written(tmp_path, {"train.py": "", "data/a.csv": "1", "data/deep/b.csv": "2", "rows.csv": "3"})
    files = ProgramFiles(Program(command=("true",), inputs=("data", "rows.csv")), tmp_path)
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
    files = ProgramFiles(Program(command=("python", "train.py"), inputs=("rows.csv",)), tmp_path)
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
