"""docs/exports.md: its examples run, and it names every column, state and extra."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.cli import ROOT, environment
from trainer.export.table import columns
from unit.exported import CASES, Case, failing, the_default_search

PAGE = (ROOT / "docs/exports.md").read_text(encoding="utf-8")


def named(section: str) -> set[str]:
    """What stands in the first column of a section's tables."""
    text = PAGE.partition(f"## {section}")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def table_of(case: Case) -> set[str]:
    names = (column.name for column in columns(case.run()))
    return {re.sub(r"^(parameters|metrics)\..+", r"\1.NAME", name) for name in names}


def test_the_page_names_every_column() -> None:
    assert named("A table") - {"multiplier"} == table_of(the_default_search()) == table_of(failing())


@pytest.mark.slow
def test_what_the_page_shows_runs(tmp_path: Path) -> None:
    case = CASES["the_default_search"]()
    case.leave(tmp_path / "runs" / "my-search")
    experiment = tmp_path / "runs" / "my-search" / "experiment.json"
    experiment.write_text(experiment.read_text().replace('"sp500-grid"', '"my-search"'))
    commands = re.findall(r"^python -m trainer (export .+)$", PAGE, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        words = [sys.executable, "-m", "trainer", *command.split()]
        done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    script = "\n".join(re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    best = case.summary().best
    assert best is not None
    assert f"\n{best.index} {best.value} {{" in done.stdout
    assert shutil.which("tensorboard", path=str(Path(sys.executable).parent)), "what the page starts is installed"
