"""What a program asks for its parameters, and tells how it is doing. One file: copy it where it isn't installed.

    import trialrun

    trial = trialrun.trial(lr=0.1, epochs=10)              # by hand, these count
    for epoch in range(trial.parameters["epochs"]):
        ...
        if trial.report(epoch, loss=loss, accuracy=right / count):
            break                                          # it was asked to stop

Without Trialrun around it the program runs as ever, and reports are printed. What is read and written here is said in
docs/bring-your-own-trainer.md, for any language.
"""

import json
import math
import os
import sys
from pathlib import Path

__all__ = ["PROTOCOL", "Trial", "trial"]

PROTOCOL = 1
MOST_METRICS = 100
_VARIABLE = "TRIALRUN_TRIAL"


class Parameters(dict):
    """A trial's parameters by name, and what does not vary. Which were read is told with the reports."""

    def __init__(self, values):
        super().__init__(values)
        self.read = set()

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)

    def __missing__(self, name):
        raise KeyError(f"no parameter or setting {name}; there are: {', '.join(sorted(self)) or 'none'}")

    def get(self, name, default=None):
        self.read.add(name)
        return super().get(name, default)

    def __iter__(self):
        self.read.update(super().keys())
        return super().__iter__()

    def keys(self):
        self.read.update(super().keys())
        return super().keys()

    def values(self):
        self.read.update(super().keys())
        return super().values()

    def items(self):
        self.read.update(super().keys())
        return super().items()


class Trial:
    """One trial of a program. `settings` are the file's, nested as they are there, with the parameters put in.

    `folder` is for what it leaves behind; `checkpoints` are folders in which an attempt before this one may have left
    something to go on from, the latest first.
    """

    def __init__(self, order, defaults):
        if order.get("protocol", PROTOCOL) != PROTOCOL:
            raise RuntimeError(
                f"this trialrun.py speaks protocol {PROTOCOL}, and Trialrun protocol {order['protocol']}; "
                "take the trialrun.py of that version"
            )
        self.settings = order.get("settings", {})
        self.parameters = Parameters({**defaults, **_flat(self.settings), **order.get("parameters", {})})
        self.id = order.get("id", "")
        self.seed = order.get("seed", 0)
        self.folder = Path(order.get("folder", "."))
        self.checkpoints = [Path(each) for each in order.get("checkpoints", [])]
        self._reports = order.get("reports")
        self._stop = order.get("stop")
        self._until = order.get("until")
        self._step = -1
        self._beside = {}

    @property
    def stopping(self):
        """Whether it was asked to stop: what it has reported counts, and more is not wanted."""
        if self._until is not None and self._step >= self._until:
            return True
        return self._stop is not None and Path(self._stop).exists()

    def report(self, step=None, metrics=None, /, **more):
        """Tells the metrics after a step, numbers by name; gives whether to stop. Those of the last report count.

        Names that are no Python names, such as val/loss, go into `metrics`. Of several ranks only rank 0 tells.
        """
        step = self._step + 1 if step is None else int(step)
        found = _numbers({**(metrics or {}), **more})
        self._step = step
        self._tell({"step": step, "metrics": found})
        return self.stopping

    def naive(self, metrics=None, /, **more):
        """Tells what a prediction gets that has learnt nothing, by the names that metrics are reported under."""
        self._beside["naive"] = _numbers({**(metrics or {}), **more})

    def rests_on(self, *, data=None, validation=None):
        """Tells a fingerprint, any text, of what it trains on and is validated on: unlike ones are not compared."""
        given = {"data": data, "validation": validation}
        self._beside["restsOn"] = {name: str(value) for name, value in given.items() if value is not None}

    def _tell(self, report):
        if os.environ.get("RANK", "0") != "0":
            return
        if self._reports is None:
            said = "  ".join(f"{name} {value:.6g}" for name, value in report["metrics"].items())
            print(f"step {report['step']}  {said}", file=sys.stderr, flush=True)
            return
        whole = {**report, **self._beside, "read": sorted(self.parameters.read), "process": os.getpid()}
        line = json.dumps(whole, separators=(",", ":")).encode() + b"\n"
        # One write to the end of the file: lines of several processes don't mix, and none is lost if this one dies.
        file = os.open(self._reports, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)
        finally:
            os.close(file)


def trial(**defaults):
    """The trial that this process runs. `defaults` are the parameters that nobody gives, as when it runs by hand."""
    return Trial(json.loads(os.environ.get(_VARIABLE) or "{}"), defaults)


def _flat(settings, before=""):
    found = {}
    for name, value in settings.items():
        found[before + name] = value
        if isinstance(value, dict):
            found.update(_flat(value, f"{before}{name}."))
    return found


def _numbers(metrics):
    """The metrics as floats: also those of torch and numpy, of which JSON knows nothing."""
    if len(metrics) > MOST_METRICS:
        raise ValueError(f"a report must have at most {MOST_METRICS} metrics, got {len(metrics)}")
    found = {}
    for name, value in metrics.items():
        if isinstance(value, str):
            raise TypeError(f"metric {name} must be a number, got {value!r}")
        try:
            # A loss still has its gradient: torch warns of a float made of such.
            found[name] = float(value.detach() if hasattr(value, "detach") else value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"metric {name} must be a number, got {type(value).__name__}") from error
        if math.isnan(found[name]):
            found[name] = math.nan  # of whatever sign
    return found
