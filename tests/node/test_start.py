"""How long a trial takes to its first step in the trainer's image, beside what no trial can do without."""

import json
from collections.abc import Callable
from statistics import median

import pytest
import yaml

from cluster.operatorprocess import Experiments
from node import pods

pytestmark = pytest.mark.alone

ROUNDS = 5
# In turn: importing PyTorch, and a trial from its process's start to where it trains.
MEASURED = """
import json, subprocess, sys, time

def imported():
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import os, torch; os._exit(0)"], check=True)
    return time.perf_counter() - began

def trial():
    command = [sys.executable, "-P", "-m", "trainer", "train", "/given/search.yaml", "--out", "/tmp/out", "--json"]
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)["seconds"]
    return told["start"] + told["data"]

imported(), trial()
print(json.dumps([[imported(), trial()] for _ in range(int(sys.argv[1]))]))
"""


@pytest.mark.usefixtures("our_node")
def test_a_trial_trains_within_one_and_a_half_times_what_importing_pytorch_takes(
    experiments: Experiments, say: Callable[[str], None]
) -> None:
    search = {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "HyperparamSearch",
        "metadata": {"name": "one"},
        "spec": {
            "objective": {"metric": "validMse"},
            "parameters": [{"name": "train.learningRate", "choices": [0.001]}],
            "training": pods.a_small_training(),
        },
    }
    files = {"search.yaml": yaml.safe_dump(search), "measured.py": MEASURED}
    said = pods.run(experiments, ["python", "/given/measured.py", str(ROUNDS)], files)
    rounds = json.loads(said.splitlines()[-1])
    times = median(trial / imported for imported, trial in rounds)
    torch, first = (median(each) for each in zip(*rounds, strict=True))
    say(f"  import torch {torch:.2f} s, to the first step {first:.2f} s: {times:.2f} times as long")
    assert times <= 1.5
