"""What loading, windowing and training the default set add to the memory that `import torch` takes."""

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.timing import in_turn, line, median, process

ROUNDS = 5
_PEAK = "from trainer.memory import resident_bytes; print(resident_bytes()[1])"
_BARE = f"import torch; {_PEAK}"
_TRIAL = f"""
import sys, time
from pathlib import Path
from trainer.training.distributed import Ranks
from trainer.experiment.training import Training
from trainer.training.trial import RankContext, run_rank
report = run_rank(Training(), RankContext(Ranks(), "env://", Path(sys.argv[1]), None), started=time.time())
assert report.outcome == "Succeeded", report
{_PEAK}
"""


def main() -> None:
    """Prints the difference of two processes' peaks; the data set is built anew each time."""
    peaks = in_turn({"bare": lambda: _peak(_BARE), "trial": lambda: _peak(_TRIAL)}, ROUNDS)
    print("Memory: the default data set, built and trained on")
    line("peak of a bare `import torch`", f"{median(peaks['bare']):.0f} MiB")
    added = [trial - bare for trial, bare in zip(peaks["trial"], peaks["bare"], strict=True)]
    line("added by loading, windowing and training", f"{median(added):.0f} MiB", "at most 100 MiB")


def _peak(program: str) -> float:
    with TemporaryDirectory() as cache:
        return int(process(["-c", program, Path(cache)]).output.split()[-1]) / 2**20
