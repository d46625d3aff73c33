"""Leaves the statistics of a search with repeats in its folder, as JSON and pictures, and says what they came to."""

import sys
from pathlib import Path

from trainer.atomic import write_text
from trainer.benchmark import drawing
from trainer.packages import PackageMissing
from trainer.report.results import Results
from trainer.report.treatment_text import compared
from trainer.report.treatments import NAME, PICTURES, Statistics, drawn, statistics


def leave_statistics(folder: Path, results: Results) -> Statistics | None:
    """The statistics, once they are written and said on stderr; None where the libraries are not installed.

    Raises:
        UserError: the folder can't be written.
    """
    try:
        found = statistics(results)
    except PackageMissing as error:
        print(f"\n  {error}\n", file=sys.stderr)
        return None
    print(f"\n{compared(found)}\n", file=sys.stderr)
    write_text(folder / NAME, found.model_dump_json(by_alias=True, indent=2) + "\n")
    drawing.draw(found.findings, folder / PICTURES)
    for quantity, means in drawn(found):
        drawing.draw_means(quantity, means, folder / PICTURES / f"{quantity.name}.png")
    print(f"statistics: {folder / NAME}, pictures in {folder / PICTURES}", file=sys.stderr)
    return found
