"""Problems with a known best: closed forms, some of which fail in a part of their space."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.experiment.load import load
from trainer.experiment.space import Point
from trainer.experiment.spec import API_VERSION, HyperparamSearch


@dataclass(frozen=True)
class Problem:
    """A space, the loss of its points, of which 0 is the least or nearly, and which of them fail."""

    name: str
    parameters: Sequence[dict[str, Any]]
    loss: Callable[[Point], float]
    fails: Callable[[Point], bool] = lambda _: False

    def search(self, algorithm: str, trials: int, seed: int) -> HyperparamSearch:
        """A search of this space."""
        document = {
            "apiVersion": API_VERSION,
            "kind": "HyperparamSearch",
            "metadata": {"name": "bench"},
            "spec": {
                "program": {"command": ["train"]},
                "objective": {"metric": "loss", "direction": "Minimize"},
                "algorithm": algorithm,
                "trials": trials,
                "seed": seed,
                "parameters": list(self.parameters),
            },
        }
        search = load(document)
        assert isinstance(search, HyperparamSearch)
        return search


_RATE = {"name": "lr", "range": {"min": 1e-5, "max": 1.0, "scale": "Log"}}
_NETWORK = (
    _RATE,
    {"name": "width", "range": {"min": 16, "max": 512, "step": 16}},
    {"name": "dropout", "range": {"min": 0.0, "max": 0.9}},
    {"name": "activation", "choices": ["relu", "gelu", "tanh"]},
)
_WORSE = {"relu": 0.3, "gelu": 0.0, "tanh": 0.6}


def _decades(point: Point) -> float:
    return math.log10(float(point["lr"]))


def _network(point: Point) -> float:
    """A bowl around a learning rate of 0.005, a width of 304 and a dropout of 0.37."""
    return (
        (_decades(point) + 2.3) ** 2
        + ((float(point["width"]) - 304) / 200) ** 2
        + ((float(point["dropout"]) - 0.37) / 0.5) ** 2
        + _WORSE[str(point["activation"])]
    )


_MOMENTUM = (
    _RATE,
    {"name": "batch", "range": {"min": 16, "max": 512, "step": 16}},
    {"name": "momentum", "range": {"min": 0.0, "max": 0.99}},
    {"name": "decay", "range": {"min": 1e-6, "max": 0.1, "scale": "Log"}},
)


def _interacting(point: Point) -> float:
    """A narrow valley: what a step is worth depends on learning rate, momentum and batch together, as does decay."""
    momentum, batch = float(point["momentum"]), float(point["batch"])
    step = _decades(point) - math.log10(1 - momentum) - math.log10(batch / 128) + 1.5
    pull = _decades(point) + math.log10(float(point["decay"])) + 6
    return 4 * step**2 + pull**2 + ((momentum - 0.8) / 0.4) ** 2


_OPTIMIZERS = (
    _RATE,
    {"name": "optimizer", "choices": ["sgd", "adamw", "rmsprop"]},
    {"name": "momentum", "range": {"min": 0.0, "max": 0.99}, "when": {"optimizer": "sgd"}},
    {"name": "beta", "range": {"min": 0.5, "max": 0.999}, "when": {"optimizer": ["adamw", "rmsprop"]}},
    {"name": "layers", "range": {"min": 1, "max": 9, "step": 2}},
)
_RATES = {"sgd": -1.0, "adamw": -2.7, "rmsprop": -3.2}


def _conditional(point: Point) -> float:
    """Each optimizer has a learning rate and a parameter of its own, the best of them being adamw's."""
    optimizer = str(point["optimizer"])
    inner = (float(point["momentum"]) - 0.9) / 0.3 if optimizer == "sgd" else (float(point["beta"]) - 0.9) / 0.2
    depth = (float(point["layers"]) - 5) / 4
    extra = {"sgd": 0.2, "adamw": 0.0, "rmsprop": 0.3}[optimizer]
    return (_decades(point) - _RATES[optimizer]) ** 2 + inner**2 + depth**2 + extra


_HARTMANN_A = (
    (10, 3, 17, 3.5, 1.7, 8),
    (0.05, 10, 17, 0.1, 8, 14),
    (3, 3.5, 1.7, 10, 17, 8),
    (17, 8, 0.05, 10, 0.1, 14),
)
_HARTMANN_P = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)
_HARTMANN_C = (1.0, 1.2, 3.0, 3.2)
_HARTMANN_BEST = 3.32237


def _hartmann(point: Point) -> float:
    """Hartmann's function of six parameters above its least."""
    at = [float(point[f"x{place}"]) for place in range(6)]
    found = _HARTMANN_BEST
    for weight, scales, centre in zip(_HARTMANN_C, _HARTMANN_A, _HARTMANN_P, strict=True):
        found -= weight * math.exp(-sum(a * (x - p) ** 2 for a, x, p in zip(scales, at, centre, strict=True)))
    return found


def _branin(point: Point) -> float:
    """Branin's function above its least, which it has at three points."""
    x, y = float(point["x"]), float(point["y"])
    inner = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return inner**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887


def _far(point: Point) -> bool:
    """High learning rates, or much that is kept: the best lies well away from both."""
    return _decades(point) > -1.3 or float(point["width"]) * (1 - float(point["dropout"])) > 300


def _near(point: Point) -> bool:
    """As far from the best as good points are: a tenth of a decade, a tenth of the memory."""
    return _decades(point) > -2.2 or float(point["width"]) * (1 - float(point["dropout"])) > 210


def _around(point: Point) -> bool:
    """All around the best but for a corridor: too low rates go wrong as well, and so does little that is kept."""
    kept = float(point["width"]) * (1 - float(point["dropout"]))
    return not (-2.6 < _decades(point) < -2.2 and 120 < kept < 210)


PLAIN = Problem("plain", _NETWORK, _network)
INTERACTING = Problem("interacting", _MOMENTUM, _interacting)
CONDITIONAL = Problem("conditional", _OPTIMIZERS, _conditional)
HARTMANN = Problem(
    "Hartmann 6", [{"name": f"x{place}", "range": {"min": 0.0, "max": 1.0}} for place in range(6)], _hartmann
)
BRANIN = Problem(
    "Branin",
    [{"name": "x", "range": {"min": -5.0, "max": 10.0}}, {"name": "y", "range": {"min": 0.0, "max": 15.0}}],
    _branin,
)
FAR, NEAR, AROUND = (
    Problem("failures far from the best", _NETWORK, _network, _far),
    Problem("failures beside the best", _NETWORK, _network, _near),
    Problem("failures all around the best", _NETWORK, _network, _around),
)
