"""Runs of one search under Spark and under the local launcher, and what their ledgers must share."""

import functools
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pyspark

import jvm
from eventually import PATIENCE_SECONDS
from local.cli import ROOT, command, environment, measured

SEARCH = """
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {{name: small}}
spec:
  objective: {{metric: validMse}}
  parameters:
    - {{name: train.epochs, choices: {epochs}}}
  training:
    data: {{source: synthetic, rows: 200, window: 5, validFraction: 0.2}}
    model: {{hiddenSize: 8, layers: 1}}
    train: {{batchSize: 16}}
  workers: {workers}
  deadlineSeconds: {deadline}
  maxFailedTrials: 100
"""
FOREVER = 10**6


def write_search(folder: Path, *, epochs: list[int], workers: int = 1, deadline: int = 300) -> Path:
    """A search over numbers of epochs of a small network on made-up rows."""
    path = folder / "search.yaml"
    path.write_text(SEARCH.format(epochs=epochs, workers=workers, deadline=deadline))
    return path


@functools.cache
def java() -> dict[str, str]:
    """Variables that have Spark's JVMs stay on loopback and start quickly."""

    def run(option: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            search, out = write_search(Path(folder), epochs=[1]), Path(folder) / "out"
            finish(_start(search, out, "spark", Path(folder), variables(option)))

    def variables(*more: str) -> dict[str, str]:
        return {"JDK_JAVA_OPTIONS": " ".join([*jvm.QUICK, *more]), "SPARK_LOCAL_IP": "127.0.0.1"}

    return variables(jvm.archived(f"spark-{pyspark.__version__}", run))


def start(
    search: Path, out: Path, *, launcher: str = "spark", settings: Path | None = None, cwd: Path = ROOT, **more: str
) -> subprocess.Popen[str]:
    """A runner in the background, in a process group of its own. `settings` is the folder of spark-defaults.conf."""
    conf = {} if settings is None else {"SPARK_CONF_DIR": str(settings)}
    return _start(search, out, launcher, cwd, java() | conf | more)


def _start(search: Path, out: Path, launcher: str, cwd: Path, variables: dict[str, str]) -> subprocess.Popen[str]:
    python, *arguments = command("run", search, "--out", out, "--launcher", launcher)
    return subprocess.Popen(
        [python, "-P", *arguments],  # as the command trialrun, whatever lies in `cwd`
        cwd=cwd,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def finish(runner: subprocess.Popen[str]) -> str:
    """What a runner had said on stderr when it ended."""
    return runner.communicate(timeout=PATIENCE_SECONDS)[1]


def run(search: Path, out: Path, **how: Any) -> subprocess.Popen[str]:
    runner = start(search, out, **how)
    finish(runner)
    return runner


def without_times(folder: Path) -> list[dict[str, Any]]:
    """A ledger without its times, also where its words have them, and without its folder's name and process ids."""
    records = measured(folder)
    for record in records:
        said = record["error"].replace(str(folder), "OUT")
        record["error"] = re.sub(r"\.json\.\d+", ".json.PID", re.sub(r"\d+\.\d s", "N s", said))
        record["evidence"].pop("secondsUntilKilled", None)
    return records


def settings(folder: Path, **conf: str) -> Path:
    """A folder for SPARK_CONF_DIR with these settings, dots written as underscores."""
    folder.mkdir()
    lines = [f"spark.{name.replace('_', '.')} {value}\n" for name, value in conf.items()]
    (folder / "spark-defaults.conf").write_text("".join(lines))
    return folder
