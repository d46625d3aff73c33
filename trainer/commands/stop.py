"""`stop NAME`: an experiment on a cluster starts no new trials; those that run finish."""

import argparse
from typing import Any

from trainer import arguments
from trainer.kubectl import change, find
from trainer.report.wording import count


def main(options: argparse.Namespace) -> int:
    """Sets spec.suspend, and says what that comes to."""
    wanted, found = find(options.experiment, options.namespace)
    if _is_over(found):
        print(f"{wanted.text}: has finished, so there is nothing to stop")
        return 0
    before = bool(found["spec"].get("suspend"))
    found = change(wanted, found, _suspended)
    running = (found.get("status") or {}).get("running") or 0
    begun = f"{count(running, 'trial')} that {'has' if running == 1 else 'have'} begun"
    rest = f"{begun} will finish" if running else "none runs"
    rerun = arguments.call(options, "rerun", wanted.text)
    print(
        f"{wanted.text}: {'was stopped before' if before else 'stopped'}. No new trial starts; {rest}.\n"
        f"To go on: {rerun}, which runs failed trials again too; or set spec.suspend to false."
    )
    return 0


def _suspended(found: dict[str, Any]) -> dict[str, Any] | None:
    return None if found["spec"].get("suspend") else {"suspend": True}


def _is_over(found: dict[str, Any]) -> bool:
    """Whether nothing more would start, a baseline included."""
    status = found.get("status") or {}
    reasons = {each.get("reason") for each in status.get("conditions") or ()}
    return status.get("phase") in ("Succeeded", "Failed") and not reasons & {"BaselinePending", "BaselineRunning"}
