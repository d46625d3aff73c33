"""A search from apply to its end on a real control plane, and what a user can do to it on the way."""

import json

import pytest

from cluster.api import ApiError, Json
from cluster.behaviours import Behaviour, Fails, Hangs, RunsOutOfMemory, Succeeds
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import (
    ROOT,
    Experiments,
    a_search,
    report,
    trial_of,
)
from cluster.testcluster import Cluster
from eventually import eventually
from trainer.experiment.expand import expand
from trainer.experiment.load import load, read
from trainer.experiment.record import decode
from trainer.experiment.summary import summarize


def succeeds(pod: Json) -> Behaviour:
    return Succeeds(report(pod), after_seconds=0.2)


@pytest.mark.usefixtures("operator")
def test_the_example_runs_unchanged(experiments: Experiments, kubelet: KubeletPlayer, cluster: Cluster) -> None:
    kubelet.play(experiments.namespace, succeeds)
    example = ROOT / "examples" / "search.yaml"
    cluster.kubectl("apply", "-n", experiments.namespace, "-f", str(example))
    cluster.kubectl(
        "wait", "-n", experiments.namespace, "--for=condition=Finished", "--timeout=590s", "hps/sp500-grid"
    )

    trials = expand(read(example))
    listed = cluster.kubectl(
        "get", "pytorchjobs", "-n", experiments.namespace, "-l", "trialrun.dev/experiment=sp500-grid", "-o", "name"
    )
    assert sorted(listed.split()) == sorted(f"pytorchjob.kubeflow.org/sp500-grid-{trial.id}-1" for trial in trials)
    columns = cluster.kubectl("get", "hps", "-n", experiments.namespace, "--no-headers").split()
    assert columns[:6] == ["sp500-grid", "Succeeded", "18/18", "0", "0", "1"]

    # The documented command that reads a ledger.
    text = cluster.kubectl(
        "get", "configmaps", "-n", experiments.namespace, "-l",
        "trialrun.dev/ledger,trialrun.dev/kind=HyperparamSearch,trialrun.dev/experiment=sp500-grid", "-o",
        'go-template={{range .items}}{{range .data}}{{.}}{{"\\n"}}{{end}}{{end}}',
    )  # fmt: skip
    records = [decode(line) for line in text.splitlines()]
    assert [record.id for record in records] == [trial.id for trial in trials]
    seen = experiments.get("sp500-grid")
    local = summarize(load(seen), trials, records).document()
    assert json.loads(json.dumps(local)) == seen["status"]["summary"] | {"comparison": None}
    assert [trial.id for trial in expand(load(seen))] == [trial.id for trial in trials]


@pytest.mark.usefixtures("operator")
def test_the_failure_budget_ends_a_search_and_a_rerun_runs_what_failed_or_is_missing(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    def fails_but_for_the_first(pod: Json) -> Behaviour:
        return succeeds(pod) if trial_of(pod)["index"] == 0 else Fails(1, "boom")

    kubelet.play(experiments.namespace, fails_but_for_the_first)
    experiments.create(a_search(trials=6, parallelTrials=2, maxFailedTrials=1))
    seen = experiments.finished("search")
    assert seen["status"]["phase"] == "Failed"
    assert experiments.condition("search", "Succeeded")["reason"] == "TooManyFailures"
    before = experiments.entries()
    assert 3 <= len(before) < 6
    kubelet.play(experiments.namespace, succeeds)
    experiments.change("search", rerun=1)
    eventually(lambda: experiments.condition("search", "Succeeded").get("status") == "True")
    after = experiments.entries()
    attempts: dict[str, list[int]] = {}
    for key in after:
        trial, _, attempt = key.rpartition(".")
        attempts.setdefault(trial, []).append(int(attempt))
    assert before.items() <= after.items(), "nothing that was recorded is changed"
    failed = {key for key, line in before.items() if decode(line).outcome == "Crashed"}
    assert {trial for trial, numbers in attempts.items() if len(numbers) == 2} == {key[:-2] for key in failed}
    assert experiments.get("search")["status"]["done"] == "6/6"


@pytest.mark.usefixtures("operator")
def test_a_namesake_of_a_job_is_a_conflict_until_it_goes(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    kubelet.play(experiments.namespace, lambda pod: Hangs())  # noqa: ARG005
    trial = expand(load(a_search(trials=1)))[0]
    name = f"search-{trial.id}-1"
    template = {"spec": {"containers": [{"name": "pytorch", "image": "x"}]}}
    place = f"/apis/kubeflow.org/v1/namespaces/{experiments.namespace}/pytorchjobs"
    experiments.api.create(place, {
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": name},
        "spec": {"pytorchReplicaSpecs": {"Master": {"replicas": 1, "restartPolicy": "Never", "template": template}}},
    })  # fmt: skip
    experiments.create(a_search(trials=1))
    eventually(lambda: experiments.condition("search", "Progressing").get("reason") == "NameConflict")
    assert name in experiments.condition("search", "Progressing")["message"]
    kubelet.play(experiments.namespace, succeeds)
    experiments.api.delete(f"{place}/{name}")
    assert experiments.finished("search")["status"]["done"] == "1/1"


@pytest.mark.usefixtures("operator")
def test_mistakes_that_only_load_finds_stand_in_one_condition(experiments: Experiments) -> None:
    search = a_search(trials=2, objective={"metric": "validMsee"})
    search["spec"]["parameters"].append({"name": "train.nonsense", "choices": [1]})
    experiments.create(search)
    seen = experiments.finished("search")
    assert seen["status"]["phase"] == "Invalid"
    mistakes = experiments.condition("search", "Accepted")["message"]
    assert "spec.objective.metric" in mistakes
    assert "spec.parameters[1].name" in mistakes
    assert not experiments.jobs()


def test_a_name_too_long_for_its_children_is_refused_by_the_api_server(experiments: Experiments) -> None:
    with pytest.raises(ApiError):
        experiments.create(a_search("a" * 40))


@pytest.mark.usefixtures("operator")
def test_a_scale_test_runs_through_the_same_path(
    experiments: Experiments, kubelet: KubeletPlayer, cluster: Cluster
) -> None:
    def by_size(pod: Json) -> Behaviour:
        told = trial_of(pod)
        if told["parameters"]["data.multiplier"] >= 100:
            return RunsOutOfMemory()
        return Succeeds(report(pod, memory={"peakBytes": 9, "meanBytes": 8, "floorBytes": 7}))

    kubelet.play(experiments.namespace, by_size)
    cluster.kubectl("apply", "-n", experiments.namespace, "-f", str(ROOT / "examples" / "scaletest.yaml"))
    seen = experiments.finished("sp500-scale", "scaletests")
    assert seen["status"]["phase"] == "Succeeded"
    assert (seen["status"]["largest"], seen["status"]["oom"]) == ("50x", 2)
    columns = cluster.kubectl("get", "sct", "-n", experiments.namespace, "--no-headers").split()
    assert columns[:5] == ["sp500-scale", "Succeeded", "10/10", "50x", "2"]
