"""The same 18-trial search as a whole process, start-up included, beside what people use otherwise."""

import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.timing import Run, in_turn, line, median, process, ratio
from trainer.data.build import prepare
from trainer.data.cache import default_cache
from trainer.data.dataset import open_dataset
from trainer.data.export import export
from trainer.experiment.load import read

ROUNDS = 5
# Everyone else against Trialrun with as many trials at once as they run.
OTHERS = {"plain": 1, "joblib": 2, "optuna": 2, "ray": 2}
# How many times as fast it should be, with trials one by one and with those of a shape together.
_PACKED = {"plain": 2.0, "joblib": 2.5, "optuna": 2.5}


def main() -> None:
    """Prints seconds from process start to the last result, Trialrun's report apart."""
    with tempfile.TemporaryDirectory() as scratch:
        samples = Path(scratch) / "samples.npz"
        training = read(Path("examples/search.yaml")).spec.training
        export(open_dataset(prepare(training.data, default_cache())), samples)
        packed = Path(scratch) / "packed.yaml"
        packed.write_text(Path("examples/search.yaml").read_text() + "  packing: Auto\n")
        calls: dict[str, Callable[[], float]] = {
            f"trialrun --jobs {jobs}{how}": partial(_trialrun, file, Path(scratch), jobs)
            for how, file in (("", Path("examples/search.yaml")), (", packed", packed))
            for jobs in (1, 2)
        }
        for name in OTHERS:
            calls[name] = partial(_other, name, samples)
        taken = in_turn(calls, ROUNDS)
    print("The same search as a whole process: 3 learning rates x 3 widths x 2 depths, 20 epochs")
    for name, seconds in taken.items():
        line(f"seconds, {name}", f"{median(seconds):.1f}")
    for name, jobs in OTHERS.items():
        for how in ("", ", packed"):
            faster = ratio(taken[name], taken[f"trialrun --jobs {jobs}{how}"])
            bar = f"at least {_PACKED[name]:g}x" if how and name in _PACKED else "more than 1x"
            line(f"{name} / trialrun --jobs {jobs}{how}", f"{faster:.2f}x", bar)


def _trialrun(file: Path, scratch: Path, jobs: int) -> float:
    folder = scratch / f"{file.stem}-{jobs}"
    arguments: list[str | Path] = [
        "-m",
        "trainer",
        "run",
        file,
        "--jobs",
        str(jobs),
        "--fresh",
        "--out",
        folder,
    ]
    run = process(arguments)
    return run.wall_seconds - report_seconds(run)


def report_seconds(run: Run) -> float:
    """What a run of ours says that its report took."""
    said = re.search(r"^report: .* \(([0-9.]+) s\)$", run.output, re.MULTILINE)
    if said is None:
        raise RuntimeError(f"the run did not say how long its report took:\n{run.output[-2000:]}")
    return float(said[1])


def _other(name: str, samples: Path) -> float:
    return process([Path("benchmarks/same_search") / f"with_{name}.py", samples]).wall_seconds
