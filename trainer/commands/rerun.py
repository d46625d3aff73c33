"""`rerun NAME`: an experiment on a cluster goes on, with the trials that failed and those that are missing."""

import argparse
from typing import Any

from trainer import arguments
from trainer.kubectl import change, find


def main(options: argparse.Namespace) -> int:
    """Raises spec.rerun by one and sets spec.suspend to false, and says what that comes to."""
    wanted, found = find(options.experiment, options.namespace)
    found = change(wanted, found, _again)
    number = found["spec"]["rerun"]
    status = found.get("status") or {}
    failed = status.get("failed")
    said = (
        f" ({failed} failed, {status['done'].replace('/', ' of ')} done)"
        if failed is not None and "done" in status
        else ""
    )
    print(
        f"{wanted.text}: spec.rerun is {number} now. Trials that failed or are missing{said} run again; those that "
        f"succeeded do not.\n{arguments.call(options, 'watch', wanted.text)} shows how it goes"
    )
    return 0


def _again(found: dict[str, Any]) -> dict[str, Any]:
    return {"rerun": (found["spec"].get("rerun") or 0) + 1, "suspend": False}
