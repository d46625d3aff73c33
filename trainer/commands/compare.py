"""`compare A B`: two ledgers beside each other, each a run's folder or an experiment on a cluster."""

import argparse
import sys

from trainer.atomic import require_replaceable, write_text
from trainer.local.source import read_named
from trainer.report.compare_facts import Pair, side
from trainer.report.compare_text import compared
from trainer.report.page import is_page


def main(options: argparse.Namespace) -> int:
    """Prints the comparison and, where asked, leaves the page."""
    if options.html is not None:
        require_replaceable(options.html, is_page)
    a, b = (side(source, *read_named(source, options.namespace)) for source in (options.a, options.b))
    pair = Pair(a, b)
    print(pair.facts.model_dump_json(by_alias=True) if options.json else compared(pair))
    if options.html is not None:
        # Imported late: the plots take long to import, and the text is read meanwhile.
        from trainer.report.compare_page import page

        sys.stdout.flush()
        write_text(options.html, page(pair))
        print(f"page: {options.html}", file=sys.stderr)
    return 0
