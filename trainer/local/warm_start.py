"""What a learning search here begins with that another has come to: kept with the run, for the other may go."""

import json
from collections.abc import Sequence
from pathlib import Path

from trainer.atomic import write_text
from trainer.experiment.comparable import Contents
from trainer.experiment.spec import HyperparamSearch
from trainer.local.ledger import WARM_START, read_lines
from trainer.local.source import read_source
from trainer.scheduling.lessons import Lesson, as_json, from_json
from trainer.scheduling.warm_start import lessons_of


def earlier_lessons(folder: Path | None, search: HyperparamSearch, found: Contents) -> tuple[list[Lesson], str]:
    """The lessons that the run in `folder` began with or, of a new one, that it is to begin with; and what they are.

    Raises:
        UserError: as `lessons_of`, the other can't be read, or a line here can't.
    """
    source = search.spec.warm_start
    if source is None:
        return [], ""
    if folder is None or not (folder / WARM_START).exists():
        return lessons_of(source, *read_source(source), search, found)
    kept = read_lines(folder / WARM_START, lambda line: from_json(json.loads(line)))
    return kept, f"began with what {len(kept)} points of {source} came to"


def leave_lessons(folder: Path, lessons: Sequence[Lesson]) -> None:
    """Keeps them with the run."""
    write_text(folder / WARM_START, "".join(json.dumps(as_json(each)) + "\n" for each in lessons))
