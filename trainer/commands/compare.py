"""`compare A B`: two ledgers beside each other, each a run's folder or an experiment on a cluster."""

import argparse
import sys
from pathlib import Path

from trainer.atomic import require_replaceable, write_text
from trainer.experiment.errors import UserError
from trainer.kubectl import read_experiment, reference
from trainer.local.folder import stored_experiment
from trainer.local.ledger import read_ledger
from trainer.report.compare_facts import Pair, Side, side
from trainer.report.compare_text import compared
from trainer.report.page import is_page


def main(options: argparse.Namespace) -> int:
    """Prints the comparison and, where asked, leaves the page."""
    if options.html is not None:
        require_replaceable(options.html, is_page)
    pair = Pair(_side(options.a, options.namespace), _side(options.b, options.namespace))
    print(pair.facts.model_dump_json(by_alias=True) if options.json else compared(pair))
    if options.html is not None:
        # Imported late: the plots take long to import, and the text is read meanwhile.
        from trainer.report.compare_page import page

        sys.stdout.flush()
        write_text(options.html, page(pair))
        print(f"page: {options.html}", file=sys.stderr)
    return 0


def _side(source: str, namespace: str | None) -> Side:
    """The ledger that `source` names."""
    wanted = reference(source, namespace)
    if wanted is not None:
        return side(source, *read_experiment(wanted))
    folder = Path(source)
    if not folder.is_dir():
        raise UserError(
            f"{source}: must be a run's folder, such as runs/my-search, or hps/NAME or sct/NAME on a cluster"
        )
    return side(source, stored_experiment(folder), read_ledger(folder))
