"""Where reading has come in each partition, and what it still lacks there."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer.data.kafka.layout import Segment


@dataclass
class Cursor:
    """Where reading a partition has come: the segments left, ascending, and the offset that comes next."""

    partition: int
    left: list[Segment]
    offset: int = field(init=False)

    def __post_init__(self) -> None:
        self.offset = self.left[0].where.start


def cursors_of(segments: Sequence[Segment]) -> dict[int, Cursor]:
    """The cursors of segments in any order, by partition."""
    by_partition: dict[int, list[Segment]] = {}
    for segment in sorted(segments, key=lambda each: (each.where.partition, each.where.start)):
        by_partition.setdefault(segment.where.partition, []).append(segment)
    return {partition: Cursor(partition, left) for partition, left in by_partition.items()}
