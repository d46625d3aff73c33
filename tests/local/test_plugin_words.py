"""The program under the name by which kubectl finds it: what it says of itself, and how it takes its words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.cli import ROOT


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The script that an installation makes."""
    script = tmp_path / "kubectl-trialrun"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom trainer.__main__ import console\nsys.exit(console())\n")
    script.chmod(0o755)
    return script


def said(plugin: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """By a machine without kubectl."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": os.devnull}
    return subprocess.run([plugin, *words], env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_it_calls_itself_what_the_user_calls_it(plugin: Path) -> None:
    assert said(plugin, "--help").stdout.startswith("usage: kubectl trialrun [-h] COMMAND ...\n")
    assert said(plugin, "logs", "--help").stdout.startswith("usage: kubectl trialrun logs [-h] [-n NAMESPACE]")
    assert "  kubectl trialrun status NAME  " in said(plugin).stdout
    assert said(plugin, "status").stderr.endswith(
        "kubectl trialrun status: error: the following arguments are required: EXPERIMENT\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("status", "mine"),
        ("watch", "hps/mine", "-n", "team"),
        ("logs", "mine", "-n", "team", "3"),
        ("logs", "-n", "team", "mine", "--rank", "1", "3", "-f"),
        ("best", "sct/mine"),
        ("stop", "mine", "--context", "here"),
        ("rerun", "hps/mine"),
        ("fetch", "mine", "-n", "team", "out"),
        ("compare", "hps/mine", "-n", "team", "sct/other"),
        ("compare", "mine", "other"),
    ],
    ids=" ".join,
)
def test_options_may_stand_between_words_and_without_kubectl_it_says_what_to_install(
    plugin: Path, words: tuple[str, ...]
) -> None:
    done = said(plugin, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is asked for with kubectl, which cannot be started (Not a directory); install it" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("status", "a/b/c"), ("logs", "Mine"), ("stop", "pods/mine")], ids=" ".join)
def test_what_is_no_name_is_refused_before_anything_is_asked(plugin: Path, words: tuple[str, ...]) -> None:
    done = said(plugin, *words)
    assert done.returncode == 2
    assert done.stderr == f"trialrun: {words[1]}: must be hps/NAME, sct/NAME or NAME, an experiment on a cluster\n"
