"""A program's search: its code is there before its jobs whatever goes wrong; it gets what the chart allows alone."""

import json
from collections import Counter
from collections.abc import Iterable
from functools import cache, partial
from typing import Any

import pytest

from cluster import podstatus
from conftest import Sweep
from trainer.experiment.code import digest
from trainer.experiment.outcome import Outcome
from trialrun_operator.names import CONFIG_MAPS
from unit.controllers import template_of
from unit.fakekube import Document, Fault
from unit.lookout import EITHER, IS_EVICTED, NAMESPACE, Lookout, Stage
from unit.test_operator_disturbed import CUT_OFF, REFUSED, assert_in_order, without_times

FILES = {"train.py": "print()", "pkg..model.py": "WIDTH = 8"}
HASH = digest({"train.py": b"print()", "pkg/model.py": b"WIDTH = 8"})
WRITES = ("create configmaps", "create pytorchjobs", "patch configmaps", "patch hyperparamsearches/status")
OF_TRAIN_JOBS = ("create configmaps", "create trainingruntimes", "create trainjobs")
FAULTS = CUT_OFF | {name: fault for name, fault in REFUSED.items() if name != "404"}


def a_program(**spec: Any) -> Document:
    whole: Document = {
        "objective": {"metric": "loss", "direction": "Minimize"}, "parallelTrials": 2, "ttlSecondsAfterFinished": 0,
        "parameters": [{"name": "lr", "choices": [1, 2, 3, 4]}],
        "program": {"command": ["python", "train.py"], "code": "configmap/my-code"},
    }  # fmt: skip
    return {
        "apiVersion": "trialrun.dev/v1alpha1", "kind": "HyperparamSearch", "metadata": {"name": "search"},
        "spec": whole | spec,
    }  # fmt: skip


def left(message: str, code: int = 0) -> Stage:
    return partial(podstatus.ended, exit_code=code, message=message)


def script(name: str) -> Stage:
    """One trial fails, and one is evicted once."""
    if name == "1.1":
        return IS_EVICTED
    if name == "2.1":
        return left("Traceback (most recent call last):\nValueError: no\n", 1)
    return left(json.dumps({"step": 1, "metrics": {"loss": float(name[0])}}) + "\n")


def started(backend: str = "PyTorchJob", **spec: Any) -> Lookout:
    here = Lookout(backend=backend)
    give(here, "my-code", FILES)
    here.apply(a_program(**spec))
    return here


def give(here: Lookout, name: str, files: dict[str, str]) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {}}, "data": files}
    here.api.ask("POST", CONFIG_MAPS.path(NAMESPACE), body)


def said(here: Lookout, kind: str = "Progressing") -> tuple[str, str]:
    """Reason and message of a condition."""
    (found,) = (each for each in here.status()["conditions"] if each["type"] == kind)
    return found["reason"], found["message"]


def copies(here: Lookout) -> dict[str, Document]:
    return {each["metadata"]["name"]: each for each in here.of(CONFIG_MAPS) if "-code-" in each["metadata"]["name"]}


def assert_code_first(here: Lookout) -> None:
    """No job was ever made that mounts what was not there."""
    there: set[str] = set()
    for event in here.api.events:
        seen = event["object"]
        if seen["kind"] == "ConfigMap" and event["type"] == "ADDED":
            there.add(seen["metadata"]["name"])
        template = template_of(seen)
        if template is not None and event["type"] == "ADDED":
            (volume,) = (each for each in template["spec"]["volumes"] if each["name"] == "code")
            assert volume["configMap"]["name"] in there


def outcome(here: Lookout) -> Any:
    records = [
        (record.index, record.attempt, record.outcome, record.evidence.get("code")) for record in here.ledger()
    ]
    return records, without_times({"status": here.status(), "code": copies(here).keys()})


@cache
def undisturbed(backend: str) -> tuple[Any, Counter[str]]:
    """What comes of it when nothing goes wrong, and its writes."""
    calm = started(backend)
    calm.play(script, seconds=30)
    assert calm.status()["code"] == HASH
    assert [record.outcome for record in calm.ledger()].count(Outcome.SUCCEEDED) == 3
    assert_code_first(calm)
    return outcome(calm), Counter(calm.kube.writes)


def assert_runs_the_code_once(backend: str, write: str, numbers: Iterable[int], what: str) -> None:
    calm = undisturbed(backend)[0]
    for number in numbers:
        here = started(backend)
        here.kube.fails[write] = [None] * number + [FAULTS[what]()]
        for _ in range(30):
            here.play(script, seconds=3)
            if outcome(here) == calm:
                break
        assert not here.kube.fails[write], f"number {number} was met"
        assert outcome(here) == calm, f"number {number}"
        assert_in_order(here)
        assert_code_first(here)


@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("write", WRITES)
def test_whichever_write_goes_wrong_every_trial_runs_the_code_once(write: str, what: str) -> None:
    count = undisturbed("PyTorchJob")[1][write]
    assert_runs_the_code_once("PyTorchJob", write, range(min(4, count)), what)


@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("write", OF_TRAIN_JOBS)
def test_whichever_write_goes_wrong_every_train_job_runs_the_code_once(write: str, what: str, sweep: Sweep) -> None:
    count = undisturbed("TrainJob")[1][write]
    numbers = {seed % count for seed in sweep.seeds(sample=1, full=4)}
    assert_runs_the_code_once("TrainJob", write, numbers, what)


@EITHER
def test_two_operators_make_one_copy(backend: str) -> None:
    here = started(backend)
    here.another().kube.fails["create configmaps"] = [Fault(next(iter(CUT_OFF.values()))().error)]
    here.play(script)
    assert len(copies(here)) == 1
    assert here.status()["phase"] == "Succeeded"
    assert_code_first(here)


def test_a_copy_that_is_not_ours_is_not_run() -> None:
    here = started()
    (name,) = copies_of_another()
    give(here, name, {"train.py": "evil"})
    here.play(script)
    reason, message = said(here)
    assert reason == "CodeUnavailable"
    assert message.startswith(f"ConfigMap {name} exists and is not the copy of the program's code. Delete it with ")
    assert not here.job_objects()
    here.delete(CONFIG_MAPS.path(NAMESPACE, name))
    here.play(script)
    assert here.status()["phase"] == "Succeeded"


def copies_of_another() -> list[str]:
    other = started()
    other.play(script, seconds=5)
    return list(copies(other))


SECRET = {"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "token"}}}]}


def test_what_the_chart_does_not_allow_is_refused_and_taken_once_it_does() -> None:
    here = started(pod=SECRET)
    here.play(script)
    assert here.status()["phase"] == "Invalid"
    reason, message = said(here, "Accepted")
    assert reason == "Invalid"
    assert message.startswith("spec.pod.env[0].valueFrom.secretKeyRef: must be left out where the chart's value ")
    assert not here.job_objects()
    here.allowed = ("secrets",)
    here.restart()
    here.play(script)
    assert here.status()["phase"] == "Succeeded"


def test_a_switch_that_is_turned_off_stops_what_was_taken_up_until_it_is_on_again() -> None:
    here = Lookout(("secrets",))
    give(here, "my-code", FILES)
    here.apply(a_program(pod=SECRET, parallelTrials=1))
    here.wait(3)
    here.pods_run()
    here.allowed = ()
    here.restart()
    here.pods_end(script)
    here.play(script)
    assert said(here)[0] == "NotPermitted"
    assert "No new trial starts. spec.pod.env[0].valueFrom.secretKeyRef: must be left out" in said(here)[1]
    assert list(here.records()) == ["0.1"]
    here.allowed = ("secrets",)
    here.restart()
    here.play(script)
    assert here.status()["phase"] == "Succeeded"
