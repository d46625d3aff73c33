"""`compare A B …`: the ledgers of runs beside the first's, each a run's folder or an experiment on a cluster."""

import argparse
import sys

from trainer.atomic import require_replaceable, write_text
from trainer.local.source import read_named
from trainer.packages import require
from trainer.report.compare import Comparisons, against_first, side
from trainer.report.compare_view import comparison_page
from trainer.report.page import is_page, render
from trainer.report.text import text


def main(options: argparse.Namespace) -> int:
    """Prints the comparison and, where asked, leaves the page."""
    if options.html is not None:
        require_replaceable(options.html, is_page)
        require("plotly")
    named = (options.a, options.b, *options.more)
    pairs = against_first([side(source, *read_named(source, options.namespace)) for source in named])
    page = comparison_page(pairs)
    if options.json:
        facts = tuple(pair.facts for pair in pairs)
        said = facts[0] if len(facts) == 1 else Comparisons(comparisons=facts)
        print(said.model_dump_json(by_alias=True))
    else:
        print(text(page))
    if options.html is not None:
        sys.stdout.flush()
        write_text(options.html, render(page))
        print(f"page: {options.html}", file=sys.stderr)
    return 0
