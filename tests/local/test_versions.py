"""Version 0.1 and this one take turns in one folder, with one cache of data sets: nothing runs again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from local.cli import ROOT, write_search
from trainer.local.ledger import read_ledger
from version_0_1 import Version01

pytestmark = pytest.mark.slow

Trainer = Callable[..., subprocess.CompletedProcess[str]]
RATES = [0.1, 0.01, 0.001]


def trainer(environment: dict[str, str], home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line of the version that the environment has, in a home of the test's own."""
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *map(str, arguments)],
        cwd=home,
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def versions(version_0_1: Version01, tmp_path: Path) -> dict[str, Trainer]:
    """The command lines of both versions."""
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    return {"0.1": partial(trainer, version_0_1.environment(), tmp_path), "0.2": partial(trainer, here, tmp_path)}


def summary(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def data_sets(home: Path) -> dict[str, int]:
    """When each file of the cached data sets was written, but for what this version notes beside them."""
    noted = ("stamps.json", "concerns.json")
    files = (home / ".cache" / "trialrun" / "data").rglob("*")
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file() and path.name not in noted}


def counts(summary: dict[str, Any]) -> dict[str, Any]:
    """The counts of a summary. Version 0.1 stops no trial early, and doesn't count what was stopped."""
    return {**summary["counts"], "stopped": 0}


@pytest.mark.parametrize(("first", "then"), [("0.1", "0.2"), ("0.2", "0.1")])
def test_a_folder_that_one_version_ran_is_gone_on_with_by_the_other(
    versions: dict[str, Trainer], first: str, then: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = summary(versions[first]("run", write_search(tmp_path, rates=RATES[:2]), "--out", out, "--json"))
    ledger, cached = (out / "results.jsonl").read_text(), data_sets(tmp_path)
    assert cached

    again = summary(versions[then]("run", tmp_path / "search.yaml", "--out", out, "--json"))
    assert (out / "results.jsonl").read_text() == ledger, "nothing runs again"
    assert counts(again) == counts(ran)
    assert (again["best"]["id"], again["best"]["value"]) == (ran["best"]["id"], ran["best"]["value"])
    assert ran["best"]["id"] in (out / "report.html").read_text()

    more = summary(versions[then]("run", write_search(tmp_path, rates=RATES), "--out", out, "--json"))
    assert (out / "results.jsonl").read_text().startswith(ledger)
    assert [record.index for record in read_ledger(out)] == [0, 1, 2], "what was added ran, and only that"
    assert more["counts"]["succeeded"] == 3
    assert data_sets(tmp_path) == cached, "the data set is shared"

    shown = summary(versions["0.2"]("report", out, "--json"))
    assert shown["unverified"] == {"0.1": 2, "0.2": 1}[first]
    assert any("unverified" in caveat for caveat in shown["caveats"])
    assert counts(summary(versions["0.1"]("report", out, "--json"))) == counts(more)

    trained = out / "trials" / ran["best"]["id"]
    one, other = (versions[name]("predict", trained).stdout for name in ("0.1", "0.2"))
    assert one == other
    assert len(one.splitlines()) > 10


@pytest.mark.parametrize("run", ["search-run", "windows-run"])
def test_a_folder_of_0_1_as_it_was_committed_is_shown(versions: dict[str, Trainer], run: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for path in (ROOT / "tests" / "data" / "of_0_1" / run).iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    shown = summary(versions["0.2"]("report", out, "--json"))
    assert shown["unverified"] == shown["counts"]["succeeded"] == 4
    assert (shown["best"] is None) == (run == "windows-run")
