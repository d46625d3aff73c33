"""What a trial's container runs, told as the operator tells it, in a process here."""

import json
import signal
import socket
import subprocess
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from eventually import eventually
from local.cli import ROOT, command, environment, kill, trainer, write_search
from trainer.experiment.load import read
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import RankReport, decode_report
from trainer.training.checkpoint import CHECKPOINT
from trialrun_operator.orders import TRIAL_VARIABLE, trial_document
from trialrun_operator.workload import workload

Document = dict[str, Any]


TOLD = {"dataHash", "validationHash"}  # the hashes that our trainer tells
UID = "0f6d1c1e-4a53-4a92-8d0c-6c1f2f6f0b11"


class TrialPod:
    """The containers of the first trial of a small search, with the volumes of `folder` where they exist."""

    def __init__(self, folder: Path, *, workers: int = 1, train: Document | None = None, **data: object) -> None:
        self.folder = folder
        document = read(write_search(folder, rates=[0.01])).document(sparse=True)
        document["spec"]["training"]["data"] |= data
        document["spec"]["training"]["train"] |= train or {}
        document["spec"]["workers"] = workers
        self.work = workload(document)
        self.trial = self.work.trials[0]

    def start(self, attempt: int = 1) -> list[subprocess.Popen[str]]:
        """A process for each rank of an attempt."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        told = {TRIAL_VARIABLE: trial_document(self.work, UID, self.trial, attempt)}
        processes = []
        for rank in range(self.trial.workers):
            message = self.message(attempt, rank)
            message.write_text("what was there before, which is longer than nothing" * 100)
            ranks = {
                "RANK": str(rank),
                "WORLD_SIZE": str(self.trial.workers),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": "lo",
            }
            volumes = ("--data", self.folder / "data", "--output", self.folder / "output")
            processes.append(
                subprocess.Popen(
                    command("pod", "--message", message, *volumes),
                    cwd=ROOT,
                    env=environment(self.folder / "home") | ranks | told,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        return processes

    def run(self, attempt: int = 1) -> tuple[int, RankReport, str]:
        """Rank 0's exit code, termination message and what it said, once all ranks have ended."""
        processes = self.start(attempt)
        said = [process.communicate(timeout=600)[1] for process in processes]
        return processes[0].returncode, decode_report(self.message(attempt).read_bytes()), said[0]

    def message(self, attempt: int = 1, rank: int = 0) -> Path:
        return self.folder / f"message-{attempt}-{rank}"

    def artefacts(self, attempt: int) -> Path:
        return self.folder / "output" / "small-0f6d1c1e" / self.trial.id / str(attempt)


def write_rows(path: Path) -> None:
    path.parent.mkdir()
    days = (date(2024, 1, 1) + timedelta(days=day) for day in range(200))
    lines = [
        f"{day},{100 + number % 7},{101 + number % 11},{99 - number % 5},{100 + number % 13},1000"
        for number, day in enumerate(days)
    ]
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *lines]))


def epoch_of(checkpoint: Path) -> int:
    """The epoch that a checkpoint was made after; 0 while there is none."""
    try:
        with safe_open(checkpoint, framework="pt") as file:
            return int(json.loads(file.metadata()["progress"])["epoch"])
    except FileNotFoundError:
        return 0


def test_a_pod_reports_metrics_seconds_memory_and_environment_in_its_termination_message(tmp_path: Path) -> None:
    code, report, _ = TrialPod(tmp_path).run()
    assert (code, report.outcome, report.rank) == (0, Outcome.SUCCEEDED, 0)
    assert report.metrics["validMse"] > 0
    assert report.seconds.start > 0
    assert report.seconds.train > 0
    assert report.memory is not None
    assert report.environment is not None
    assert report.environment.threads == 1
    assert report.resumed_from == 0
    assert not (tmp_path / "output").exists()


@pytest.mark.slow
def test_a_pod_without_its_data_says_so_in_code_and_message(tmp_path: Path) -> None:
    code, report, _ = TrialPod(tmp_path, source="csv", path=str(tmp_path / "missing.csv")).run()
    assert (code, report.outcome) == (65, Outcome.DATA_UNAVAILABLE)
    assert "missing.csv" in report.error


@pytest.mark.slow
def test_a_relative_path_begins_at_the_data_volume(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "rows.csv")
    _, report, _ = TrialPod(tmp_path, source="csv", path="rows.csv").run()
    assert report.outcome is Outcome.SUCCEEDED, report.error
    assert list((tmp_path / "home").rglob("csv-*/manifest.json"))


@pytest.mark.slow
def test_a_data_set_that_was_built_on_the_volume_is_not_built_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_rows(data / "rows.csv")
    pod = TrialPod(tmp_path, source="csv", path="rows.csv")
    (data / "search.yaml").write_text(json.dumps(pod.work.experiment.document()))
    built = trainer("data", "build", "search.yaml", "--cache", "shards", cwd=data)
    assert built.returncode == 0, built.stderr
    _, report, _ = pod.run()
    assert report.outcome is Outcome.SUCCEEDED, report.error
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_artefacts_lie_under_experiment_uid_trial_and_attempt(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    pod = TrialPod(tmp_path)
    assert [pod.run(attempt)[1].outcome for attempt in (1, 2)] == [Outcome.SUCCEEDED] * 2
    for attempt in (1, 2):
        assert {path.name for path in pod.artefacts(attempt).iterdir()} == {
            "config.json", "history.jsonl", "metrics.json", "normalization.json", "weights.safetensors"
        }  # fmt: skip


@pytest.mark.slow
def test_an_output_volume_that_cannot_be_written_is_told_before_the_training(tmp_path: Path) -> None:
    pod = TrialPod(tmp_path)
    (tmp_path / "output").mkdir()
    pod.artefacts(1).parent.mkdir(parents=True)
    pod.artefacts(1).write_text("a file is in the way")
    code, report, _ = pod.run()
    assert (code, report.outcome) == (2, Outcome.INVALID_CONFIG)
    assert "spec.pod.outputClaim: a volume that user" in report.error
    assert report.epochs == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.slow
def test_a_killed_attempt_is_resumed_by_the_next_and_ends_with_the_same_bits(workers: int, tmp_path: Path) -> None:
    train = {"epochs": 25, "checkpointEvery": 1}
    results = {}
    for name in ("undisturbed", "killed"):
        folder = tmp_path / name
        (folder / "output").mkdir(parents=True)
        pod = TrialPod(folder, workers=workers, train=train)
        attempt = 1
        if name == "killed":
            processes = pod.start()
            eventually(lambda pod=pod: epoch_of(pod.artefacts(1) / CHECKPOINT) >= 3, what="some epochs are saved")
            for process in processes:
                kill(process)
            attempt = 2
        _, report, said = pod.run(attempt)
        assert report.outcome is Outcome.SUCCEEDED, said
        history = [json.loads(line) for line in (pod.artefacts(attempt) / "history.jsonl").read_text().splitlines()]
        results[name] = (
            report.metrics,
            [{key: value for key, value in row.items() if key != "seconds"} for row in history],
            {key: value.tolist() for key, value in load_file(pod.artefacts(attempt) / "weights.safetensors").items()},
        )
        assert (report.epochs, report.resumed_from > 0) == (25, name == "killed")
        assert not list((folder / "output").rglob(CHECKPOINT))
    assert results["killed"] == results["undisturbed"]


@pytest.mark.slow
def test_a_pod_that_was_told_nothing_says_who_should_have() -> None:
    done = subprocess.run(command("pod"), cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "TRIALRUN_TRIAL: must be set" in done.stderr


def test_the_variable_holds_what_another_trainer_needs(tmp_path: Path) -> None:
    work = workload(read(write_search(tmp_path)).document(sparse=True))
    told = json.loads(trial_document(work, UID, work.trials[0], 1))
    assert told["metric"] == "validMse"
    assert told["parameters"] == {"train.learningRate": 0.1}
    assert told["training"]["train"]["learningRate"] == 0.1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.slow
def test_a_pod_that_is_killed_leaves_its_last_figures(tmp_path: Path, number: signal.Signals) -> None:
    pod = TrialPod(tmp_path, train={"epochs": 1_000_000})
    (process,) = pod.start()

    def so_far() -> RankReport | None:
        content = pod.message().read_bytes()
        return decode_report(content) if content.startswith(b'{"') else None

    def trains() -> bool:
        report = so_far()
        return report is not None and report.metrics.keys() >= TOLD

    eventually(trains, what="its data has been hashed, and it trains")
    process.send_signal(number)
    process.communicate()
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    report = so_far()
    assert report is not None
    assert report.provisional
    assert report.memory is not None
    assert report.memory.floor_bytes is not None
    assert report.memory.peak_bytes >= report.memory.floor_bytes > 0
    assert report.samples > 0
    assert report.dataset_bytes > report.samples
    assert report.metrics.keys() == TOLD  # what it rests on, and no figure of a training that has not ended
