"""What was allocated to pods, times what the user says it costs. Pure; nothing is guessed.

Kubernetes allocates what is requested and, where only a limit is given, the limit.
"""

from decimal import Decimal

from trainer.experiment.spec import Experiment, ScaleTest

_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(1000),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", start=2)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
_GIB = 2**30


def worker_hour(experiment: Experiment) -> float | None:
    """What one worker's pod costs in an hour; None without prices, or where nothing is allocated by a number."""
    prices, resources = experiment.spec.prices, experiment.spec.pod.resources
    allocated = {**resources.limits, **resources.requests}
    if isinstance(experiment, ScaleTest) and experiment.spec.cell.memory_limit is not None:
        allocated.setdefault("memory", experiment.spec.cell.memory_limit)
    if prices is None:
        return None
    parts = [quantity(allocated[name]) * price / unit for name, price, unit in (
        ("cpu", prices.cpu_hour, 1), ("memory", prices.gib_hour, _GIB)) if name in allocated]  # fmt: skip
    parts += [quantity(amount) * prices.gpu_hour for name, amount in allocated.items() if name.endswith("/gpu")]
    return sum(parts) if parts else None


def quantity(text: str) -> float:
    """The number that a Kubernetes quantity stands for: 0.5 of 500m, 1073741824 of 1Gi."""
    digits = text.rstrip("mkMGTPEKi")
    return float(Decimal(digits) * _FACTORS[text[len(digits) :]])
