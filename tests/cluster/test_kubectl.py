"""Every command that asks a cluster, with a real kubectl and no cluster there: one sentence, at once."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.component import free_port
from cluster.operatorprocess import ROOT
from cluster.programs import build
from local.test_programs import a_search

CONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "here",
    "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": "abc"}}],
}
COMMANDS = {
    "fetch": ["fetch", "hps/mine", "out"],
    "fetch a scale test": ["fetch", "sct/mine", "out", "-n", "team"],
    "compare": ["compare", "hps/mine", "sct/other"],
    "status": ["status", "hps/mine"],
    "status of a bare name": ["status", "mine"],
    "watch": ["watch", "sct/mine", "-n", "team"],
    "logs": ["logs", "hps/mine", "3"],
    "best": ["best", "hps/mine", "--json"],
    "stop": ["stop", "hps/mine"],
    "rerun": ["rerun", "hps/mine"],
    "apply": ["apply", "search.yaml"],
    "upload": ["data", "upload", "rows.csv", "--claim", "rows"],
    "upload with an image": ["data", "upload", "rows.csv", "--claim", "rows", "--image", "trainer:1"],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = build.program("kubectl").parent  # before the home moves, where they are kept
    (tmp_path / "rows.csv").write_text("Date,Close\n")
    a_search(tmp_path, ["python", "train.py"], program={"code": "src"})
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def said(here: Path, words: list[str], config: object) -> list[str]:
    """The lines on stderr but for those that say what is waited for, which a slow machine brings anywhere."""
    return [line for line in told(here, words, config) if "waiting for the cluster's answer" not in line]


def told(here: Path, words: list[str], config: object) -> list[str]:
    """The lines on stderr of a command that is refused and leaves nothing."""
    if config is not None:
        (here / "kubeconfig").write_text(config if isinstance(config, str) else json.dumps(config))
    before = {path.name for path in here.iterdir()}
    environment = os.environ | {"KUBECONFIG": str(here / "kubeconfig")}
    command = [sys.executable, "-m", "trainer", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert {path.name for path in here.iterdir()} - {".kube"} <= before
    return done.stderr.splitlines()


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_server_that_refuses(words: list[str], here: Path) -> None:
    (line,) = said(here, words, CONFIG)
    assert line.endswith(
        "the cluster cannot be reached (context here, server https://127.0.0.1:1): The connection to the server "
        "127.0.0.1:1 was refused; see that it runs, or choose another with `kubectl config use-context NAME`, or by "
        "KUBECONFIG"
    )


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_no_context(words: list[str], here: Path) -> None:
    for config in (None, CONFIG | {"current-context": ""}):
        (line,) = said(here, words, config)
        assert "kubectl knows no cluster, because no context is chosen" in line
        assert "set KUBECONFIG" in line


@pytest.mark.parametrize(
    "config",
    [CONFIG | {"current-context": "gone"}, "a: [b", "[1, 2]"],
    ids=["a context that is gone", "no YAML", "a list"],
)
def test_a_configuration_that_cannot_be_used(config: object, here: Path) -> None:
    (line,) = said(here, COMMANDS["fetch"], config)
    assert line.startswith("trialrun: hps/mine: kubectl's configuration cannot be used: ")
    assert line.endswith("; mend it, or set KUBECONFIG to another file")


def test_a_program_for_credentials_that_is_missing(here: Path) -> None:
    helper = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such", "interactiveMode": "Never"}
    (line,) = said(here, COMMANDS["fetch"], CONFIG | {"users": [{"name": "u", "user": {"exec": helper}}]})
    assert "getting credentials: exec: executable no-such not found; see that it runs" in line


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", port := free_port())):
        yield port


@pytest.mark.slow
def test_a_server_that_says_nothing_is_named_while_it_is_waited_for(silent: int, here: Path) -> None:
    server = f"https://127.0.0.1:{silent}"
    config = CONFIG | {"clusters": [{"name": "c", "cluster": {"server": server}}]}
    waiting, line = told(here, COMMANDS["fetch"], config)
    assert waiting == f"hps/mine: waiting for the cluster's answer (context here, server {server})"
    assert line.startswith("trialrun: hps/mine: the cluster ")
    assert f"(context here, server {server})" in line
