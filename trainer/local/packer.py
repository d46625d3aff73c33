"""Has trials of a search train together, as many as memory has room for, and says which do not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from trainer.cgroup import machine_memory, memory_limit
from trainer.data.build import prepare
from trainer.data.dataset import Dataset, open_dataset
from trainer.experiment.expand import Trial, canonical
from trainer.experiment.training import Training
from trainer.local.processes import Processes
from trainer.report.wording import count, memory
from trainer.scheduling.decide import Start
from trainer.scheduling.packs import MOST_TOGETHER, Dealer, shape, trains_alone

_SHARE = 0.5  # of the memory that may be used: the rest is for what else runs, and for what is held for a moment
_EVALUATED = 1024  # samples


@dataclass
class Packer:
    """Deals trials to `slots` of a launcher, in packs that fit into memory beside each other, `in_order` or not."""

    launcher: Processes
    slots: int
    in_order: bool
    _most: dict[str, int] = field(default_factory=dict)  # by shape
    _data: dict[str, Dataset | None] = field(default_factory=dict)  # by what chooses it

    @cached_property
    def _dealer(self) -> Dealer:
        return Dealer(self.most, in_order=self.in_order)

    def deal(self, waiting: Sequence[Start], free: int) -> list[list[Start]]:
        """What starts in the slots that are free: a list for each, of trials that train together."""
        return self._dealer.deal(waiting, free)

    def start(self, members: Sequence[tuple[Trial, Path, Sequence[int]]]) -> None:
        """Starts trials that train together, each with its folder and the epochs that it must tell."""
        self.launcher.start_pack(members)

    def separate(self, trial: Trial) -> None:
        """A trial trains by itself from now on."""
        self._dealer.alone.add(trial.id)

    def most(self, training: Training) -> int:
        """How many trainings of this shape are packed at most."""
        key = shape(training)
        if (known := self._most.get(key)) is None:
            known = self._most[key] = self._fit(training)
        return known

    def _fit(self, training: Training) -> int:
        if (data := self._opened(training)) is None:
            return 1
        samples = len(data.train) * training.data.multiplier + len(data.valid) + len(data.test)
        number = 8 if training.train.precision == "Float64" else 4
        held = samples * data.train.sample_bytes * number // 4
        each = bytes_of_member(training, data.train.sample_shape, len(data.train) * training.data.multiplier)
        return max(1, int((self.room - held) // each))

    def _opened(self, training: Training) -> Dataset | None:
        """Its data set, read once for all shapes; None where it can't be had, which each trial says for itself."""
        key = canonical(training.data.document(sparse=True))
        if key not in self._data:
            try:
                self._data[key] = open_dataset(prepare(training.data, self.launcher.cache))
            except Exception:
                self._data[key] = None
        return self._data[key]

    @cached_property
    def room(self) -> float:
        """The bytes that a pack may take."""
        most = min(limit for limit in (memory_limit(), machine_memory()) if limit is not None)
        return _SHARE * most / self.slots


def bytes_of_member(training: Training, sample: tuple[int, int], samples: int) -> int:
    """What one trial more of a pack takes at most, in bytes; `sample` is its window and features, `samples` how many.

    Its order of them and its weights, with their gradients and two moments, all twice while another leaves; and the
    best weights so far. What its predictions of many classes are counted in. Of a step its samples, and for each
    layer what it passes on, its error, and what dropout multiplies by; or, if it is more, what two layers make of the
    samples that are evaluated at once.
    """
    model, train, data = training.model, training.train, training.data
    inputs, hidden = sample[0] * sample[1], model.hidden_size
    outputs = data.classes if data.task == "Classification" else 1
    weights = (inputs + 1) * hidden + (model.layers - 1) * (hidden + 1) * hidden + (hidden + 1) * outputs
    step = train.batch_size * (inputs + 4 * model.layers * hidden + 4 * outputs)
    evaluation = _EVALUATED * (2 * hidden + 6 * outputs)
    counted = 64 * outputs**2
    return 8 * samples + counted + (8 if train.precision == "Float64" else 4) * (9 * weights + max(step, evaluation))


def what_is_packed(trials: Sequence[Trial], packer: Packer) -> Iterator[str]:
    """Sentences on which trials train together, which can't and why, and what memory has no room for."""
    single: dict[str, int] = {}
    shapes: dict[str, list[Trial]] = {}
    for trial in trials:
        if (why := trains_alone(trial)) is not None:
            single[why] = single.get(why, 0) + 1
        else:
            shapes.setdefault(shape(trial.training), []).append(trial)
    for why, number in single.items():
        yield f"{count(number, 'trial')} {'trains' if number == 1 else 'train'} one by one: {why}"
    if shapes:
        alone = all(len(alike) == 1 for alike in shapes.values())
        together = sum(len(alike) for alike in shapes.values())
        how = "so each trains by itself" if alone else "those of one shape can train together"
        yield f"{count(together, 'trial')} of {count(len(shapes), 'shape')}; {how}"
    for alike in shapes.values():
        if len(alike) > 1 and (most := packer.most(alike[0].training)) < min(len(alike), MOST_TOGETHER):
            yield (
                f"{len(alike)} trials of one shape train at most {most} together: more would take more than "
                f"{memory(packer.room)}, what each of {count(packer.slots, 'slot')} may use"
            )
