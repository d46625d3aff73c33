"""An interrupted training goes on from its checkpoint under the other version, and ends with the same figures."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from train.builders import a_training
from version_0_1 import ROOT, Version01

# Trains one rank; with an epoch to stop in it fails there, before that epoch's checkpoint.
TRAINS = """
import json, sys, time
from pathlib import Path
from trainer.experiment.training import Training
try:
    from trainer.training.distributed import Ranks
    from trainer.training.trial import RankContext, run_rank
except ImportError:  # version 0.1
    from trainer.distributed import Ranks
    from trainer.trial import Place as RankContext, run_rank

def on_epoch(row):
    if row["epoch"] == told["stop"]:
        raise RuntimeError("interrupted")

told = json.load(sys.stdin)
context = RankContext(Ranks(), "", Path(told["cache"]), Path(told["folder"]))
training = Training.model_validate_json(json.dumps(told["training"]))
print(run_rank(training, context, started=time.time(), on_epoch=on_epoch).model_dump_json(by_alias=True))
"""
TRAINING = a_training(train={"epochs": 4, "checkpointEvery": 1, "optimizer": "Adam"}, model={"dropout": 0.3})


def train(environment: dict[str, str], folder: Path, stop: int = 0) -> dict[str, Any]:
    """The report of a rank that works in this folder."""
    folder.mkdir(exist_ok=True)
    cache = str(folder.parent / "cache")
    told = {"training": TRAINING.portable(), "cache": cache, "folder": str(folder), "stop": stop}
    done = subprocess.run(
        [sys.executable, "-c", TRAINS],
        env=environment,
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


@pytest.mark.slow
@pytest.mark.parametrize("first", ["0.1", "0.2"])
def test_a_checkpoint_of_one_version_is_taken_up_by_the_other(
    version_0_1: Version01, first: str, tmp_path: Path
) -> None:
    versions = {"0.1": version_0_1.environment(), "0.2": os.environ | {"PYTHONPATH": str(ROOT)}}
    then = next(name for name in versions if name != first)
    stopped = train(versions[first], tmp_path / "trial", stop=3)
    assert (stopped["outcome"], stopped["error"]) == ("Crashed", "RuntimeError: interrupted")
    ended = train(versions[then], tmp_path / "trial")
    assert (ended["outcome"], ended["resumedFrom"], ended["epochs"]) == ("Succeeded", 2, 4)
    undisturbed = train(versions["0.1"], tmp_path / "undisturbed")
    assert {name: ended["metrics"][name] for name in undisturbed["metrics"]} == undisturbed["metrics"]
