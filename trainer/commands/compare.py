"""`compare A B`: two ledgers beside each other, each a run's folder or an experiment on a cluster."""

import argparse
import re
import sys
from pathlib import Path

from trainer.atomic import require_replaceable, write_text
from trainer.experiment.entries import Entries
from trainer.experiment.errors import UserError
from trainer.experiment.section import NAME
from trainer.experiment.spec import Experiment
from trainer.kubectl import find, with_ledger
from trainer.local.source import read_source
from trainer.report.compare_facts import Pair, side
from trainer.report.compare_text import compared
from trainer.report.page import is_page


def main(options: argparse.Namespace) -> int:
    """Prints the comparison and, where asked, leaves the page."""
    if options.html is not None:
        require_replaceable(options.html, is_page)
    a, b = (side(source, *_read(source, options.namespace)) for source in (options.a, options.b))
    pair = Pair(a, b)
    print(pair.facts.model_dump_json(by_alias=True) if options.json else compared(pair))
    if options.html is not None:
        # Imported late: the plots take long to import, and the text is read meanwhile.
        from trainer.report.compare_page import page

        sys.stdout.flush()
        write_text(options.html, page(pair))
        print(f"page: {options.html}", file=sys.stderr)
    return 0


def _read(source: str, namespace: str | None) -> tuple[Experiment, Entries]:
    """What `read_source` reads, or of a bare name that is no folder's the experiment on the cluster.

    Raises:
        UserError: there is none, or it can't be read.
    """
    if Path(source).is_dir() or not re.fullmatch(NAME, source):
        return read_source(source, namespace)
    try:
        wanted, found = find(source, namespace)
    except UserError as error:
        raise UserError(f"{error}; and there is no folder {source} here") from error
    return with_ledger(wanted, found)
