"""What a TrainJob and its TrainingRuntime say: what is a trial's own in the one, all else in the other, once."""

import json
import re
from typing import Any

import pytest

from jobs import train_job
from trialrun_operator.names import Key
from trialrun_operator.orders import REPORTS_VARIABLE, TRIAL_VARIABLE, Code, Known
from unit.builders import START
from unit.controllers import Trainer, template_of
from unit.fakekube import Document, FakeApi
from unit.objects import KEY, UID, a_workload, pod_document

RENDEZVOUS = ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"]
PROGRAM = {"command": ["python", "$(HOME)/train.py", "${parameters.lr}"],
           "env": [{"name": "RATE", "value": "${parameters.lr}"}],
           "code": "configmap/my-code"}  # fmt: skip
CODE = Known(code=Code("the-copy", "0a1b2c", ("train.py",)))
# RFC 1035, as a TrainJob's name must be, and of its JobSet's Service.
LABEL = re.compile("[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def made(number: int = 0, attempt: int = 2, **spec: Any) -> tuple[Document, Document]:
    work = a_workload(**spec)
    return train_job(work, KEY, UID, work.trials[number], attempt, "trainer:1")


def a_program(workers: int = 1, **program: Any) -> tuple[Document, Document]:
    spec = {
        "objective": {"metric": "loss", "direction": "Minimize"}, "workers": workers,
        "parameters": [{"name": "lr", "choices": [1, 2]}], "program": PROGRAM | program,
    }  # fmt: skip
    work = a_workload(**spec)
    return train_job(work, KEY, UID, work.trials[0], 1, "trainer:1", known=CODE)


def container_of(runtime: Document) -> Document:
    template = template_of(runtime)
    assert template is not None
    (container,) = template["spec"]["containers"]
    return dict(container)


def pods_of(job: Document, runtime: Document) -> list[Document]:
    """The pods that Trainer makes of them."""
    api = FakeApi(lambda: START)
    trainer = Trainer(api)
    for kind, document in (("trainingruntimes", runtime), ("trainjobs", job)):
        job = api.ask("POST", f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{KEY.namespace}/{kind}", document)
    return trainer.look(job, [], "2026-05-01T10:00:00Z")


def variables(pod: Document) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in pod["spec"]["containers"][0]["env"]}


def test_a_train_job_is_named_labelled_and_owned() -> None:
    job, runtime = made()
    trial = a_workload().trials[0]
    labels = job["metadata"]["labels"]
    assert job["metadata"]["name"] == f"sp500-grid-{trial.id}-2"
    assert (labels["trialrun.dev/trial"], labels["trialrun.dev/attempt"]) == (trial.id, "2")
    assert labels["trialrun.dev/job"] == "a-link"
    assert "kueue.x-k8s.io/queue-name" not in labels
    assert job["spec"]["runtimeRef"] == {
        "apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": runtime["metadata"]["name"],
    }  # fmt: skip
    for document in (job, runtime):
        assert [each["uid"] for each in document["metadata"]["ownerReferences"]] == [UID]
        assert document["metadata"]["namespace"] == KEY.namespace
    (pod,) = pods_of(job, runtime)
    assert pod["metadata"]["labels"].items() >= labels.items(), "what a pod is found by"


@pytest.mark.parametrize("workers", [1, 3])
def test_its_ranks_are_one_indexed_job_whose_failed_pods_stay_as_evidence(workers: int) -> None:
    job, runtime = made(workers=workers)
    assert job["spec"]["trainer"]["numNodes"] == workers
    assert runtime["spec"]["mlPolicy"] == {"numNodes": workers, "torch": {}}
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert node["name"] == "node"
    assert node["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    spec = node["template"]["spec"]
    limits = {name: spec[name] for name in spec if "ackoff" in name or "eadline" in name or "ttl" in name}
    assert limits == ({"backoffLimit": 0} if workers == 1 else {"backoffLimitPerIndex": 0})
    assert (spec["completionMode"], spec["template"]["spec"]["restartPolicy"]) == ("Indexed", "Never")
    assert spec["template"]["spec"]["activeDeadlineSeconds"] == 600
    assert "activeDeadlineSeconds" not in job["spec"]
    pods = pods_of(job, runtime)
    name = job["metadata"]["name"]
    assert [variables(pod)["MASTER_ADDR"] for pod in pods] == [f"{name}-node-0-0.{name}"] * workers
    assert {variables(pod)["WORLD_SIZE"] for pod in pods} == {str(workers)}
    path = {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}
    assert variables(pods[-1])["RANK"] == {"fieldRef": path}


def test_what_differs_from_trial_to_trial_is_in_the_job_and_all_else_in_the_runtime() -> None:
    env = [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": TRIAL_VARIABLE, "value": "forged"}]
    secret = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "token"}}}
    job, runtime = made(pod={"env": [*env, secret], "labels": {"team": "a"}, "annotations": {"note": "b"}})
    trainer, container = job["spec"]["trainer"], container_of(runtime)
    names = [each["name"] for each in trainer["env"]]
    assert names[:4] == RENDEZVOUS
    assert {TRIAL_VARIABLE, "OMP_NUM_THREADS", "HOME"} <= set(names)
    assert container["env"] == [env[0], secret]
    assert len(set(names)) == len(names)
    told = {each["name"]: each.get("value", "") for each in trainer["env"]}
    assert json.loads(told[TRIAL_VARIABLE])["attempt"] == 2
    assert (trainer["args"], "command" in trainer) == (["pod"], False)
    assert not {"args", "command"} & container.keys()
    template = template_of(runtime)
    assert template is not None
    assert template["metadata"] == {"labels": {"team": "a"}, "annotations": {"note": "b"}}
    assert (job["metadata"]["labels"]["team"], job["metadata"]["annotations"]) == ("a", {"note": "b"})
    (pod,) = pods_of(job, runtime)
    assert (pod["metadata"]["labels"]["team"], pod["metadata"]["annotations"]) == ("a", {"note": "b"})
    assert variables(pod)[TRIAL_VARIABLE] != "forged"


def test_a_user_s_labels_do_not_win_over_ours() -> None:
    forged = {"trialrun.dev/trial": "forged", "trialrun.dev/job": "forged"}
    job, runtime = made(pod={"labels": forged})
    (pod,) = pods_of(job, runtime)
    for each in (job, pod):
        assert "forged" not in each["metadata"]["labels"].values()


def test_a_program_s_command_and_variables_are_its_trial_s() -> None:
    job, runtime = a_program()
    trainer = job["spec"]["trainer"]
    told = {each["name"]: each.get("value", "") for each in trainer["env"]}
    assert trainer["command"] == ["python", "$$(HOME)/train.py", "1"]
    assert (told["RATE"], REPORTS_VARIABLE in told, trainer["numProcPerNode"]) == ("1", True, 1)
    assert job["metadata"]["labels"]["trialrun.dev/program"] == "0a1b2c"
    (volume,) = (each for each in template_spec(runtime)["volumes"] if each["name"] == "code")
    assert volume["configMap"]["name"] == "the-copy"
    assert not {"RATE", TRIAL_VARIABLE} & {each["name"] for each in container_of(runtime)["env"]}


def test_of_several_processes_in_a_worker_torchrun_is_told_by_trainer() -> None:
    job, runtime = a_program(workers=2, processesPerWorker=4)
    assert (job["spec"]["trainer"]["numNodes"], job["spec"]["trainer"]["numProcPerNode"]) == (2, 4)
    seen = variables(pods_of(job, runtime)[1])
    assert (seen["PET_NNODES"], seen["PET_NPROC_PER_NODE"]) == ("2", "4")
    assert "LOCAL_RANK" not in seen, "each of its processes has another"


def template_spec(runtime: Document) -> Document:
    template = template_of(runtime)
    assert template is not None
    return dict(template["spec"])


def test_all_trials_and_attempts_of_an_experiment_share_a_runtime() -> None:
    first = made(0, 1)[1]
    assert made(1, 1)[1] == made(0, 2)[1] == first
    assert made(1, 1)[0]["spec"]["runtimeRef"]["name"] == first["metadata"]["name"]
    assert a_program()[1] == a_program(env=[{"name": "RATE", "value": "2"}])[1], "what a trial is told is its own"


@pytest.mark.parametrize(
    "spec",
    [
        {"pod": {"image": "mine:2"}}, {"pod": {"nodeSelector": {"gpu": "yes"}}}, {"pod": {"labels": {"a": "b"}}},
        {"pod": {"env": [{"name": "A", "value": "1"}]}}, {"workers": 2}, {"deadlineSeconds": 7},
    ],
)  # fmt: skip
def test_another_pod_is_another_runtime(spec: dict[str, Any]) -> None:
    assert made(**spec)[1]["metadata"]["name"] != made()[1]["metadata"]["name"]


def test_another_memory_limit_is_another_runtime_and_the_same_is_the_same() -> None:
    work = a_workload(name="scale", kind="ScaleTest", cell={"memoryLimit": "1Gi"})
    key = Key("ScaleTest", "n", "scale")
    names = [
        train_job(work, key, UID, trial, 1, "i", limit)[1]["metadata"]["name"]
        for trial, limit in ((work.trials[0], "1Gi"), (work.trials[1], "1Gi"), (work.trials[0], "2Gi"))
    ]
    assert names[0] == names[1] != names[2]


def test_a_namesake_that_was_applied_anew_has_a_runtime_of_its_own() -> None:
    work = a_workload()
    others = train_job(work, KEY, "0b1c2d3e-0000-4000-8000-000000000001", work.trials[0], 1, "trainer:1")[1]
    assert others["metadata"]["name"] != made()[1]["metadata"]["name"]


@pytest.mark.parametrize("kind", ["HyperparamSearch", "ScaleTest"])
def test_the_longest_names_fit(kind: str) -> None:
    name = "a" * 33
    axes = {"axes": {"multipliers": [1], "workers": [64]}} if kind == "ScaleTest" else {"workers": 64}
    work = a_workload(name=name, kind=kind, **axes)
    for trial in (*work.trials[:1], *work.floors, *([work.baseline] if work.baseline else [])):
        job, runtime = train_job(work, Key(kind, "n", name), UID, trial, 99, "i")
        pod = f"{job['metadata']['name']}-node-0-63-abcde"
        assert len(pod) <= 63
        for each in (job["metadata"]["name"], f"{job['metadata']['name']}-node-0", runtime["metadata"]["name"], pod):
            assert LABEL.fullmatch(each)


def test_a_queue_s_jobs_are_born_suspended_with_its_label() -> None:
    job, runtime = made(queue="team-queue")
    assert (job["spec"]["suspend"], job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]) == (True, "team-queue")
    assert "suspend" not in made()[0]["spec"]
    assert runtime == made()[1], "it has nothing to do with a queue"
    assert "kueue.x-k8s.io/queue-name" not in pod_document(a_workload().trials[0])["metadata"]["labels"]
    patched = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    assert "kueue.x-k8s.io/queue-name" not in patched["template"]["spec"]["template"]["metadata"]["labels"]


def test_pods_pass_pod_security_restricted() -> None:
    pod, container = template_spec(made()[1]), container_of(made()[1])
    assert (pod["automountServiceAccountToken"], pod["securityContext"]["runAsNonRoot"]) == (False, True)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
