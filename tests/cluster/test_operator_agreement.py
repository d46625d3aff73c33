"""The same results make the same records and the same summary, here and on a cluster, but for when it was."""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cluster.api import Json
from cluster.behaviours import Fails, Hangs, Succeeds
from cluster.kinds import rank_of
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, a_search, trial_of
from conftest import Sweep
from eventually import eventually
from trainer.experiment.expand import Trial, expand
from trainer.experiment.judge import RankExit, Times, make_record
from trainer.experiment.load import load
from trainer.experiment.outcome import EXIT_CODES, Outcome
from trainer.experiment.record import RankReport, Record, decode, decode_report
from trainer.experiment.summary import summarize

pytestmark = pytest.mark.usefixtures("operator")

# The figures of a summary that are made of times.
OF_TIMES = dict.fromkeys(("timing", "cost", "comparison", "remark", "course"))
FAILURES = (Outcome.CRASHED, Outcome.DIVERGED, Outcome.DATA_UNAVAILABLE, Outcome.INVALID_CONFIG, Outcome.DEVICE_OOM)


@dataclass(frozen=True)
class Left:
    """What a rank leaves behind: its exit code, and its report as text, empty for none."""

    exit_code: int
    message: str


def results(trials: list[Trial], seed: int) -> dict[str, list[Left]]:
    """What the ranks of each trial leave, drawn from a seed: most succeed, some fail, some say nothing."""
    rng = random.Random(seed)
    return {trial.id: [left_by(rng, rank) for rank in range(trial.workers)] for trial in trials}


def left_by(rng: random.Random, rank: int) -> Left:
    drawn = rng.random()
    if drawn < 0.1:
        return Left(rng.choice([0, 1, 3]), "")
    told: dict[str, Any] = {
        "rank": rank,
        "clock": 1000 + rank,
        "seconds": {"start": round(rng.uniform(0, 1), 3), "train": round(rng.uniform(0, 9), 3)},
        "memory": {"peakBytes": rng.randrange(2**30), "meanBytes": rng.randrange(2**29)},
    }
    if drawn < 0.3:
        outcome = rng.choice(FAILURES)
        told |= {"outcome": outcome, "error": f"{outcome} on rank {rank}", "lostPeer": rng.random() < 0.3}
        return Left(EXIT_CODES[outcome], json.dumps(told))
    if rank == 0:
        told |= {"samples": 1000, "epochs": 3, "datasetBytes": 4096, "environment": {"cpu": "a CPU", "threads": 2}}
        told["metrics"] = {"validMse": rng.choice([0.25, 0.5, rng.uniform(0, 1)]), "trainMse": rng.uniform(0, 1)}
    return Left(0, json.dumps(told))


def recorded_here(trial: Trial, left: list[Left]) -> Record:
    """As the local runner does it."""
    endings = [RankExit(rank, each.exit_code, report_of(each)) for rank, each in enumerate(left)]
    now = int(time.time() * 1000)
    return make_record(trial, attempt=1, exits=endings, metric="validMse", times=Times(now, now, now + 1000))


def report_of(left: Left) -> RankReport | None:
    return decode_report(left.message) if left.message else None


def without_times(record: Record) -> Json:
    """What must be the same: not what the platform measures and proves, nor the image, known on a cluster only."""
    document = record.model_dump(mode="json", by_alias=True)
    for name in ("acceptedAt", "startedAt", "finishedAt"):
        del document[name]
    for name in ("queued", "start", "total"):
        del document["seconds"][name]
    del document["environment"]["image"], document["evidence"]
    return document


def both(seed: int) -> Iterator[Json]:
    """Two searches: of one rank and some repeats, and of three ranks."""
    yield a_search(f"single-{seed}", trials=6, repeats=2, maxFailedTrials=2, parallelTrials=12)
    yield a_search(f"ranks-{seed}", trials=4, workers=3, maxFailedTrials=20)


@pytest.mark.torture
def test_the_same_results_make_the_same_summary_here_and_there(
    experiments: Experiments, kubelet: KubeletPlayer, sweep: Sweep
) -> None:
    # All run before the first ends, so that the budget for failures keeps none from starting.
    kubelet.play(experiments.namespace, lambda pod: Hangs())  # noqa: ARG005
    for seed in sweep.seeds(sample=1, full=20):
        for search in both(seed):
            compare(experiments, kubelet, search, seed)


def compare(experiments: Experiments, kubelet: KubeletPlayer, search: Json, seed: int) -> None:
    """Runs a search whose ranks leave what is drawn from the seed, and makes the records of the same here."""
    experiment, name = load(search), search["metadata"]["name"]
    trials = expand(experiment)
    left = results(trials, seed)
    created = experiments.create(search)
    ranks = sum(trial.workers for trial in trials)
    for pod in eventually(lambda: running(experiments, name, ranks), what="all ranks run"):
        mine = left[trial_of(pod)["id"]][rank_of(pod)]
        how = Fails(mine.exit_code, mine.message) if mine.exit_code else Succeeds(mine.message)
        kubelet.become(experiments.namespace, pod["metadata"]["name"], how)
    summary = experiments.finished(name)["status"]["summary"]

    here = {trial.id: recorded_here(trial, left[trial.id]) for trial in trials}
    there = {
        record.id: record
        for ledger in experiments.ledgers(**{"trialrun.dev/uid": created["metadata"]["uid"]})
        for record in map(decode, ledger["data"].values())
    }
    assert there.keys() == here.keys()
    for each in trials:
        assert without_times(there[each.id]) == without_times(here[each.id])
    summed_here = summarize(experiment, trials, here.values()).document()
    assert {**summary, **OF_TIMES} == {**summed_here, **OF_TIMES}
    assert summary["timing"].keys() == summed_here["timing"].keys()
    print(f"{name}: {summary['state']}, {summary['counts']['outcomes']}")
    experiments.api.delete(experiments.path(name))


def running(experiments: Experiments, name: str, count: int) -> list[Json] | None:
    """The pods of a search once so many run."""
    pods = [pod for pod in experiments.pods() if pod["metadata"]["labels"]["trialrun.dev/experiment"] == name]
    return pods if [pod["status"]["phase"] for pod in pods] == ["Running"] * count else None
