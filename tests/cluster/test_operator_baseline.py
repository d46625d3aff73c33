"""A search's baseline on a real control plane: measured once the search is over, imported, failed, lost, deleted."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster import podstatus
from cluster.api import Json
from cluster.behaviours import Behaviour, Fails, Hangs, IsEvicted, RunsOutOfMemory, Succeeds
from cluster.faultyapi import NO_FAULT, Fault, FaultyApi, Request
from cluster.kinds import job_of, over_both
from cluster.kubelet import KubeletPlayer, Script
from cluster.operatorprocess import Experiments, OperatorProcess, a_search, report
from cluster.testcluster import Cluster
from eventually import eventually
from trainer.experiment.baseline import figures
from trainer.experiment.code import files
from trainer.experiment.expand import expand
from trainer.experiment.load import load
from trainer.experiment.record import Environment, RankReport, Record, encode, encode_report
from trialrun_operator.ledger_format import BaselineEntry
from unit.builders import START, a_record

SEARCH = a_search(trials=3, baseline="Measure")


def is_baseline(pod: Json) -> bool:
    return bool(pod["metadata"]["labels"]["trialrun.dev/trial"] == "baseline")


def one_by_one(search: Json, environment: Environment = Environment()) -> list[Record]:  # noqa: B008 - frozen
    """The ledger of a run of `search`, 100 s a trial."""
    return [
        a_record(trial, seconds=100.0, environment=environment, started_at=START + 100_000 * trial.index)
        for trial in expand(load(search))
    ]


def measured(pod: Json) -> Behaviour:
    """What a baseline's pod reports that went well."""
    told = json.loads(next(each["value"] for each in _variables(pod) if each["name"] == "TRIALRUN_BASELINE"))
    search = load(told["search"])
    run = figures(search, expand(search), one_by_one(told["search"]))
    return Succeeds(encode_report(RankReport(clock=int(time.time() * 1000), run=run)).decode())


def _variables(pod: Json) -> list[Json]:
    return list(pod["spec"]["containers"][0]["env"])


def script(baseline: Script = measured) -> Script:
    """Trials go well; `baseline` says what happens to the pod that measures."""
    return lambda pod: baseline(pod) if is_baseline(pod) else Succeeds(report(pod))


def comparable(experiments: Experiments, reason: str) -> Json:
    """The condition Comparable once it has this reason."""
    eventually(
        lambda: experiments.condition("search", "Comparable").get("reason") == reason,
        what=f"Comparable says {reason}",
    )
    return experiments.condition("search", "Comparable")


def baseline_jobs(experiments: Experiments) -> list[str]:
    return sorted(name for job in experiments.jobs() if "-baseline-" in (name := job["metadata"]["name"]))


def config_maps(experiments: Experiments) -> list[Json]:
    """Those that hold what was measured."""
    found = experiments.api.list(f"/api/v1/namespaces/{experiments.namespace}/configmaps")
    return [each for each in found if each["metadata"]["name"].endswith("-baseline")]


@over_both
@pytest.mark.usefixtures("operator")
def test_the_search_runs_once_more_when_it_is_over_and_the_two_are_compared(
    experiments: Experiments, kubelet: KubeletPlayer, cluster: Cluster
) -> None:
    pods_beside: list[int] = []

    def baseline(pod: Json) -> Behaviour:
        pods_beside.append(sum(each["status"]["phase"] in ("Pending", "Running") for each in experiments.pods()))
        return measured(pod)

    kubelet.play(experiments.namespace, script(baseline))
    search = a_search(trials=3, baseline="Measure", prices={"cpuHour": 3600},
                      pod={"resources": {"requests": {"cpu": "500m"}}})  # fmt: skip
    experiments.create(search)
    experiments.finished("search")
    condition = comparable(experiments, "SameConditions")
    assert condition["status"] == "True"
    assert pods_beside == [1], "only itself"
    status = experiments.get("search")["status"]
    comparison = status["summary"]["comparison"]
    assert comparison["baselineWall"] == 300
    assert comparison["speedup"] == comparison["elapsedRatio"] == 300 / status["summary"]["timing"]["wall"]
    assert comparison["efficiency"] == comparison["speedup"] / comparison["slots"]
    assert comparison["sameBest"] is True
    assert (status["phase"], status["done"], status["speedup"]) == (
        "Succeeded", "3/3", f"{comparison['speedup']:.2f}x"
    )  # fmt: skip
    assert sum(status["summary"]["timing"]["split"].values()) == pytest.approx(1)
    assert status["summary"]["cost"] >= 0
    columns = cluster.kubectl("get", "hps", "-n", experiments.namespace, "--no-headers").split()
    assert columns[6] == status["speedup"]

    # One pod, with what one trial gets, and kept where the ledger's command does not print it.
    jobs = {job["metadata"]["name"]: job for job in experiments.jobs()}
    pods = sorted(experiments.pods(), key=is_baseline)
    specs = [pod["spec"] for pod in (pods[0], pods[-1])]
    assert (job_of(pods[-1]), len(pods)) == ("search-baseline-1", len(jobs))
    assert specs[0]["containers"][0]["resources"] == specs[1]["containers"][0]["resources"]
    assert specs[1]["activeDeadlineSeconds"] == 3 * specs[0]["activeDeadlineSeconds"]
    (kept,) = config_maps(experiments)
    assert list(kept["data"]) == ["1"]
    assert BaselineEntry.model_validate_json(kept["data"]["1"]).figures is not None
    assert len(experiments.entries()) == 3
    assert kept["metadata"]["ownerReferences"] == jobs["search-baseline-1"]["metadata"]["ownerReferences"]


@pytest.mark.usefixtures("operator")
def test_what_was_measured_outlives_its_job(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    kubelet.play(experiments.namespace, script())
    experiments.create(a_search(trials=2, baseline="Measure", ttlSecondsAfterFinished=0))
    comparable(experiments, "SameConditions")
    eventually(lambda: not experiments.jobs(), what="the jobs are gone by their TTL")
    experiments.change("search", parallelTrials=1)
    eventually(lambda: experiments.condition("search", "Comparable").get("observedGeneration") == 2)
    assert experiments.condition("search", "Comparable")["status"] == "True"
    assert baseline_jobs(experiments) == []


@pytest.mark.usefixtures("operator")
def test_a_baseline_that_fails_fails_no_search_and_a_raised_rerun_measures_again(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, script(lambda pod: RunsOutOfMemory()))  # noqa: ARG005
    experiments.create(SEARCH)
    condition = comparable(experiments, "BaselineFailed")
    assert condition["status"] == "False"
    assert "HostOOM" in condition["message"]
    assert "spec.rerun" in condition["message"]
    status = experiments.get("search")["status"]
    assert (status["phase"], status.get("speedup")) == ("Succeeded", None)
    kubelet.play(experiments.namespace, script())
    experiments.change("search", rerun=1)
    comparable(experiments, "SameConditions")
    assert baseline_jobs(experiments) == ["search-baseline-1", "search-baseline-2"]
    assert len(experiments.entries()) == 3, "no trial was run again"


@pytest.mark.usefixtures("operator")
def test_a_baseline_that_is_evicted_is_measured_anew(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    def evicted_once(pod: Json) -> Behaviour:
        return IsEvicted() if pod["metadata"]["labels"]["trialrun.dev/attempt"] == "1" else measured(pod)

    kubelet.play(experiments.namespace, script(evicted_once))
    experiments.create(SEARCH)
    comparable(experiments, "SameConditions")
    assert baseline_jobs(experiments) == ["search-baseline-1", "search-baseline-2"]
    (kept,) = config_maps(experiments)
    assert [BaselineEntry.model_validate_json(kept["data"][key]).record.outcome for key in ("1", "2")] == [
        "Evicted",
        "Succeeded",
    ]


@pytest.mark.usefixtures("operator")
def test_a_search_that_is_to_run_again_comes_first(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    fails = {"first": True}

    def trials(pod: Json) -> Behaviour:
        if is_baseline(pod):
            return Hangs() if fails["first"] else measured(pod)
        return RunsOutOfMemory() if fails["first"] and pod["metadata"]["labels"]["trialrun.dev/index"] == "0" else (
            Succeeds(report(pod))
        )  # fmt: skip

    kubelet.play(experiments.namespace, trials)
    experiments.create(SEARCH)
    comparable(experiments, "BaselineRunning")
    first = next(job for job in experiments.jobs() if "-baseline-" in job["metadata"]["name"])
    fails["first"] = False
    experiments.change("search", rerun=1)
    comparable(experiments, "SameConditions")
    again = [job for job in experiments.jobs() if "-baseline-" in job["metadata"]["name"]]
    assert [job["metadata"]["name"] for job in again] == ["search-baseline-1"], "it had left no record"
    assert again[0]["metadata"]["uid"] != first["metadata"]["uid"]
    assert experiments.get("search")["status"]["summary"]["counts"]["succeeded"] == 3


@pytest.mark.usefixtures("operator")
def test_a_users_ledger_can_serve_as_baseline(
    experiments: Experiments, kubelet: KubeletPlayer, cluster: Cluster, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, script())
    search = a_search(trials=3, baseline="Import")
    experiments.create(search)
    experiments.finished("search")
    message = comparable(experiments, "BaselineMissing")["message"]
    _, _, command = message.partition("ledger: ")
    ledger = tmp_path / "results.jsonl"
    elsewhere = Environment(cpu="Another CPU")
    ledger.write_text("".join(encode(record) + "\n" for record in one_by_one(search, elsewhere)))
    words = command.replace("=results.jsonl", f"={ledger}").split()
    assert words[0] == "kubectl"
    cluster.kubectl(*words[1:], "-n", experiments.namespace)
    condition = comparable(experiments, "DifferentConditions")
    assert condition["status"] == "False"
    assert "CPU: unknown here, Another CPU there" in condition["message"]
    comparison = experiments.get("search")["status"]["summary"]["comparison"]
    assert comparison["baselineWall"] == 300
    assert comparison["elapsedRatio"] > 1
    assert comparison.get("speedup") is None
    assert baseline_jobs(experiments) == []


@pytest.mark.usefixtures("operator")
def test_an_experiment_deleted_while_its_baseline_runs_leaves_nothing(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, script(lambda pod: Hangs()))  # noqa: ARG005
    experiments.create(SEARCH)
    eventually(lambda: [pod for pod in experiments.pods() if is_baseline(pod)])
    experiments.api.delete(experiments.path("search"))
    eventually(
        lambda: not (experiments.jobs() or experiments.pods() or experiments.ledgers() or config_maps(experiments)),
        what="everything is gone",
    )


@pytest.mark.parametrize("deadly", ["POST pytorchjobs", "POST configmaps"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_a_write_for_its_baseline_the_operator_makes_no_second_one(
    cluster: Cluster, experiments: Experiments, account: Path, kubelet: KubeletPlayer, tmp_path: Path,
    deadly: str, before: bool,
) -> None:  # fmt: skip
    kubelet.play(experiments.namespace, script())
    with (
        FaultyApi(cluster.access) as proxy,
        OperatorProcess(tmp_path, experiments.namespace, proxy.kubeconfig_of(account)) as process,
    ):
        killed: list[Request] = []

        def on_request(request: Request) -> Fault:
            if not killed and request.write and request.kind == deadly and b"-baseline" in request.body:
                killed.append(request)
                return Fault(lost=before, unanswered=not before, then=process.kill)
            return NO_FAULT

        proxy.on_request = on_request
        experiments.create(SEARCH)
        comparable(experiments, "SameConditions")
        assert len(killed) == 1
        assert process.starts == 2
        created = [name for name in proxy.created.get("pytorchjobs", []) if "-baseline-" in name]
        assert created == ["search-baseline-1"]
        assert len(config_maps(experiments)) == 1


# --- of a program ---------------------------------------------------------------------------------------------------

PROGRAM = (
    """printf '{"metrics": {"loss": %s}, "environment": {"cpu": "A CPU"}}\\n' "$1" >> "$TRIALRUN_REPORTS"; exit $2"""
)


def of_a_program(**spec: Any) -> Json:
    whole = {
        "objective": {"metric": "loss", "direction": "Minimize"},
        "parameters": [{"name": "x", "choices": [0.5, 0.25, 2]}, {"name": "code", "choices": [0, 3]}],
        "program": {"command": ["sh", "-c", PROGRAM, "sh", "${parameters.x}", "${parameters.code}"]},
        "maxFailedTrials": 3,
        "baseline": "Measure",
    }
    return {
        "apiVersion": "trialrun.dev/v1alpha1", "kind": "HyperparamSearch", "metadata": {"name": "search"},
        "spec": whole | spec,
    }  # fmt: skip


def runs_here(experiments: Experiments, folder: Path) -> Script:
    """Runs what pods are to run in a process here, in whose stead files lie in a folder."""

    def script(pod: Json) -> Behaviour:
        (container,), at = pod["spec"]["containers"], folder / pod["metadata"]["name"]
        at.mkdir()
        (at / "message").touch()
        for volume in (each for each in pod["spec"]["volumes"] if each["name"] == "files"):
            name = volume["configMap"]["name"]
            held = experiments.api.get(f"/api/v1/namespaces/{experiments.namespace}/configmaps/{name}")
            for path, content in files(held).items():
                (at / path).write_bytes(content)

        def here(text: str) -> str:
            text = text.replace("/dev/termination-log", str(at / "message")).replace("/trialrun/", f"{at}/")
            return text.replace("$$", "$")

        seen = {each["name"]: here(each["value"]) for each in container["env"]} | {"PATH": os.environ["PATH"]}
        done = subprocess.run([*map(here, container["command"])], env=seen, stderr=subprocess.PIPE, check=False)
        message = (at / "message").read_text() or done.stderr.decode()[-2048:]
        return Fails(done.returncode, message) if done.returncode else Succeeds(message)

    return script


@pytest.mark.usefixtures("operator")
def test_a_programs_trials_run_once_more_one_after_another_in_a_pod_of_its_image(
    experiments: Experiments, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, runs_here(experiments, tmp_path))
    limits = {"cpu": "500m", "memory": "64Mi"}
    experiments.create(of_a_program(pod={"image": "mine:1", "resources": {"limits": limits}}))
    experiments.finished("search")
    condition = comparable(experiments, "SameConditions")
    assert condition["status"] == "True"
    status = experiments.get("search")["status"]
    assert (status["phase"], status["summary"]["counts"]["failed"]) == ("Succeeded", 3)
    assert status["summary"]["comparison"]["sameBest"] is True
    (kept,) = config_maps(experiments)
    entry = BaselineEntry.model_validate_json(kept["data"]["1"])
    assert entry.figures is not None
    assert entry.figures.outcomes == {"Crashed": 3, "Succeeded": 3}
    assert entry.figures.best_value == 0.25
    (environment,) = entry.figures.environments
    assert (environment.cpu, environment.cpus, environment.memory_limit_bytes) == ("A CPU", 0.5, 64 * 2**20)
    (pod,) = (each for each in experiments.pods() if is_baseline(each))
    (container,) = pod["spec"]["containers"]
    assert (container["image"], container["command"][0]) == ("mine:1", "python3")

    # What it was told goes with the search.
    experiments.api.delete(experiments.path("search"))
    where = f"/api/v1/namespaces/{experiments.namespace}/configmaps"
    eventually(
        lambda: not [each for each in experiments.api.list(where) if "-baseline-run-" in each["metadata"]["name"]],
        what="the ConfigMap of what the baseline's pod was told is gone",
    )


@dataclass(frozen=True)
class CannotStart(Fails):
    """The container's runtime does not find the command."""

    def end(self, pod: podstatus.Pod, now: str) -> podstatus.Status:
        return podstatus.ended(pod, now, exit_code=128, reason="StartError", message=self.message)


@pytest.mark.usefixtures("operator")
def test_an_image_without_python_gets_no_baseline_and_a_sentence(
    experiments: Experiments, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    said = 'exec: "python3": executable file not found in $PATH: unknown'
    here = runs_here(experiments, tmp_path)
    kubelet.play(experiments.namespace, lambda pod: CannotStart(message=said) if is_baseline(pod) else here(pod))
    experiments.create(of_a_program())
    message = comparable(experiments, "BaselineFailed")["message"]
    assert "InvalidConfig" in message
    assert said in message


@pytest.mark.parametrize("deadly", ["POST pytorchjobs", "POST configmaps"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_a_write_for_a_programs_baseline_the_operator_makes_no_second_one(
    cluster: Cluster, experiments: Experiments, account: Path, kubelet: KubeletPlayer, tmp_path: Path,
    deadly: str, before: bool,
) -> None:  # fmt: skip
    kubelet.play(experiments.namespace, runs_here(experiments, tmp_path))
    with (
        FaultyApi(cluster.access) as proxy,
        OperatorProcess(tmp_path, experiments.namespace, proxy.kubeconfig_of(account)) as process,
    ):
        killed: list[Request] = []

        def on_request(request: Request) -> Fault:
            told = b"-baseline-run-" in request.body
            if not killed and request.write and request.kind == deadly and told:
                killed.append(request)
                return Fault(lost=before, unanswered=not before, then=process.kill)
            return NO_FAULT

        proxy.on_request = on_request
        experiments.create(of_a_program())
        comparable(experiments, "SameConditions")
        assert len(killed) == 1
        assert process.starts == 2
        assert baseline_jobs(experiments) == ["search-baseline-1"]
        told = [name for name in proxy.created.get("configmaps", []) if "-baseline-run-" in name]
        assert len(set(told)) == 1
