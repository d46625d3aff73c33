"""The page that states the contract of programs states it whole, and what it shows works as it stands."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from local.cli import ROOT, trainer
from local.test_programs import a_search
from trainer.experiment.outcome import EXIT_CODES
from trainer.experiment.progress import ProgressReport
from trainer.local.ledger import read_ledger
from trialrun_operator.orders import Known, order
from trialrun_operator.workload import workload
from unit.objects import UID

PAGE = (ROOT / "docs/bring-your-own-trainer.md").read_text().partition("## An image with a trainer in it")[0]
CONTRACT = PAGE.partition("## Without the client, in any language")[2]


def named(text: str) -> set[str]:
    """What stands in the first column of a page's tables."""
    rows = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def pods_order(file: Path) -> dict[str, Any]:
    """What a trial's pod is told."""
    work = workload(yaml.safe_load(file.read_text()))
    told: dict[str, Any] = json.loads(order(work, UID, work.trials[0], 1, Known()).variables["TRIALRUN_TRIAL"])
    return told


def test_a_trainer_of_sh_and_printf_by_the_page_alone_works(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.+?)```", CONTRACT, re.DOTALL)
    done = trainer("run", a_search(tmp_path, yaml.safe_load(block)["command"]), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    records = read_ledger(tmp_path / "out")
    assert [(record.parameters["x"], record.metrics) for record in records] == [
        (1, {"loss": 1}), (2, {"loss": 0}), (3, {"loss": 1})
    ]  # fmt: skip


def test_the_page_names_every_key_that_goes_in_and_comes_out(tmp_path: Path) -> None:
    went_in, came_out = CONTRACT.split("**Out**")
    tells = ["python", "-c", "import os; print(os.environ['TRIALRUN_TRIAL'])"]
    trainer("run", a_search(tmp_path, tells), "--out", tmp_path / "out")
    told = json.loads(next((tmp_path / "out").rglob("log-0.txt")).read_text())
    here, in_pods = went_in.split("A pod is told these beside them")
    assert named(here) == set(told)
    assert named(in_pods) == pods_order(tmp_path / "search.yaml").keys() - set(told)
    aliases = {str(field.alias or name) for name, field in ProgressReport.model_fields.items()}
    assert named(came_out) == aliases


def test_the_page_names_every_exit_code_that_means_something() -> None:
    codes = {str(code) for outcome, code in EXIT_CODES.items() if code > 1}
    (row,) = re.findall(r"^\| ends with ([\d, ]+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert set(row[0].split(", ")) == codes
    assert [EXIT_CODES[outcome] for outcome in EXIT_CODES if f"`{outcome}`" in row[1]] == sorted(map(int, codes))


def test_what_the_page_shows_of_files_for_pods_is_taken(tmp_path: Path) -> None:
    shown = PAGE.partition("## In pods")[2].partition("## Without the client")[0]
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.+?)```", shown, re.DOTALL)]
    assert len(blocks) >= 3
    for block in blocks:
        whole = yaml.safe_load(a_search(tmp_path, ["true"]).read_text())
        spec = block["spec"]
        if "code" in spec["program"]:
            spec["program"] |= {"code": "configmap/my-code"}
        work = workload(whole | {"spec": whole["spec"] | spec})
        assert len(work.trials) == 3


def test_the_file_that_the_page_shows_is_one() -> None:
    shown = next(block for block in re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL) if "kind:" in block)
    document = yaml.safe_load(shown)
    assert document["spec"]["program"]["command"] == ["python", "train.py"]
    listed = trainer("list", "/dev/stdin", input=shown)
    assert listed.stdout.startswith("digits  36 trials\n"), listed.stderr
