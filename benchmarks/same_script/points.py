"""The learning rates that each system tries, and how it hands back what it found."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path


def rates(count: int) -> list[float]:
    """As many learning rates, from 0.001 on."""
    return [(number + 1) / 1000 for number in range(count)]


def leave(path: str, found: Iterable[tuple[float, float]]) -> None:
    """Writes the loss of each learning rate."""
    Path(path).write_text(json.dumps(dict(found)))


def taken(path: Path) -> Mapping[float, float]:
    """Reads what was left."""
    return {float(rate): loss for rate, loss in json.loads(path.read_text()).items()}
