"""A search on a real control plane is told to a real MLflow server: each trial once, over kills of the operator."""

import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cluster.api import Json
from cluster.behaviours import Behaviour, Fails, Succeeds
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_search, report, trial_of
from conftest import Sweep
from eventually import eventually
from mlflow.conftest import server as server
from mlflow.server import Run, Server
from trainer.experiment.record import decode, latest


def behaves(pod: Json) -> Behaviour:
    if trial_of(pod)["index"] == 2:
        return Fails(1, "boom")
    return Succeeds(report(pod), after_seconds=0.3)


def told(server: Server, experiments: Experiments, name: str) -> dict[str, Run]:
    """The runs by trial, once MLflow has the ledger's trials, each once and as it is there."""
    runs = server.runs(f"{experiments.namespace}/{name}")
    records = latest(decode(line) for line in experiments.entries().values())
    assert Counter(run.trial for run in runs) == dict.fromkeys(["", *records], 1)
    by_trial = {run.trial: run for run in runs}
    for trial, record in records.items():
        run = by_trial[trial]
        assert run.tags["trialrun.outcome"] == record.outcome
        assert record.metrics.items() <= run.metrics.items()
        assert (run.started, run.ended) == (record.started_at, record.finished_at)
        assert run.params == {key: str(value) for key, value in record.parameters.items()}
        assert run.tags["mlflow.parentRunId"] == by_trial[""].id
    assert by_trial[""].status == "FINISHED"
    return by_trial


@pytest.mark.usefixtures("crds")
def test_every_trial_is_told_once_after_ten_kills(
    experiments: Experiments,
    kubelet: KubeletPlayer,
    account: Path,
    tmp_path: Path,
    server: Server,
    sweep: Sweep,
    say: Callable[[str], None],
) -> None:
    for seed in sweep.seeds(sample=1, full=5):
        chance, name = random.Random(seed), f"search-{seed}"
        kubelet.play(experiments.namespace, behaves)
        with OperatorProcess(tmp_path, experiments.namespace, account, mlflow=server.url) as operator:
            operator.wait_until_ready()
            experiments.create(a_search(name, trials=20, parallelTrials=2))
            for _ in range(10):
                time.sleep(chance.uniform(0.2, 2.5))
                operator.kill()
                eventually(lambda: operator.is_running)
            experiments.finished(name)
            runs = eventually(partial(told, server, experiments, name), what=f"seed {seed}: all is told")
            # The last operator hands all over again, for it cannot know what was told: MLflow has each once even so.
            eventually(lambda: operator.figures()["trialrun_tracking_trials_untold"] == 0)
            assert told(server, experiments, name) == runs
        say(f"  seed {seed}: {len(runs) - 1} trials, each once, after {operator.starts - 1} kills")
