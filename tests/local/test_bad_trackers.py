"""A tracker that is down, slow, refuses or answers nonsense costs a run a sentence, and a trial nothing."""

import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import certificates
from local.badserver import BadServer
from local.cli import command, descendants, environment
from local.test_programs import REPORT, a_search, sh
from trainer.experiment.load import read
from trainer.local.ledger import read_ledger
from trainer.tracking.address import from_environment
from trainer.tracking.client import Failure, Mlflow
from trainer.tracking.tracker import Tracker, tracking
from unit.builders import a_trial

USER, PASSWORD, TOKEN = "mary", "hunter2-correct", "tok-8d7f6a5b4c"
SECRETS = (PASSWORD, TOKEN, "bWFyeTpodW50ZXIyLWNvcnJlY3Q=")


def run(folder: Path, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    file, env = a_search(folder, sh(REPORT)), environment() | {"MLFLOW_TRACKING_URI": url} | more
    return subprocess.run(
        command("run", file, "--out", folder / "out"), cwd=folder, env=env,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def assert_went_on(folder: Path, done: subprocess.CompletedProcess[str], *said: str) -> None:
    """The run ended well, with these words in its warnings, no traceback, and no secret anywhere."""
    assert done.returncode == 0, done.stderr
    assert len(read_ledger(folder / "out")) == 3
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: MLflow at")]
    assert len(warnings) == 2, f"one as it begins, one as it ends: {done.stderr}"
    for word in said:
        assert word in warnings[1], warnings
    assert "trials could not be told" in warnings[1]
    assert "the same command again tells the rest" in warnings[1]
    texts = [done.stdout, done.stderr, *(path.read_text(errors="replace") for path in files(folder / "out"))]
    for text in texts:
        assert "Traceback" not in text
        assert "\x1b" not in text
        assert not [secret for secret in SECRETS if secret in text]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("hangs", "it gave no answer"),
        ("hangs midway", "it gave no answer"),
        ("trickles", "it gave no answer"),
        ("closes midway", "it gave no answer (its answer ends too early)"),
        ("closes", "it gave no answer (Remote end closed connection without response)"),
        ("speaks no HTTP", "it gave no answer"),
        ("answers HTML", "is none of MLflow's; see that MLFLOW_TRACKING_URI names an MLflow server"),
        ("answers nonsense", "is none of MLflow's"),
        ("answers deep JSON", "is none of MLflow's"),
        ("redirects", "it redirects (302), which is not followed"),
        ("401", "it answered 401 (no [2J Basic ***) to experiments/get-by-name; set MLFLOW_TRACKING_USERNAME"),
        ("403", "it answered 403"),
        ("404", "it answered 404"),
        ("429", "it answered 429"),
        ("500", "it answered 500"),
    ],
)
def test_the_run_goes_on_and_says_why_nothing_is_told(tmp_path: Path, does: str, said: str) -> None:
    with BadServer(does) as server:
        began = time.monotonic()
        url = server.url.replace("://", f"://{USER}:{PASSWORD}@")
        done = run(tmp_path, url, MLFLOW_TRACKING_TOKEN=TOKEN)
        took = time.monotonic() - began
        assert_went_on(tmp_path, done, said, f"MLflow at {server.url}:")
        assert len(server.asked) < 20, "what fails is tried ever more rarely"
        assert server.authorizations == {f"Basic {SECRETS[2]}"}
    assert took < 60, "waited for a while at most"


@pytest.mark.slow
def test_the_same_where_nobody_listens_and_where_there_is_no_such_host(tmp_path: Path) -> None:
    assert_went_on(tmp_path / "a", run(tmp_path / "a", "http://127.0.0.1:1"), "(Connection refused)")
    assert_went_on(tmp_path / "b", run(tmp_path / "b", "http://no-such-host.invalid:5000"), "it gave no answer (")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("sqlite:///mlflow.db", "got one of sqlite"),
        ("databricks", "got something else"),
        (f"ftp://{USER}:{PASSWORD}@host/", "got one of ftp"),
        (f"http://{USER}:{PASSWORD}@", "got one of http"),
        (f"http://{USER}:{PASSWORD}@host:port", "got none"),
        ("http://host/ü", "ASCII"),
    ],
)
def test_an_address_that_is_none_of_a_server_is_told_in_a_line(
    given: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    with tracking(read(a_search(tmp_path, sh(REPORT))), tmp_path) as tracker:
        assert tracker is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: MLFLOW_TRACKING_URI: must be")
    assert said in line
    assert PASSWORD not in line


def test_a_certificate_that_nobody_knows_is_refused_unless_any_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = certificates.authority(tmp_path, "authority")
    made = certificates.server(tmp_path, signer, "mlflow", "IP:127.0.0.1")

    def why(**more: str) -> str:
        address = from_environment({"MLFLOW_TRACKING_URI": server.url, "MLFLOW_TRACKING_TOKEN": TOKEN} | more)
        assert address is not None
        with pytest.raises(Failure) as failure:
            Mlflow(address).experiment("any")
        return str(failure.value)

    with BadServer("500", made) as server:
        assert "certificate verify failed" in why()
        assert not server.asked
        assert "it answered 500" in why(MLFLOW_TRACKING_INSECURE_TLS="true")
        monkeypatch.setenv("SSL_CERT_FILE", str(signer.certificate))
        assert "it answered 500" in why(), "an authority of one's own"


@pytest.mark.parametrize("frozen", [False, True], ids=["a tracker that hangs", "a process that is frozen besides"])
def test_a_trial_that_begins_is_told_in_less_than_ten_milliseconds_whatever_the_tracker_does(
    frozen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Callable[[str], None]
) -> None:
    experiment, before = read(a_search(tmp_path, sh(REPORT))), set(descendants(os.getpid()))
    with BadServer("hangs") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        with tracking(experiment, tmp_path) as tracker:
            assert isinstance(tracker, Tracker)
            if frozen:
                (child,) = set(descendants(os.getpid())) - before
                os.kill(child, signal.SIGSTOP)
            took, trial = [], a_trial()
            for number in range(5000):  # more than a pipe holds
                began = time.perf_counter()
                tracker.begun(trial, 1, number)
                took.append(1000 * (time.perf_counter() - began))
            middle, mean = statistics.median(took), statistics.mean(took)
            say(f"  a trial that begins: {mean:.3f} ms ({middle:.3f} in the median, {max(took):.1f} at most)")
            assert mean < 10
            assert middle < 1, "the rest is what other processes on this machine had"
