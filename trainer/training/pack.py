"""Trains several trials of one shape together: the train loop of a stack of networks.

Each is trained as `loop.train` would by itself: its own order of samples, dropout, early stopping and end.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainer.experiment.training import Training
from trainer.training import order
from trainer.training.checkpoint import TrainingProgress
from trainer.training.distributed import Ranks
from trainer.training.evaluate import Figures, evaluate_stack
from trainer.training.loop import (
    Diverged,
    Result,
    dropout_seed,
    finished,
    require_finite,
    seed_torch,
    target_deviation,
)
from trainer.training.models import build, dtype_of, outputs_for
from trainer.training.optimize import StackOptimizer
from trainer.training.samples import SampleSet, Source, held
from trainer.training.stack import Stack, row, unstacked

_LOOK_SECONDS = 0.1  # between looks at which members are to leave


@dataclass(frozen=True)
class Left:
    """How a member, told by its place, has left the pack: with a result, diverged, or taken out (None).

    `seconds` are its share of the pack's: what passed was divided among the members that trained.
    """

    member: int
    end: Result | Diverged | None
    seconds: float


def train_pack(
    trainings: Sequence[Training],
    data: SampleSet,
    source: Source,
    *,
    device: torch.device,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda _, __: None,
    taken_out: Callable[[], Collection[int]] = frozenset,
) -> Iterator[Left]:
    """Trains on `source`, the training part of `data` or a multiple of it; yields each member as it leaves.

    The trainings differ in what `scheduling.packs` lets them. `on_epoch` is given a member and its figures;
    `taken_out` says, ten times a second, who is to leave.
    """
    pack = _Pack(trainings, data, source, device)
    while pack.members:
        pack.begin_epoch()
        look = time.perf_counter() + _LOOK_SECONDS
        for step in range(pack.steps):
            pack.step(step)
            if time.perf_counter() >= look:
                yield from pack.leave(dict.fromkeys(taken_out()))
                if not pack.members:
                    return
                look = time.perf_counter() + _LOOK_SECONDS
        ended: dict[int, Result | Diverged | None] = dict(pack.diverged("training", pack.train_losses()))
        yield from pack.leave(ended)
        if not pack.members:
            return
        rows, ended = pack.end_epoch()
        for member, figures in rows.items():
            on_epoch(member, figures)
        yield from pack.leave(ended)
        yield from pack.leave(dict.fromkeys(taken_out()))


class _Pack:
    """The members that still train, and what they have reached; `members[i]` is the place of the stack's row i."""

    def __init__(self, trainings: Sequence[Training], data: SampleSet, source: Source, device: torch.device) -> None:
        self._lap = time.perf_counter()
        first = trainings[0]
        dtype = dtype_of(first.train)
        torch.set_default_dtype(dtype)
        self.members = list(range(len(trainings)))
        self._trainings, self._data, self._device = trainings, data, device
        self._classes = outputs_for(first.data)
        window, features = data.train.sample_shape
        targets = None
        if first.train.target_scaling == "ZScore":
            targets = data.manifest.target_mean, target_deviation(data, Ranks(), device)
        self._targets = targets

        def made(training: Training) -> nn.Module:
            seed_torch(training.train.seed, device)
            return build(training.model, window=window, features=features, outputs=self._classes, targets=targets)

        # With dropout layers have other names.
        names = {bool(each.model.dropout): each for each in trainings}
        self._like = {drops: made(each).to(device) for drops, each in names.items()}
        rows = {seed: row(made(each)) for seed, each in {each.train.seed: each for each in trainings}.items()}
        self._stack = self._stacked(torch.stack([rows[each.train.seed] for each in trainings]).to(device))
        self._optimizer = StackOptimizer([each.train for each in trainings], self._stack)
        self._best = self._stack.weights.clone()  # of all members, by their place
        self._progress = [TrainingProgress() for _ in trainings]

        self._samples, self._batch = len(source), first.train.batch_size
        self.steps = -(-self._samples // self._batch)
        self._train = self._held(source, dtype)
        self._valid, self._test = (self._held(part, dtype) for part in (data.valid, data.test))
        self._epoch = 0
        self._spent, self._before = [0.0] * len(trainings), [0.0] * len(trainings)

    def _held(self, source: Source, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """All samples of a part: x [samples, window * features] and y [samples]."""
        x, y = held(source, np.arange(len(source), dtype=np.int64), self._device, dtype)
        return x.flatten(1), y

    def _stacked(self, weights: Tensor) -> Stack:
        return Stack(weights, next(iter(self._like.values())), self._targets)

    def begin_epoch(self) -> None:
        """Each seed has an order of its own, and each member its dropout."""
        self._share()
        self._epoch += 1
        self._before = list(self._spent)
        self._totals = torch.zeros(len(self.members), dtype=torch.float64, device=self._device)
        trains = [self._trainings[member].train for member in self.members]
        # Of one order the samples of a step are gathered once for all.
        seeds = [train.seed for train in trains]
        seeds = seeds[:1] if len(set(seeds)) == 1 else seeds
        self._order = torch.empty(0)  # two at once would take twice the memory
        orders = np.empty((len(seeds), self._samples), np.int32)
        for at, seed in enumerate(seeds):
            orders[at] = order.epoch_order(
                self._samples, self._batch, seed=seed, epoch=self._epoch, shuffle=trains[0].shuffle
            )
        self._order = torch.from_numpy(orders).to(self._device)
        self._generators = [
            torch.Generator(self._device).manual_seed(dropout_seed(train.seed, self._epoch, 0)) for train in trains
        ]

    def step(self, number: int) -> None:
        """One update of every member."""
        indices = self._order[:, number * self._batch : (number + 1) * self._batch].long()
        shape = (len(self.members), indices.shape[1])
        x, y = (part[indices] for part in self._train)
        loss = self._stack.learn(x.expand(*shape, -1), y.expand(*shape), self._noise(shape))
        self._totals += loss * shape[1]
        if norm := self._trainings[0].train.gradient_clip:
            self._stack.clip(norm)
        self._optimizer.step()

    def _noise(self, shape: tuple[int, int]) -> list[Tensor]:
        """For each hidden layer what dropout multiplies by, drawn as each member would by itself."""
        models = [self._trainings[member].model for member in self.members]
        if not any(model.dropout for model in models):
            return []
        noise = [self._best.new_ones(*shape, models[0].hidden_size) for _ in range(models[0].layers)]
        for at, model in enumerate(models):
            for layer in noise if model.dropout else ():
                kept = 1 - model.dropout
                layer[at].bernoulli_(kept, generator=self._generators[at]).div_(kept)
        return noise

    def train_losses(self) -> list[float]:
        """The mean training loss of this epoch by row."""
        return (self._totals / self._samples).tolist()

    def diverged(self, part: str, losses: Sequence[float]) -> Iterator[tuple[int, Diverged]]:
        """The members whose loss is no longer finite; `losses` are by row."""
        for member, loss in zip(self.members, losses, strict=True):
            try:
                require_finite(loss, part, self._epoch)
            except Diverged as error:
                yield member, error

    def end_epoch(self) -> tuple[dict[int, dict[str, float]], dict[int, Result | Diverged | None]]:
        """The figures of each member that has not diverged, and who is to leave."""
        train, valid = self.train_losses(), self._figures(self._stack, self._valid)
        ended: dict[int, Result | Diverged | None] = {}
        if valid is not None:
            ended |= self.diverged("validation", [figures.loss for figures in valid])
        self._share()
        rows: dict[int, dict[str, float]] = {}
        better: list[int] = []
        for at, member in enumerate(self.members):
            if member in ended:
                continue
            progress = self._progress[member]
            progress.epoch = self._epoch
            line = {"epoch": self._epoch, "trainLoss": train[at]}
            if valid is not None:
                line |= {"validLoss": valid[at].loss} | valid[at].named("valid")
            line["seconds"] = self._spent[member] - self._before[member]
            progress.history.append(line)
            compared = valid[at].loss if valid is not None else train[at]
            if compared < progress.best_loss:
                progress.best_loss, progress.best_epoch = compared, self._epoch
                better.append(at)
            rows[member] = line
        self._best[[self.members[at] for at in better]] = self._stack.weights[better]
        through = [member for member in rows if finished(self._progress[member], self._trainings[member].train)]
        return rows, ended | self._results(through)

    def _results(self, members: Sequence[int]) -> dict[int, Result | Diverged]:
        """What members that are through came to, by their best weights."""
        if not members:
            return {}
        best = self._stacked(self._best[list(members)])
        valid, test = self._figures(best, self._valid), self._figures(best, self._test)
        found: dict[int, Result | Diverged] = {}
        for at, member in enumerate(members):
            progress, tested = self._progress[member], None if test is None else test[at]
            weights = unstacked(best.weights[at], self._like[bool(self._trainings[member].model.dropout)])
            found[member] = Result(progress, 0, weights, None if valid is None else valid[at], tested)
            try:
                if tested is not None:
                    require_finite(tested.loss, "test", progress.best_epoch)
            except Diverged as error:
                found[member] = error
        return found

    def _figures(self, stack: Stack, part: tuple[Tensor, Tensor]) -> list[Figures] | None:
        if not len(part[1]):
            return None
        return evaluate_stack(
            stack,
            *part,
            classes=self._classes,
            threshold=self._trainings[0].evaluate.threshold,
            target_mean=self._data.manifest.target_mean,
        )

    def leave(self, ended: dict[int, Result | Diverged | None]) -> Iterator[Left]:
        """Takes members out; the others go on as if they had never been there."""
        leaving = [member for member in self.members if member in ended]
        if not leaving:
            return
        self._share()
        rows = [at for at, member in enumerate(self.members) if member not in ended]
        self.members = [self.members[at] for at in rows]
        if rows:
            self._stack = self._stacked(self._stack.weights[rows])
            self._optimizer.keep(rows, self._stack)
            self._totals = self._totals[rows]
            self._generators = [self._generators[at] for at in rows]
            self._order = self._order if len(self._order) == 1 else self._order[rows]
        for member in leaving:
            yield Left(member, ended[member], self._spent[member])
        self._lap = time.perf_counter()

    def _share(self) -> None:
        """Divides the time since the last lap among the members that trained."""
        now = time.perf_counter()
        for member in self.members:
            self._spent[member] += (now - self._lap) / len(self.members)
        self._lap = now
