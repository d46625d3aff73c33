"""`predict DIR`: what a run's model says of its test set, or of rows it has never seen."""

import argparse
import csv
import json
import sys

from trainer.data.cache import default_cache
from trainer.training.predict import load, of_rows, of_test_set


def main(options: argparse.Namespace) -> int:
    """Prints one line a prediction, CSV or JSON; metrics of the test set go to stderr."""
    run = load(options.folder)
    if options.rows is not None:
        predictions, figures = of_rows(run, options.rows), None
    else:
        predictions, figures = of_test_set(run, default_cache())
    rows = [prediction.row() for prediction in predictions]
    if options.json:
        sys.stdout.writelines(json.dumps(row) + "\n" for row in rows)
    elif rows:
        writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for name, value in (figures.named("test") if figures is not None else {}).items():
        print(f"{name:16} {value:.6g}", file=sys.stderr)
    return 0
