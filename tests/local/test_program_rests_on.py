"""What a program's results rest on is in its records: what has changed since is refused, or left out and said."""

import json
from pathlib import Path
from typing import Any

import pytest

from local.cli import trainer
from local.test_programs import REPORT, a_search, sh
from trainer.local.ledger import read_ledger

pytestmark = pytest.mark.slow
SCRIPT = """
import trialrun
from model import LOSS
trial = trialrun.trial(x=1, y=2)
{more}
trial.report(0, loss=LOSS * trial.parameters["x"])
"""


def a_script(folder: Path, more: str = "", loss: int = 1) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(SCRIPT.format(more=more))
    (folder / "model.py").write_text(f"LOSS = {loss}\n")
    (folder / "rows.csv").write_text("1\n")


def run(folder: Path, *options: str, **spec: Any) -> tuple[int, str, dict[str, Any]]:
    """The exit code, what was said, and the summary."""
    file = a_search(folder, spec.pop("command", ["python", "train.py"]), **spec)
    done = trainer("run", file, "--out", folder / "out", *options)
    summary = folder / "out/summary.json"
    return done.returncode, done.stderr, json.loads(summary.read_text()) if summary.exists() else {}


def test_what_has_changed_since_the_first_trial_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    a_script(tmp_path)
    program = {"inputs": ["rows.csv"]}
    code, _, summary = run(tmp_path, program=program)
    assert (code, summary["otherData"], summary["unverified"], summary["caveats"]) == (0, 0, 0, [])
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    a_script(tmp_path, loss=2)
    code, said, _ = run(tmp_path, program=program)
    assert code == 2
    assert "spec.program.command: the code has changed since the first trial" in said
    assert "put the old code back, give this run a folder of its own with --out, or run all anew with --fresh" in said

    a_script(tmp_path)
    (tmp_path / "rows.csv").write_text("2\n")
    code, said, _ = run(tmp_path, program=program)
    assert (code, "spec.program.inputs: the data has changed since the first trial" in said) == (2, True)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before

    code, _, summary = run(tmp_path, "--fresh", program=program)
    assert (code, summary["counts"]["succeeded"]) == (0, 3)


def test_code_that_failed_may_be_mended(tmp_path: Path) -> None:
    a_script(tmp_path, more="trial.parameters['no such']")
    code, _, summary = run(tmp_path)
    assert (code, summary["counts"]["failed"]) == (1, 3)
    a_script(tmp_path)
    code, _, summary = run(tmp_path)
    assert (code, summary["counts"]["succeeded"], summary["otherData"]) == (0, 3, 0)


def test_a_trial_whose_code_changed_while_the_others_ran_is_left_out_and_it_is_said(tmp_path: Path) -> None:
    a_script(tmp_path, more="if trial.parameters['x'] == 1: open('model.py', 'w').write('LOSS = -5')")
    code, said, summary = run(tmp_path)
    assert (code, summary["otherData"], summary["best"]["parameters"]) == (0, 2, {"x": 1})
    first, second, third = read_ledger(tmp_path / "out")
    assert (second.metrics, third.metrics) == ({"loss": -10}, {"loss": -15})
    assert first.evidence["code"] != second.evidence["code"] == third.evidence["code"]
    assert "2 trials (1, 2) ran other code or on other inputs than the first and are left out" in " ".join(
        said.split()
    )


def test_a_program_tells_what_it_rests_on_and_a_naive_figure(tmp_path: Path) -> None:
    tells = "trial.naive(loss=1.5)\ntrial.rests_on(data='rows', validation=f'part {trial.parameters[\"x\"] // 3}')"
    a_script(tmp_path, more=tells)
    _, said, summary = run(tmp_path)
    assert summary["unverified"] == 0
    assert summary["best"] is None
    assert [group["trials"] for group in summary["groups"]] == [2, 1]
    assert summary["groups"][0]["naive"]["value"] == 1.5
    assert "The trials were validated on 2 different sets of samples" in " ".join(said.split())


def test_parameters_that_no_trial_read_are_named(tmp_path: Path) -> None:
    a_script(tmp_path)
    names = [{"name": name, "choices": [1, 2]} for name in ("x", "v", "w", "placed")]
    command = ["python", "train.py", "${parameters.placed}"]
    _, _, summary = run(tmp_path, command=command, parameters=names)
    assert summary["caveats"][1] == (
        "No trial has read parameters v, w: they stand in no placeholder, and the program did not ask for them, so "
        "their values made no difference."
    )


def test_of_a_program_without_the_client_nobody_knows_what_it_read(tmp_path: Path) -> None:
    names = [{"name": name, "choices": [1, 2]} for name in ("x", "v")]
    _, _, summary = run(tmp_path, command=sh(REPORT), parameters=names)
    assert [caveat for caveat in summary["caveats"] if "read parameter" in caveat] == []
    assert summary["unverified"] == 4
