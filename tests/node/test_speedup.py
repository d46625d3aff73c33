"""A measured baseline with real pods: what two slots bought, and where the rest went."""

from collections.abc import Callable

import pytest

from cluster.api import Json
from cluster.operatorprocess import Experiments
from conftest import TORTURE
from eventually import eventually
from node import pods

pytestmark = pytest.mark.alone

# Trials as long as people's, or long enough to be measured.
TRIAL_SECONDS = 120 if TORTURE else 10
TRIALS = SLOTS = 2
TRIED_EPOCHS = 400
# The cores of this node run the control plane as well: with less than a core each, trials leave it its share and do
# not slow each other down.
CPU = "800m"
# How much of the slots' time the split may leave unexplained. The baseline's own start is not in it, of which short
# trials have more; and a machine that other tests keep busy slows trials down, by as much as `trainRatio` says.
UNEXPLAINED = 0.05 if TORTURE else 0.15


def _search(name: str, epochs: int, trials: int, **spec: object) -> Json:
    return {
        "apiVersion": "trialrun.dev/v1alpha1",
        "kind": "HyperparamSearch",
        "metadata": {"name": name},
        "spec": {
            "objective": {"metric": "validMse"},
            "parameters": [{"name": "train.seed", "choices": list(range(trials))}],
            "training": {"train": {"epochs": epochs}},
            "parallelTrials": SLOTS,
            "deadlineSeconds": 20 * TRIAL_SECONDS,
            "pod": {"resources": {"limits": {"cpu": CPU}}},
            **spec,
        },
    }


def _epochs_that_take(seconds: float, experiments: Experiments) -> int:
    """So many epochs train for so long, as a trial of a few shows."""
    experiments.create(_search("tried", TRIED_EPOCHS, trials=1))
    experiments.finished("tried")
    (record,) = pods.records(experiments, "tried")
    return max(1, round(TRIED_EPOCHS * seconds / record.seconds.train))


@pytest.mark.torture
def test_what_two_slots_bought_is_measured_and_what_is_missing_explained(
    experiments: Experiments, say: Callable[[str], None]
) -> None:
    epochs = _epochs_that_take(1.1 * TRIAL_SECONDS, experiments)
    experiments.create(_search("search", epochs, TRIALS, baseline="Measure"))
    experiments.finished("search")
    # Nobody waits for the baseline to learn how the search went.
    assert experiments.condition("search", "Succeeded")["status"] == "True"
    assert experiments.condition("search", "Comparable")["reason"] in ("BaselinePending", "BaselineRunning")

    def comparable() -> Json | None:
        told = experiments.condition("search", "Comparable")
        return told if told["status"] != "Unknown" else None

    condition = eventually(comparable, every_seconds=1, what="the baseline is measured")
    assert (condition["status"], condition["reason"]) == ("True", "SameConditions"), condition["message"]
    summary = experiments.get("search")["status"]["summary"]
    comparison, split = summary["comparison"], summary["timing"]["split"]
    missing = 1 - comparison["efficiency"]
    explained = split["queue"] + split["start"] + split["data"]
    slowed = 0 if TORTURE else split["train"] * (1 - 1 / comparison["trainRatio"])
    records = pods.records(experiments, "search")
    say(
        f"{len(records)} trials of {min(record.seconds.train for record in records):.1f} s and more in {SLOTS} slots:"
        f" speedup {comparison['speedup']:.3f}, efficiency {comparison['efficiency']:.3f};"
        f" of what is missing, {missing:.3f}, queue {split['queue']:.3f}, start {split['start']:.3f} and data"
        f" {split['data']:.3f} are {explained:.3f}; training took {comparison['trainRatio']:.3f} times the baseline's"
    )
    assert comparison["slots"] == SLOTS
    assert comparison["sameBest"] is True
    assert abs(missing - explained - slowed) <= UNEXPLAINED
