"""Trials that train together: each ends as it would by itself, whatever becomes of the others."""

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from train.builders import a_training, dataset_of, train_alone, without_times
from trainer.cgroup import machine_memory
from trainer.data.dataset import Dataset
from trainer.data.multiply import Multiplied
from trainer.experiment.expand import expand
from trainer.experiment.training import Model, Training
from trainer.local.packer import Packer, bytes_of_member, what_is_packed
from trainer.local.processes import Processes
from trainer.scheduling.decide import Start
from trainer.training.loop import Diverged, Result
from trainer.training.models import build
from trainer.training.pack import Left, train_pack
from trainer.training.samples import SampleSet
from trainer.training.stack import Stack, row, unstacked
from unit.builders import an_experiment

EXACT = 1e-9  # relative, in float64


def train_together(trainings: list[Training], data: SampleSet, **others: Any) -> dict[int, Left]:
    torch.set_num_threads(1)
    multiplier = trainings[0].data.multiplier
    source = data.train
    if multiplier > 1:
        assert isinstance(data, Dataset)
        source = Multiplied(data.train, multiplier)
    found = list(train_pack(trainings, data, source, device=torch.device("cpu"), **others))
    assert sorted(left.member for left in found) == list(range(len(trainings)))
    return {left.member: left for left in found}


def result(left: Left) -> Result:
    assert isinstance(left.end, Result)
    return left.end


def assert_same(together: Result, alone: Result, within: float = EXACT) -> None:
    """The same history, figures, best epoch and weights, by name, up to rounding."""
    assert together.progress.best_epoch == alone.progress.best_epoch
    for mine, other in zip(
        without_times(together.progress.history), without_times(alone.progress.history), strict=True
    ):
        assert mine == pytest.approx(other, rel=within, abs=within)
    for part in ("valid", "test"):
        mine, other = getattr(together, part), getattr(alone, part)
        assert (mine is None) == (other is None)
        if mine is not None:
            assert mine.metrics == pytest.approx(other.metrics, rel=within, abs=within)
            assert (mine.confusion, mine.undefined) == (other.confusion, other.undefined)
    assert list(together.weights) == list(alone.weights)
    for name, tensor in alone.weights.items():
        assert together.weights[name].dtype == tensor.dtype
        torch.testing.assert_close(together.weights[name], tensor, rtol=within, atol=within)


# What a pack's trials have in common, and what they may differ in.
SHARED: dict[str, list[Any]] = {
    "model.layers": [1, 3],
    "train.optimizer": ["Adam", "AdamW", "SGD"],
    "train.momentum": [0.0, 0.9],
    "train.gradientClip": [0.0, 0.05],
    "train.targetScaling": ["None", "ZScore"],
    "train.shuffle": [True, False],
    "train.batchSize": [16, 500],
    "data.multiplier": [1, 2],
    "data.task": ["Regression", "Classification"],
    "data.classes": [2, 3],
    "evaluate.threshold": [0.5, 0.7],
}
OWN: dict[str, list[Any]] = {
    "train.learningRate": [0.01, 0.001],
    "train.weightDecay": [0.0, 0.1],
    "train.seed": [0, 7],
    "train.epochs": [3, 5],
    "train.patience": [0, 1],
    "model.dropout": [0.0, 0.4],
}


def training_with(values: dict[str, Any]) -> Training:
    sections: dict[str, dict[str, Any]] = {"train": {"precision": "Float64", "epochs": 3}}
    for path, value in values.items():
        section, field = path.split(".")
        sections.setdefault(section, {})[field] = value
    if sections.get("data", {}).get("task") != "Classification":
        sections.get("data", {}).pop("classes", None)
        sections.pop("evaluate", None)
    elif sections["data"].get("classes") == 3:
        sections.pop("evaluate", None)
    if sections["train"].get("optimizer") != "SGD":
        sections["train"].pop("momentum", None)
    if sections.get("data", {}).get("task") == "Classification":
        sections["train"].pop("targetScaling", None)
    return a_training(**sections)


def test_every_pair_of_options_trains_as_alone(cache: Path) -> None:
    """Each value of each option together with each value of each other, in packs of as few trials as that takes."""
    axes = SHARED | OWN
    wanted = {
        frozenset({(one, a), (other, b)})
        for one, other in itertools.combinations(axes, 2)
        for a in axes[one]
        for b in axes[other]
    }
    rng, packs = random.Random(0), 0
    while wanted:
        (first, value), (second, other) = sorted(min(wanted, key=sorted))
        shared = {path: rng.choice(values) for path, values in SHARED.items()}
        shared |= {path: each for path, each in ((first, value), (second, other)) if path in SHARED}
        members = [{path: rng.choice(values) for path, values in OWN.items()} for _ in range(4)]
        members[0] |= {path: each for path, each in ((first, value), (second, other)) if path in OWN}
        for member in members:
            whole = shared | member
            wanted -= {frozenset(pair) for pair in itertools.combinations(whole.items(), 2)}
        trainings = [training_with(shared | member) for member in members]
        together = train_together(trainings, dataset_of(trainings[0], cache))
        for place, training in enumerate(trainings):
            assert_same(result(together[place]), train_alone(training, cache))
        packs += 1
    assert packs > 10


@pytest.mark.slow
@pytest.mark.parametrize("task", ["Regression", "Classification"])
def test_in_float32_the_first_steps_agree_and_the_end_lies_within_the_spread_of_seeds(task: str, cache: Path) -> None:
    def trainings(seeds: range, epochs: int) -> list[Training]:
        return [
            a_training(
                data={"rows": 700, "task": task},
                model={"hiddenSize": 16, "layers": 2},
                train={"seed": seed, "epochs": epochs, "batchSize": 8, "learningRate": 0.003},
            )
            for seed in seeds
        ]

    first = trainings(range(4), 1)
    data = dataset_of(first[0], cache)
    assert 50 < len(data.train) / 8 < 80
    for place, left in train_together(first, data).items():
        assert_same(result(left), train_alone(first[place], cache), within=1e-4)

    whole = trainings(range(8), 20)
    together = [result(left).valid for left in train_together(whole, data).values()]
    alone = [train_alone(training, cache).valid for training in whole]
    losses = np.array([[figures.loss for figures in each if figures is not None] for each in (together, alone)])
    assert np.abs(losses[0] - losses[1]).max() < losses[1].std()


@pytest.mark.parametrize(("classes", "targets"), [(1, None), (1, (0.3, 2.5)), (2, None), (5, None)])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradients_are_those_of_autograd(classes: int, targets: tuple[float, float] | None, dropout: float) -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    model = Model.model_validate({"kind": "MLP", "hiddenSize": 7, "layers": 3})
    networks = [build(model, window=4, features=3, outputs=classes, targets=targets) for _ in range(5)]
    stack = Stack(torch.stack([row(network) for network in networks]), networks[0], targets)
    x = torch.randn(5, 6, 12)
    y = torch.randn(5, 6) if classes == 1 else torch.randint(0, classes, (5, 6))
    noise = [torch.empty(5, 6, 7).bernoulli_(1 - dropout) / (1 - dropout) for _ in range(3)] if dropout else []
    loss = stack.learn(x, y, noise)
    for at, network in enumerate(networks):
        passed, place = x[at], 0
        inner = network if targets is None else network.network
        for part in inner.body:  # type: ignore[union-attr]
            passed = part(passed)
            if isinstance(part, nn.ReLU) and noise:
                passed, place = passed * noise[place][at], place + 1
        scores = inner.head(passed)  # type: ignore[union-attr,operator]
        out = scores if targets is None else scores * targets[1] + targets[0]
        told = functional.mse_loss(out.squeeze(1), y[at]) if classes == 1 else functional.cross_entropy(out, y[at])
        (told if targets is None else told / targets[1] ** 2).backward()
        expected = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        torch.testing.assert_close(stack.gradients[at], expected, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(loss[at], told.detach(), rtol=1e-12, atol=0)
        assert list(unstacked(stack.weights[at], network)) == list(network.state_dict())


def test_one_that_diverges_spoils_no_other(cache: Path) -> None:
    rates = [0.01, 1e200, 0.001]
    trainings = [training_with({"train.learningRate": rate, "train.optimizer": "SGD"}) for rate in rates]
    together = train_together(trainings, dataset_of(trainings[0], cache))
    with pytest.raises(Diverged) as alone:
        train_alone(trainings[1], cache)
    assert isinstance(together[1].end, Diverged)
    assert str(together[1].end) == str(alone.value)
    for place in (0, 2):
        assert_same(result(together[place]), train_alone(trainings[place], cache))


def test_members_leave_at_their_own_ends_and_the_others_go_on(cache: Path) -> None:
    trainings = [
        training_with({"train.epochs": epochs, "train.patience": patience, "train.learningRate": 0.05})
        for epochs, patience in ((1, 0), (9, 1), (4, 0), (30, 2))
    ]
    together = train_together(trainings, dataset_of(trainings[0], cache))
    lengths = [result(together[place]).progress.epoch for place in range(4)]
    assert lengths[0] == 1
    assert lengths[2] == 4
    assert lengths[1] < 9
    for place, training in enumerate(trainings):
        assert_same(result(together[place]), train_alone(training, cache))


def test_one_that_is_taken_out_leaves_at_once_and_the_others_go_on(cache: Path) -> None:
    trainings = [training_with({"train.seed": seed, "train.epochs": 6, "model.dropout": 0.2}) for seed in range(3)]
    told: dict[int, list[float]] = {place: [] for place in range(3)}

    def on_epoch(member: int, figures: dict[str, float]) -> None:
        told[member].append(figures["epoch"])

    together = train_together(
        trainings,
        dataset_of(trainings[0], cache),
        on_epoch=on_epoch,
        taken_out=lambda: {1} if told[1][-1:] == [2] else set(),
    )
    assert together[1].end is None
    assert told == {0: [1, 2, 3, 4, 5, 6], 1: [1, 2], 2: [1, 2, 3, 4, 5, 6]}
    for place in (0, 2):
        assert_same(result(together[place]), train_alone(trainings[place], cache))


def test_all_may_be_taken_out(cache: Path) -> None:
    trainings = [training_with({"train.seed": seed}) for seed in range(2)]
    together = train_together(trainings, dataset_of(trainings[0], cache), taken_out=lambda: {0, 1})
    assert [together[place].end for place in range(2)] == [None, None]


def test_shares_of_time_add_up_to_the_packs(cache: Path) -> None:
    trainings = [training_with({"train.seed": seed, "train.epochs": 1 + seed}) for seed in range(4)]
    together = train_together(trainings, dataset_of(trainings[0], cache))
    histories = [result(together[place]).progress.history for place in range(4)]
    assert all(
        sum(row["seconds"] for row in history) <= together[place].seconds for place, history in enumerate(histories)
    )
    assert together[0].seconds < together[3].seconds


def test_without_validation_samples_the_training_loss_decides(cache: Path) -> None:
    trainings = [training_with({"data.validFraction": 0, "train.seed": seed}) for seed in range(2)]
    together = train_together(trainings, dataset_of(trainings[0], cache))
    for place, training in enumerate(trainings):
        assert result(together[place]).valid is None
        assert_same(result(together[place]), train_alone(training, cache))


def test_packs_beyond_memory_are_split_and_it_is_said(cache: Path, tmp_path: Path) -> None:
    sections = a_training().document(sparse=True)
    choices = [0.001 * (1 + i / 10) for i in range(10)]
    trials = expand(an_experiment(training=sections, parameters=[{"name": "train.learningRate", "choices": choices}]))
    data = dataset_of(trials[0].training, cache)
    held = sum(len(part) * part.sample_bytes for part in (data.train, data.valid, data.test))
    each = bytes_of_member(trials[0].training, data.train.sample_shape, len(data.train))

    packer = Packer(Processes(cache, tmp_path / "log", workers=1), slots=2, in_order=False)
    assert 0 < packer.room <= machine_memory() / 4, "half of it, by the slots"
    assert list(what_is_packed(trials, packer)) == ["10 trials of 1 shape; those of one shape can train together"]

    tight = Packer(Processes(cache, tmp_path / "log", workers=1), slots=2, in_order=False)
    tight.room = held + 3.5 * each
    told = list(what_is_packed(trials, tight))
    assert told[1].startswith("10 trials of one shape train at most 3 together: more would take more than ")
    assert [len(pack) for pack in tight.deal([Start(trial, 1) for trial in trials], 2)] == [3, 3]


PEAK = """
import json, sys, torch
from pathlib import Path
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset
from trainer.experiment.training import Training
from trainer.memory import resident_bytes
from trainer.training.pack import train_pack

torch.set_num_threads(1)
training = Training.model_validate_json(sys.argv[1])
data = open_dataset(prepare(training.data, Path(sys.argv[2])))
Path("/proc/self/clear_refs").write_text("5")  # what was used until now is not counted
# Each has its own order of the samples, and one leaves while the others go on.
epochs = [1] + [training.train.epochs] * (int(sys.argv[3]) - 1)
members = [
    training.model_copy(update={"train": training.train.model_copy(update={"seed": seed, "epochs": number})})
    for seed, number in enumerate(epochs)
]
list(train_pack(members, data, data.train, device=torch.device("cpu")))
print(resident_bytes()[1])
"""


def peak_of(members: int, training: Training, cache: Path) -> int:
    """The most memory, in bytes, that a process used which trained so many."""
    told = subprocess.run(
        [sys.executable, "-c", PEAK, json.dumps(training.document(sparse=True)), str(cache), str(members)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(told.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden", "layers", "dropout", "batch", "data"),
    [
        (256, 2, 0.0, 32, {}),
        (64, 2, 0.3, 2000, {}),
        (256, 4, 0.3, 512, {}),
        (32, 1, 0.0, 32, {"rows": 30_000, "window": 2}),
        (64, 1, 0.0, 32, {"task": "Classification", "classes": 400}),
    ],
)
def test_a_member_takes_no_more_memory_than_is_counted(
    hidden: int,
    layers: int,
    dropout: float,
    batch: int,
    data: dict[str, Any],
    cache: Path,
    say: Callable[[str], None],
) -> None:
    """By the peaks of two processes, of which one trains so many more."""
    few, many = 2, 26
    training = a_training(
        data={"rows": 4000, "window": 20} | data,
        model={"hiddenSize": hidden, "layers": layers, "dropout": dropout},
        train={"epochs": 2, "batchSize": batch},
    )
    samples = dataset_of(training, cache).train
    bound = bytes_of_member(training, samples.sample_shape, len(samples))
    measured = (peak_of(many, training, cache) - peak_of(few, training, cache)) / (many - few)
    say(f"  {measured:,.0f} bytes a member, {measured / bound:.2f} of the bound")
    assert 0.2 * bound < measured <= bound, f"{measured:,.0f} of {bound:,.0f} bytes a member"
