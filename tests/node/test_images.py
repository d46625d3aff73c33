"""What the images hold, what they take, and how soon a trial trains in one."""

import json

import pytest

from cluster.operatorprocess import Experiments
from cluster.testcluster import Cluster, CommandFailed
from node import images, place, pods
from node.release import NAMESPACE, RELEASE

OPERATOR_MIB, OPERATOR_IDLE_MIB = 250, 160
# What each image is asked in its own container: a bare import of torch and a whole trial of one step, in turns.
STARTS = """
import json, os, statistics, subprocess, sys, time
trial = json.dumps({
    "experiment": "start", "kind": "HyperparamSearch", "uid": "0" * 8, "id": "0" * 10, "index": 0, "parameters": {},
    "repeat": 0, "attempt": 1, "workers": 1, "metric": "validMse",
    "training": {"train": {"epochs": 1, "batchSize": 4096}},
})
environment = os.environ | {"TRIALRUN_TRIAL": trial}
commands = {"torch": ["-c", "import torch"], "trial": ["-m", "trainer", "pod", "--message", "/tmp/message"]}
seconds = {name: [] for name in commands}
for _ in range(5):
    for name, command in commands.items():
        began = time.perf_counter()
        subprocess.run([sys.executable, *command], env=environment, check=True, stderr=subprocess.DEVNULL)
        seconds[name].append(time.perf_counter() - began)
    metrics = json.loads(open("/tmp/message").read())["metrics"]
print(json.dumps({name: statistics.median(each) for name, each in seconds.items()} | {"metrics": metrics}))
"""


def _in_operator(cluster: Cluster, *command: str) -> str:
    return cluster.kubectl("exec", "-n", NAMESPACE, f"deployment/{RELEASE}", "--", *command)


def test_the_operators_image_is_small(cluster: Cluster) -> None:
    # du can't enter root's own folders, which are empty, and says so by its exit code.
    said = _in_operator(cluster, "sh", "-c", "du --summarize --one-file-system -m / 2> /dev/null || true")
    assert int(said.split()[0]) < OPERATOR_MIB


def test_the_operators_image_has_no_torch(cluster: Cluster) -> None:
    with pytest.raises(CommandFailed, match="No module named 'torch'"):
        _in_operator(cluster, "python", "-c", "import torch")


def test_an_idle_operator_takes_little_memory(cluster: Cluster) -> None:
    status = _in_operator(cluster, "cat", "/proc/1/status")
    (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    assert resident / 1024 <= OPERATOR_IDLE_MIB


def test_the_images_say_their_version(our_node: Cluster) -> None:  # noqa: ARG001 - it has built them
    for image in ("operator", "trainer"):
        labels = images.labels(place.default(), f"trialrun/{image}:{place.VERSION}")
        assert labels["org.opencontainers.image.version"] == place.VERSION


def test_a_trial_of_one_step_takes_little_longer_than_importing_torch(experiments: Experiments) -> None:
    """Prints both: the one ends with the first step, evaluation and report included, and has to import torch too."""
    said = pods.run(experiments, ["python", "-c", STARTS])
    measured = json.loads(said.splitlines()[-1])
    ratio = measured["trial"] / measured["torch"]
    print(
        f"\nimport torch {measured['torch']:.2f} s, a trial of one step {measured['trial']:.2f} s: {ratio:.2f} times"
    )
    assert measured["metrics"]["validMse"] > 0
