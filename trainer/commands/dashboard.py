"""`dashboard DIR`: Optuna's dashboard on a run's folder, also while it runs."""

import argparse

from trainer.local.folder import stored_experiment
from trainer.packages import require


def main(options: argparse.Namespace) -> int:
    """Serves it until it is interrupted."""
    stored_experiment(options.folder)  # a mistake in the folder is told before anything heavy is imported
    require("optuna_dashboard")
    from trainer.export.live_study import FollowingStorage, serve

    serve(FollowingStorage(options.folder), options.port)
    return 0
