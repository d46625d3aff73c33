"""A real MLflow server of the tests' own, and what is in it as its REST interface says."""

import json
import os
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventually import eventually

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / ".mlflow/bin"
# The client, which none but a test of ours needs, has an environment of its own too.
PYTHON = PROGRAMS / "python"
# It neither tells its makers of itself nor starts what runs jobs of GenAI, which are a dozen processes.
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@dataclass(frozen=True)
class Run:
    """A run as MLflow has it: what a user sees of it."""

    id: str
    name: str
    status: str
    started: int
    ended: int | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]

    @property
    def trial(self) -> str:
        return self.tags["trialrun.trial"]


class Server:
    """MLflow on a free port of this machine, its database in `folder`."""

    def __init__(self, folder: Path) -> None:
        assert (PROGRAMS / "mlflow").exists(), "make .mlflow/mlflow.stamp builds it"
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self._port = taken.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        store = f"sqlite:///{self._folder}/mlflow.db"
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAMS / "mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1",
                 "--artifacts-destination", str(self._folder / "files"), "--port", str(self._port), "--workers", "1"],
                cwd=self._folder, stdout=log, stderr=log, start_new_session=True, env=os.environ | _QUIET,
            )  # fmt: skip
        eventually(self._answers, what=f"MLflow answers; its log is {self._folder / 'log'}")

    def end(self) -> None:
        """Ends it with what it has started; what it was told stays."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, path: str, **asked: Any) -> dict[str, Any]:
        """What is answered to a POST."""
        headers = {"Content-Type": "application/json"}
        url = f"{self.url}/api/2.0/mlflow/{path}"
        request = urllib.request.Request(url, json.dumps(asked).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def read(self, path: str, **asked: str) -> dict[str, Any]:
        """What is answered to a GET."""
        with urllib.request.urlopen(f"{self.url}/api/2.0/mlflow/{path}?{urllib.parse.urlencode(asked)}") as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def experiment(self, name: str) -> str | None:
        """The id of the experiment of this name; None where there is none."""
        found = self.ask("experiments/search", max_results=50_000).get("experiments", [])
        return next((str(each["experiment_id"]) for each in found if each["name"] == name), None)

    def runs(self, name: str) -> list[Run]:
        """The runs of an experiment that are not deleted."""
        if (experiment := self.experiment(name)) is None:
            return []
        found: list[dict[str, Any]] = []
        asked: dict[str, Any] = {"experiment_ids": [experiment], "max_results": 1000}
        while True:
            answer = self.ask("runs/search", **asked)
            found += answer.get("runs", [])
            if not answer.get("next_page_token"):
                return [_run(each) for each in found]
            asked["page_token"] = answer["next_page_token"]

    def curve(self, run: Run, metric: str) -> list[tuple[int, float]]:
        """The values of a metric by step, in the order of their moments."""
        found = self.read("metrics/get-history", run_id=run.id, metric_key=metric).get("metrics", [])
        found.sort(key=lambda each: (int(each["timestamp"]), int(each.get("step", 0))))
        return [(int(each.get("step", 0)), float(each["value"])) for each in found]


def _run(found: dict[str, Any]) -> Run:
    info, data = found["info"], found["data"]
    return Run(
        id=info["run_id"],
        name=info["run_name"],
        status=info["status"],
        started=info["start_time"],
        ended=info.get("end_time"),
        params={each["key"]: each["value"] for each in data.get("params", [])},
        tags={each["key"]: each["value"] for each in data.get("tags", [])},
        metrics={each["key"]: float(each["value"]) for each in data.get("metrics", [])},
    )
