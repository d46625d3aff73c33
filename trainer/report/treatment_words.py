"""What came out of a comparison, in a sentence, and what loading took, as a table: for terminal and page alike."""

from collections.abc import Callable, Sequence

from trainer.benchmark.findings import Treatment
from trainer.benchmark.text import ABSENT, Grid, figure
from trainer.report.treatments import Statistics
from trainer.report.wording import count, listed, memory

_MOST_NAMED = 4


def verdict(statistics: Statistics) -> str:
    """Which treatment is best, and from how many others it was told apart."""
    found = statistics.findings
    if not found.compared:
        return f"No run measured {found.quantity.name}."
    best = found.compared[0]
    least = "least" if found.quantity.better == "Minimize" else "greatest"
    # Whoever misses runs comes after all who miss none, however good its others are.
    ahead = any(_ahead(found.quantity.better, treatment, best) for treatment in found.compared[1:])
    whole = " of the treatments that miss no run" if ahead else ""
    said = f"{best.name} has the {least} mean of {found.quantity.name}{whole}{_apart(found.compared[1:])}."
    once = [treatment.name for treatment in found.compared if len(treatment.sample.values) == 1]
    return f"{said} With one run there is nothing to compare {_some(once)} by." if once else said


def _ahead(better: str, one: Treatment, other: Treatment) -> bool:
    """Whether one's mean is better than the other's."""
    if one.mean is None or other.mean is None:
        return False
    return one.mean.value < other.mean.value if better == "Minimize" else one.mean.value > other.mean.value


def _apart(others: Sequence[Treatment]) -> str:
    """From how many of those it was compared with the best was told apart."""
    compared = [treatment for treatment in others if treatment.differs is not None]
    near = [treatment.name for treatment in compared if not treatment.differs]
    if not compared:
        return "; there is no other to compare it with"
    if not near:
        return f" and was told apart from {_some([treatment.name for treatment in compared])}"
    if len(near) == len(compared):
        return f", but could not be told apart from {_some(near)}"
    return f" and was told apart from {len(compared) - len(near)} of {len(compared)} others, not from {_some(near)}"


def _some(names: Sequence[str]) -> str:
    """The names, or how many they are."""
    return listed(names) if len(names) <= _MOST_NAMED else count(len(names), "treatment")


def loading(statistics: Statistics) -> Grid | None:
    """What loading took, means over runs; None where nothing of it was measured."""
    if not statistics.loading:
        return None
    columns: list[tuple[str, dict[str, str]]] = []
    for each in statistics.loading:
        write: Callable[[float], str] = memory if each.quantity.unit == "bytes" else figure
        cells = {measured.treatment: write(measured.mean.value) for measured in each.treatments}
        columns.append((_head(each.quantity.name), cells))
    if statistics.compression:
        ratios = {found.treatment: figure(found.ratio) for found in statistics.compression}
        columns.append(("compression", ratios))
    rows = [
        (treatment.name, *(cells.get(treatment.name, ABSENT) for _, cells in columns))
        for treatment in statistics.findings.compared
    ]
    return Grid(
        "What a run read and how fast: means over runs, seconds those of the slowest rank",
        (statistics.named_by, *(head for head, _ in columns)),
        tuple(rows),
    )


def _head(metric: str) -> str:
    return {
        "messagesPerSecond": "messages/s",
        "megabytesPerSecond": "MB/s",
        "setupSeconds": "set-up s",
        "fetchSeconds": "fetch s",
        "decodeSeconds": "decode s",
        "dealSeconds": "deal s",
        "payloadBytes": "encoded",
        "wireBytes": "on the wire",
    }.get(metric, metric)
