"""Has experiments created, finished and deleted all the time, and watches whether the operator keeps what it needn't.

    make soak                       # an hour
    make soak ARGS="--minutes 10"

Searches and scale tests run as PyTorchJobs and as TrainJobs on a control plane of its own, with the real controllers
and simulated pods. Two operators share the work: one runs from the beginning to the end and is measured, the other is
killed now and then. Ends with exit code 1 if the resident memory of the first, after the first quarter, grew by more
than 5 %, or if it has more open files, threads or tasks.
"""

import argparse
import itertools
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.operator import machine, memory_mib
from cluster.behaviours import Behaviour, Fails, Succeeds
from cluster.controlplane import ControlPlane
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import (
    Experiments,
    OperatorProcess,
    a_scale_test,
    a_search,
    install_crds,
    service_account,
    trial_of,
)
from eventually import eventually
from trialrun_operator.backends import BACKENDS

AT_ONCE = 3  # experiments
SAMPLE_SECONDS = 5.0
KILL_SECONDS = 240.0
MOST_GROWTH = 0.05
SLACK = 8  # files, threads and tasks that come and go with requests


@dataclass(frozen=True)
class Sample:
    """What the measured operator has at a moment; seconds count from the beginning."""

    seconds: float
    resident_mib: float
    files: int
    threads: int
    tasks: int


def script(pod: dict[str, Any]) -> Behaviour:
    """Pods run for a moment; one trial in ten fails."""
    told = trial_of(pod)
    if told["index"] % 10 == 9:
        return Fails(1, "boom")
    report = {"clock": int(time.time() * 1000), "metrics": {"validMse": 1.0 + told["index"]},
              "memory": {"floorBytes": 2**27, "peakBytes": 2**28, "meanBytes": 2**28}}  # fmt: skip
    return Succeeds(json.dumps(report), after_seconds=0.2)


def live(experiments: Experiments, until: float, numbers: "itertools.count[int]", ended: list[str]) -> None:
    """Creates, awaits and deletes one experiment after another until the time is over."""
    while time.monotonic() < until:
        number = next(numbers)
        kind = list(BACKENDS)[number % len(BACKENDS)]
        name, plural = f"soak-{number}", "scaletests" if number % 3 == 2 else "hyperparamsearches"
        if plural == "scaletests":
            document = a_scale_test(name, backend=kind)
        else:
            document = a_search(name, trials=12, parallelTrials=6, backend=kind)
        experiments.create(document)
        experiments.finished(name, plural)
        experiments.api.delete_if_there(experiments.path(name, plural))
        ended.append(kind)


def sample(process: OperatorProcess, began: float) -> Sample:
    """What the operator has now."""
    folder = Path(f"/proc/{process.pid}")
    return Sample(
        time.monotonic() - began,
        memory_mib(process.pid, "VmRSS"),
        len(os.listdir(folder / "fd")),  # noqa: PTH208
        len(os.listdir(folder / "task")),  # noqa: PTH208
        int(process.figures().get("trialrun_tasks", 0)),
    )


def verdicts(samples: Sequence[Sample]) -> list[tuple[str, bool]]:
    """What the samples say, and whether it is well: the second quarter beside the last."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]

    def middle(name: str, of: Sequence[Sample]) -> float:
        return float(median(getattr(each, name) for each in of))

    growth = middle("resident_mib", late) / middle("resident_mib", early) - 1
    mib = f"{middle('resident_mib', early):.1f} -> {middle('resident_mib', late):.1f} MiB"
    found = [(f"resident memory {mib} ({growth:+.1%})", growth <= MOST_GROWTH)]
    for name in ("files", "threads", "tasks"):
        before, after = middle(name, early), middle(name, late)
        found.append((f"{name} {before:.0f} -> {after:.0f}", after <= before + SLACK))
    return found


def soak(folder: Path, minutes: float) -> tuple[list[Sample], list[str], int]:
    """The samples of so many minutes, the kinds of the experiments that ended, and how often one was killed."""
    draws = random.Random(1)
    with (
        ControlPlane.start(folder) as plane,
        KubeletPlayer(plane.access, script) as kubelet,
        plane.new_namespace() as namespace,
    ):
        plane.start_trainer()
        install_crds(plane)
        experiments, account = Experiments(plane, namespace), service_account(plane, namespace)
        (folder / "second").mkdir()
        with (
            OperatorProcess(folder, namespace, account, restarts=False) as measured,
            OperatorProcess(folder / "second", namespace, account) as second,
        ):
            for each in (measured, second):
                each.wait_until_ready()
            began = time.monotonic()
            until, numbers, ended = began + 60 * minutes, itertools.count(), list[str]()
            arguments = (experiments, until, numbers, ended)
            workers = [threading.Thread(target=live, args=arguments, daemon=True) for _ in range(AT_ONCE)]
            for worker in workers:
                worker.start()
            samples: list[Sample] = []
            next_kill, told = began + KILL_SECONDS, 0.0
            while time.monotonic() < until:
                time.sleep(SAMPLE_SECONDS)
                assert measured.is_running, measured.log[-5000:]
                assert all(worker.is_alive() for worker in workers), "an experiment could not be created or awaited"
                samples.append(sample(measured, began))
                if time.monotonic() > next_kill:
                    second.kill()
                    next_kill = time.monotonic() + KILL_SECONDS * draws.uniform(0.5, 1.5)
                if time.monotonic() - told > 60:
                    told = time.monotonic()
                    print(
                        f"{samples[-1].seconds:5.0f} s: {len(ended)} experiments ended; {samples[-1]}",
                        file=sys.stderr,
                    )
            for worker in workers:
                worker.join(timeout=600)
            eventually(lambda: not experiments.ledgers(), what="everything that experiments owned is collected")
            assert not kubelet.errors, kubelet.errors[:3]
            return samples, ended, second.starts - 1


def main() -> int:
    """Runs it, prints what was seen, and gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="an hour by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trialrun-soak-") as name:
        samples, ended, kills = soak(Path(name), options.minutes)
    counts = ", ".join(f"{ended.count(kind)} as {kind}s" for kind in BACKENDS)
    print(
        f"{options.minutes:g} minutes, {len(ended)} experiments ({counts}), {kills} kills of an operator; {machine()}"
    )
    found = verdicts(samples)
    for said, well in found:
        print(f"{'ok  ' if well else 'GREW'} {said}")
    return 0 if all(well for _, well in found) else 1


if __name__ == "__main__":
    sys.exit(main())
