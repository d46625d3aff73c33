"""Data goes to a volume, and artefacts and what programs leave come from another."""

import json
import os
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

from cluster.api import Json
from cluster.kinds import over_both
from cluster.operatorprocess import Experiments, a_search
from cluster.programs import build
from eventually import eventually
from node.place import ROOT
from node.pods import evict, records, running
from trainer.experiment.outcome import Outcome
from trainer.local.ledger import read_ledger

# Counts for a while, and goes on from where an attempt before it was.
COUNTS = """
import time, trialrun

trial = trialrun.trial()
began = next((int((folder / "step").read_text()) for folder in trial.checkpoints if (folder / "step").exists()), 0)
for step in range(began, 60):
    (trial.folder / "step").write_text(str(step))
    trial.report(step, loss=1, began=began)
    print(step, flush=True)
    time.sleep(0.25)
"""
DATA, OUTPUT, JOB = "data", "output", "job/data-build"


def trainer(experiments: Experiments, *arguments: str | Path, cwd: Path) -> str:
    """What `python -m trainer …` prints, in a folder, with the cluster's kubectl."""
    path = f"{build.program('kubectl').parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *map(str, arguments)],
        cwd=cwd,
        env=experiments.cluster.environment() | {"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_rows(path: Path) -> None:
    days = [date(2024, 1, 1) + timedelta(days=day) for day in range(300)]
    rows = [f"{day},{100 + n % 7},{101 + n % 11},{99 - n % 5},{100 + n % 13},1000" for n, day in enumerate(days)]
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows]))


def test_a_search_on_uploaded_rows_leaves_artefacts_here_that_predict(volumes: Experiments, tmp_path: Path) -> None:
    data = {"source": "csv", "path": "rows.csv", "window": 5}
    model, train = {"hiddenSize": 8, "layers": 1}, {"epochs": 3, "batchSize": 32}
    search = a_search(
        trials=2,
        training={"data": data, "model": model, "train": train},
        pod={"dataClaim": DATA, "outputClaim": OUTPUT},
    )
    write_rows(tmp_path / "rows.csv")
    (tmp_path / "search.yaml").write_text(json.dumps(search))
    namespace = volumes.namespace
    said = trainer(
        volumes, "data", "upload", "rows.csv", "search.yaml", "--claim", DATA, "-n", namespace, cwd=tmp_path
    )
    assert "as /data/rows.csv" in said

    volumes.cluster.kubectl("apply", "-n", namespace, "-f", str(ROOT / "examples" / "data-job.yaml"))
    volumes.cluster.kubectl("wait", "-n", namespace, "--for=condition=Complete", "--timeout=590s", JOB)
    assert "/data/shards/csv-" in volumes.cluster.kubectl("logs", "-n", namespace, JOB)

    volumes.create(search)
    volumes.finished("search")
    found = records(volumes, "search")
    assert [record.outcome for record in found] == [Outcome.SUCCEEDED] * 2, [record.error for record in found]

    trainer(volumes, "fetch", "hps/search", "out", "-n", namespace, cwd=tmp_path)
    assert [record.id for record in read_ledger(tmp_path / "out")] == [
        record.id for record in sorted(found, key=lambda each: each.finished_at)
    ]
    listed = trainer(volumes, "list", "search.yaml", "--json", cwd=tmp_path)
    for identity in (json.loads(line)["id"] for line in listed.splitlines()):
        folder = tmp_path / "out" / "trials" / identity
        assert {path.name for path in folder.iterdir()} == {
            "config.json", "history.jsonl", "metrics.json", "normalization.json", "weights.safetensors"
        }  # fmt: skip
        assert len(trainer(volumes, "predict", folder, cwd=tmp_path).splitlines()) > 10
    assert "trialrun-volume-" not in volumes.cluster.kubectl("get", "pods", "-n", namespace, "-o", "name")


@over_both
def test_a_program_goes_on_from_what_it_left_and_fetch_brings_that(volumes: Experiments, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "count.py").write_text(COUNTS)
    (tmp_path / "search.yaml").write_text(json.dumps(volumes.asking({
        "apiVersion": "trialrun.dev/v1alpha1", "kind": "HyperparamSearch", "metadata": {"name": "count"},
        "spec": {
            "objective": {"metric": "loss", "direction": "Minimize"}, "parameters": [{"name": "x", "choices": [1]}],
            "program": {"command": ["python", "count.py"], "code": "src"}, "pod": {"outputClaim": OUTPUT},
        },
    })))  # fmt: skip
    namespace = volumes.namespace
    said = trainer(volumes, "apply", "search.yaml", "-n", namespace, cwd=tmp_path)
    assert "configmap/count-code created" in said
    (pod,) = running(volumes)
    wait = "import pathlib, time\nwhile not list(pathlib.Path('/output').rglob('step')): time.sleep(0.1)"
    volumes.cluster.kubectl("exec", "-n", namespace, pod["metadata"]["name"], "--", "python", "-c", wait)
    time.sleep(2)  # a few steps
    evict(volumes.cluster, pod)

    def is_next(other: Json) -> bool:
        return bool(other["metadata"]["uid"] != pod["metadata"]["uid"])

    eventually(lambda: any(map(is_next, running(volumes))), every_seconds=0.2, what="it runs again")
    steps = trainer(volumes, "logs", "hps/count", "0", "--follow", "-n", namespace, cwd=tmp_path).split()
    volumes.finished("count")
    evicted, resumed = records(volumes, "count")
    assert [evicted.outcome, resumed.outcome] == [Outcome.EVICTED, Outcome.SUCCEEDED], resumed.error
    assert 0 < resumed.metrics["began"] < 59
    assert resumed.evidence["step"] == 59
    assert [int(step) for step in steps] == list(range(int(resumed.metrics["began"]), 60))

    trainer(volumes, "fetch", "hps/count", "out", "-n", namespace, cwd=tmp_path)
    assert (tmp_path / "out" / "trials" / resumed.id / "files" / "step").read_text() == "59"
