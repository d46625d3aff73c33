"""`compare` and `fetch` as they are called: what they read, print and refuse."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from trainer.__main__ import main
from trainer.experiment.record import Record, encode
from trainer.experiment.spec import Experiment
from unit.builders import four
from unit.ledger_pairs import a_scale_test, one_at_a_time, two_at_a_time


def a_run(folder: Path, experiment: Experiment, records: Sequence[Record]) -> Path:
    """What `run` leaves of an experiment."""
    folder.mkdir()
    (folder / "experiment.json").write_text(json.dumps(experiment.document(sparse=True)))
    (folder / "results.jsonl").write_text("".join(encode(record) + "\n" for record in records))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    one = a_run(tmp_path / "one", four(), one_at_a_time())
    return str(one), str(a_run(tmp_path / "two", four(), two_at_a_time()))


def test_two_folders_are_compared_as_text_as_json_and_as_a_page(
    runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *runs]) == 0
    assert "A took 12.0 s, B took 6.00 s, so A took 2 times as long." in capsys.readouterr().out
    page = tmp_path / "pages" / "compared.html"
    assert main(["compare", *runs, "--json", "--html", str(page)]) == 0
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert (facts["a"]["source"], facts["b"]["source"]) == runs
    assert (facts["comparison"]["speedup"], facts["timeSaved"], facts["agreement"]["same"]) == (2, 6, 4)
    assert said.err == f"page: {page}\n"
    assert page.read_text().startswith("<!doctype html>")


def test_three_folders_are_compared_and_json_has_the_others_against_the_first(
    runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    third = str(a_run(tmp_path / "three", four(), one_at_a_time(value=0.5)))
    assert main(["compare", *runs, third]) == 0
    assert "The best validMse is A's, 0.0002, then B 0.0002 and C 0.5." in capsys.readouterr().out
    assert main(["compare", *runs, third, "--json"]) == 0
    (first, second) = json.loads(capsys.readouterr().out)["comparisons"]
    assert [facts["a"]["source"] for facts in (first, second)] == [runs[0]] * 2
    assert [facts["b"]["source"] for facts in (first, second)] == [runs[1], third]
    assert second["bests"]["better"] == "a"
    assert main(["compare", *runs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first


def test_what_scripts_read_of_two_keeps_its_keys(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *runs, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    before = {"a", "b", "comparison", "timeSaved", "remark", "agreement", "cells", "frontier"}
    assert facts.keys() == before | {"bests", "changes"}
    assert facts["a"].keys() == {"source", "summary"}
    assert facts["agreement"].keys() == {"both", "same", "largest", "outcomes"}
    assert facts["bests"]["difference"] == {"value": 0, "interval": None}
    assert facts["changes"] == []


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_what_is_no_ledger_is_refused(
    runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = runs
    assert refusal(capsys, "compare", one, "pods/mine") == (
        "trialrun: pods/mine: must be a run's folder, such as runs/my-search, or hps/NAME or sct/NAME on a cluster\n"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty}: holds no run" in refusal(capsys, "compare", str(empty), one)
    experiment, entries = a_scale_test()
    sizes = a_run(tmp_path / "sizes", experiment, entries.records)
    assert refusal(capsys, "compare", one, str(sizes)) == (
        f"trialrun: {one} is a HyperparamSearch and {sizes} is a ScaleTest: "
        "two searches can be compared, or two scale tests\n"
    )
    assert refusal(capsys, "fetch", "pods/mine") == (
        "trialrun: pods/mine: must be hps/NAME, sct/NAME or NAME, an experiment on a cluster\n"
    )


def test_without_kubectl_a_cluster_s_experiment_is_refused(
    runs: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("hps/mine", "hyperparamsearch/mine", "sct/mine"):
        assert refusal(capsys, "compare", runs[0], name) == (
            f"trialrun: {name}: is asked for with kubectl, which cannot be started (No such file or directory); "
            "install it, or put it on the PATH\n"
        )


def kubectl_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    program = tmp_path / "kubectl"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


SAID = {
    'error: the server doesn\'"\'"\'t have a resource type "hyperparamsearches"': (
        "the cluster (no context is chosen) has no hyperparamsearches; install Trialrun there (docs/cluster.md), or "
        "choose another with `kubectl config use-context NAME`, or by KUBECONFIG"
    ),
    "error: You must be logged in to the server (Unauthorized)": (
        "the cluster (no context is chosen) does not let you: error: You must be logged in to the server "
        "(Unauthorized); log in as somebody who may, or choose another with `kubectl config use-context NAME`, or by "
        "KUBECONFIG"
    ),
    "": "kubectl failed, and said nothing",
}


@pytest.mark.parametrize(("said", "sentence"), SAID.items(), ids=["no such kind", "not logged in", "nothing"])
def test_what_kubectl_complains_of_becomes_a_sentence(
    said: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl_says(tmp_path, monkeypatch, said)
    assert refusal(capsys, "fetch", "hps/mine") == f"trialrun: hps/mine: {sentence}\n"


def test_a_comparison_starts_without_what_is_slow_to_import(runs: tuple[str, str]) -> None:
    code = (
        "import sys\nfrom trainer.__main__ import main\n"
        f"main(['compare', *{runs!r}])\n"
        "slow = {'torch', 'rich', 'plotly', 'scipy', 'numpy'}\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & slow))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
