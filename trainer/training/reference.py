"""What a trial's figures are seen against: the samples they rest on, and how a naive prediction does.

All ranks work it out together, each of its share of the samples, so that any number of them finds the same.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.experiment.record import hash_number, naive_name
from trainer.experiment.training import Data
from trainer.training.distributed import Ranks
from trainer.training.evaluate import Figures, classification_figures, regression_figures
from trainer.training.models import outputs_for
from trainer.training.samples import Part, SampleSet

_BITS = 48  # a record's figures are floats, which hold so many exactly, also added up over ranks


def hashes(data: SampleSet, fields: Data, ranks: Ranks, device: torch.device) -> dict[str, float]:
    """The hashes of a report: of the content that is trained on and, where there is one, of the validation part."""
    found = {"dataHash": hash_number(data.manifest.content)}
    if len(data.valid):
        share = torch.tensor([hash_of_targets(*data.valid.targets(ranks.rank, ranks.count))], device=device)
        targets = int(ranks.sum(share).item()) % 2**_BITS
        told = f"{fields.task} {outputs_for(fields)} {len(data.valid)} {targets}"
        found["validationHash"] = hash_number(hashlib.sha256(told.encode()).hexdigest())
    return found


def naive(data: SampleSet, fields: Data, ranks: Ranks, device: torch.device) -> dict[str, float]:
    """The figures of a naive prediction, such as naiveValidMse, for the parts that have samples.

    With regression it is the mean of the training targets. With classification it is the most frequent class of the
    training part for accuracy, always class 1 for F1 of two classes, and the shares of the classes for log loss. That
    is left out where a class occurs that the training part lacks.
    """
    classes = outputs_for(fields)
    counts = _counts(data.train, classes, ranks, device) if fields.task == "Classification" else None
    found: dict[str, float] = {}
    for name, part in (("valid", data.valid), ("test", data.test)):
        if len(part):
            if counts is None:
                figures = _of_mean(part, data.manifest.target_mean, ranks, device)
            else:
                figures = figures_of_shares(counts, _counts(part, classes, ranks, device))
            found |= {naive_name(metric): value for metric, value in figures.named(name).items()}
    return found


def _of_mean(part: Part, mean: float, ranks: Ranks, device: torch.device) -> Figures:
    _, y = part.targets(ranks.rank, ranks.count)
    error = y.astype(np.float64) - mean
    squared = float((error * error).sum())
    sums = torch.tensor([squared, float(np.abs(error).sum()), float(error.sum())], dtype=torch.float64, device=device)
    squared, absolute, target = ranks.sum(sums).tolist()
    return regression_figures(len(part), squared, absolute, target, squared)


def figures_of_shares(training: NDArray[np.float64], part: NDArray[np.float64]) -> Figures:
    """The figures on `part`, the number of samples of each class [classes], predicted from the training part's."""
    known = training > 0
    loss = -float((part[known] * np.log(training[known] / training.sum())).sum())
    figures = classification_figures(loss, _always(int(training.argmax()), part))
    if len(part) == 2 and "f1" in figures.metrics:
        figures.metrics["f1"] = classification_figures(0.0, _always(1, part)).metrics["f1"]
    if part[~known].any():
        del figures.metrics["logLoss"]
    return figures


def _always(predicted: int, part: NDArray[np.float64]) -> NDArray[Any]:
    """The confusion of always predicting one class."""
    confusion = np.zeros((len(part), len(part)))
    confusion[:, predicted] = part
    return confusion


def _counts(part: Part, classes: int, ranks: Ranks, device: torch.device) -> NDArray[np.float64]:
    """How many samples of each class a part has, on all ranks together."""
    _, y = part.targets(ranks.rank, ranks.count)
    counts = torch.tensor(np.bincount(y.astype(np.int64), minlength=classes), dtype=torch.float64, device=device)
    found: NDArray[np.float64] = ranks.sum(counts).cpu().numpy()
    return found


def hash_of_targets(numbers: NDArray[np.int64], y: NDArray[Any]) -> int:
    """The sum over samples, modulo 2^48, of a hash of a sample's number and its target: sums of shares add up."""
    if y.dtype.kind == "f":
        bits = (y.astype(np.float32) + np.float32(0)).view(np.uint32)  # -0.0 and 0.0 are the same target
    else:
        bits = y.astype(np.int64).view(np.uint64)
    mixed = _mix(_mix(numbers.astype(np.uint64)) ^ bits.astype(np.uint64))
    return int(mixed.sum(dtype=np.uint64)) % 2**_BITS


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each value with its bits spread over all 64: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
