"""The programs are built once, whole or not at all, and anew when their locked sources change."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.programs import build

# Stands in for the compiler: writes its file slowly and in two parts, and counts its runs.
SLOW_GO = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
printf half > "$2"; sleep 0.5; printf whole > "$2"
echo built >> "$XDG_CACHE_HOME/count"
"""
FAILING_GO = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
printf half > "$2"; echo 'main.go:1: syntax error' >&2; exit 1
"""
# Knows the folder of a module too.
GO_WITH_MODULES = """#!/bin/sh
if [ "$1" = list ]; then echo "$XDG_CACHE_HOME/module"; exit; fi
while [ "$1" != -o ]; do shift; done
printf whole > "$2"
"""


def put_go(folder: Path, script: str) -> None:
    (folder / "go").write_text(script)
    (folder / "go").chmod(0o755)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a folder for a stand-in of Go at the front of the PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path


def test_two_runs_at_once_build_a_program_once(cache: Path) -> None:
    put_go(cache, SLOW_GO)
    command = [sys.executable, build.__file__, "kubectl"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    for run in runs:
        run.communicate(timeout=600)
        assert run.returncode == 0
    assert (cache / "count").read_text() == "built\n"
    assert build.program("kubectl").read_text() == "whole"


def test_a_failed_build_leaves_nothing_and_says_what_the_compiler_said(cache: Path) -> None:
    put_go(cache, FAILING_GO)
    with pytest.raises(build.ProgramMissing, match="syntax error"):
        build.program("kubectl")
    assert [file.name for file in cache.rglob("*") if file.is_file()] == ["go", "kubectl.lock"]


def test_without_go_the_sentence_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(
        build.ProgramMissing, match=r"kubectl is not there: set KUBEBUILDER_ASSETS .* Go 1\.24 or newer"
    ):
        build.program("kubectl")


def test_changed_sources_are_another_program(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_go(cache, SLOW_GO)
    before = build.program("kubectl")
    sources = tmp_path / "sources" / "kubernetes"
    sources.mkdir(parents=True)
    (sources / "go.mod").write_text("another")
    (sources / "go.sum").write_text("lock")
    monkeypatch.setattr(build, "HERE", sources.parent)
    assert build.program("kubectl") != before


def test_test_assets_that_are_given_are_used(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_go(cache, SLOW_GO)
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "kubectl").touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    assert build.program("kubectl") == assets / "kubectl"
    assert os.fspath(assets) not in os.fspath(build.program("helm4"))


def test_what_belongs_to_a_controller_is_kept_beside_it(cache: Path) -> None:
    put_go(cache, GO_WITH_MODULES)
    kept = cache / "module" / "config" / "components" / "crd" / "kind.yaml"
    kept.parent.mkdir(parents=True)
    kept.write_text("a kind")
    for path in (kept, *kept.parents[:3]):
        path.chmod(path.stat().st_mode & 0o555)  # as in Go's module cache
    assert (build.manifests("jobset") / "crd" / "kind.yaml").read_text() == "a kind"
    assert (build.manifests("jobset") / "crd").stat().st_mode & 0o200
