"""Users' programs in real pods, without code, by code and in an image of their own: as one machine has them."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cluster.api import Json
from cluster.kinds import TRAIN_JOBS, over_both, rank_of
from cluster.operatorprocess import Experiments
from cluster.testcluster import Cluster
from eventually import eventually
from node import images, place, pods
from node.conftest import restricted_namespace
from node.place import ROOT
from trainer.experiment.code import digest
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import CODE, Record, decode

PROGRAMS = ROOT / "examples" / "programs"
NAMES = ("shell", "ddp", "text")
IMAGE = "trialrun-tests/text:1"
# An image of somebody else's, in which nothing of Trialrun is but the client.
DOCKERFILE = """
FROM localhost/trialrun/pytorch:testing
RUN ln -s python3 /usr/bin/python
COPY trialrun.py examples/programs/text.py /srv/
WORKDIR /srv
"""
# Runs the files as on anyone's machine, and prints the ledgers.
LOCALLY = """
for name in shell ddp text; do
  python -m trainer run "/given/$name.yaml" --out "/tmp/$name" >&2 || exit 1
  cat "/tmp/$name/results.jsonl"
done
"""

# torchrun itself, but that the torch of Debian, which is in these images, lacks the library that it asks for.
TORCHRUN = """
import functools
from torch.distributed.elastic.rendezvous import static_tcp_rendezvous
from torch.distributed.run import main

static_tcp_rendezvous.TCPStore = functools.partial(static_tcp_rendezvous.TCPStore, use_libuv=False)
main()
"""
# What each of its processes does.
IN_TORCHRUN = """
import os
import trialrun

trial = trialrun.trial()
os.write(1, f"process {os.environ['LOCAL_RANK']} of pod {os.environ['GROUP_RANK']}\\n".encode())
trial.report(1, processes=int(os.environ["WORLD_SIZE"]))
"""
# How a program ends, by its parameter.
FAILS = """
import ctypes, time
import trialrun

trial = trialrun.trial()
how = trial.parameters["how"]
trial.report(1, loss=0.5)
if how == "exception":
    raise ValueError("no such row: 17")
if how == "memory":
    held = [bytearray(b"x" * 2**20) for _ in range(1024)]
if how == "signal":
    ctypes.string_at(0)
if how == "deadline":
    time.sleep(600)
if how == "data":
    raise SystemExit(65)
if how == "nan":
    trial.report(2, loss=float("nan"))
"""


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PROGRAMS / f"{name}.yaml").read_text())
    return document


def give_ddp(experiments: Experiments) -> None:
    """The code of that example, as a ConfigMap."""
    code = ["create", "configmap", "ddp", "-n", experiments.namespace, f"--from-file={PROGRAMS / 'ddp.py'}"]
    experiments.cluster.kubectl(*code)


@pytest.fixture(scope="module")
def own_image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:  # noqa: ARG001 - it has the base
    where = place.default()
    file = tmp_path_factory.mktemp("image") / "Dockerfile"
    file.write_text(DOCKERFILE)
    command = ["buildah", "--root", str(where.image_store), "bud", "--quiet", "--layers", "--isolation", "chroot"]
    command += ["--timestamp", "0", "--ignorefile", "/dev/null", "--file", str(file), str(ROOT)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout.split()[-1]
    images.bring(where, {f"docker.io/{IMAGE}": made})
    return IMAGE


@pytest.fixture(scope="module")
def applied(cluster: Cluster, own_image: str) -> Iterator[Experiments]:
    """The namespace in which the three examples were applied and have finished."""
    with restricted_namespace(cluster) as experiments:
        give_ddp(experiments)
        shell, ddp, text = map(example, NAMES)
        ddp["spec"]["program"]["code"] = "configmap/ddp"
        text["spec"] |= {"pod": {"image": own_image}, "baseline": "Measure"}
        for document in (shell, ddp, text):
            experiments.create(document)
        for name in NAMES:
            experiments.finished(name)
        yield experiments


@pytest.fixture(scope="module")
def on_one_machine(applied: Experiments) -> dict[str, Record]:
    """The same files, one trial after another, in a pod of the trainer's image."""
    files = {file.name: file.read_text() for name in NAMES for file in PROGRAMS.glob(f"{name}.*")}
    said = pods.run(applied, ["sh", "-c", LOCALLY], files)
    records = [decode(line) for line in said.splitlines() if line.startswith('{"')]
    return {record.id: record for record in records}


@pytest.mark.usefixtures("our_node")
@pytest.mark.parametrize("name", NAMES)
def test_ids_outcomes_and_metrics_are_those_of_one_machine(
    name: str, applied: Experiments, on_one_machine: dict[str, Record]
) -> None:
    found = pods.records(applied, name)
    status = applied.get(name)["status"]
    assert [record.outcome for record in found] == [Outcome.SUCCEEDED] * len(found), [each.error for each in found]
    assert status["done"] == f"{len(found)}/{len(found)}"
    for record in found:
        local = on_one_machine[record.id]
        assert local.outcome is record.outcome
        assert record.metrics == pytest.approx(local.metrics, rel=1e-6)
        assert (record.index, record.parameters, record.workers) == (local.index, local.parameters, local.workers)


@pytest.mark.usefixtures("our_node")
def test_each_tells_what_it_ran_and_what_it_took(applied: Experiments) -> None:
    code = digest({"ddp.py": (PROGRAMS / "ddp.py").read_bytes()})
    by_code, by_image = pods.records(applied, "ddp"), pods.records(applied, "text")
    assert {record.evidence[CODE] for record in by_code} == {code}
    assert applied.get("ddp")["status"]["code"] == code
    assert not any(CODE in record.evidence for record in by_image)
    for record in (*by_code, *by_image):
        assert "torch" in record.environment.packages
        assert record.environment.image
        for memory in record.memory:
            assert memory is not None
            assert memory.peak_bytes > 100 * 2**20


@pytest.mark.usefixtures("our_node", "trainer")
def test_as_train_jobs_ranks_meet_too_by_hand_and_under_torchrun(applied: Experiments, cluster: Cluster) -> None:
    ddp, torchrun = example("ddp"), example("ddp")
    ddp["spec"]["parameters"] = [{"name": "lr", "choices": [0.03]}, {"name": "width", "choices": [32]}]
    ddp["spec"]["program"]["code"] = "configmap/ddp"
    torchrun["metadata"]["name"] = "torchrun"
    torchrun["spec"] |= {
        "objective": {"metric": "processes", "direction": "Maximize"},
        "parameters": [{"name": "x", "choices": [1]}],
        "program": {
            "command": ["python", "-c", TORCHRUN, "--no-python", "python", "-c", IN_TORCHRUN],
            "processesPerWorker": 2,
        },
    }
    with restricted_namespace(cluster, TRAIN_JOBS) as experiments:
        give_ddp(experiments)
        for search in (ddp, torchrun):
            experiments.create(search)
        for search in (ddp, torchrun):
            experiments.finished(search["metadata"]["name"])
        (of_ddp,), (of_torchrun,) = pods.records(experiments, "ddp"), pods.records(experiments, "torchrun")
        assert of_ddp.outcome is Outcome.SUCCEEDED, of_ddp.error
        as_pytorch_job = {record.id: record for record in pods.records(applied, "ddp")}[of_ddp.id]
        assert of_ddp.metrics == as_pytorch_job.metrics
        assert of_torchrun.outcome is Outcome.SUCCEEDED, of_torchrun.error
        assert of_torchrun.metrics == {"processes": 4}
        started = {}
        for pod in experiments.pods():
            if pod["metadata"]["labels"]["trialrun.dev/trial"] == of_torchrun.id:
                said = cluster.kubectl("logs", "-n", experiments.namespace, pod["metadata"]["name"])
                started[rank_of(pod)] = sorted(line for line in said.splitlines() if line.startswith("process "))
        assert started == {rank: [f"process {local} of pod {rank}" for local in (0, 1)] for rank in (0, 1)}


@pytest.mark.usefixtures("our_node")
def test_a_baseline_is_measured_in_the_program_s_own_image(applied: Experiments) -> None:
    def verdict() -> Json:
        found = applied.condition("text", "Comparable")
        return found if found["status"] != "Unknown" else {}

    compared = eventually(verdict, every_seconds=0.5, what="the baseline is measured")
    assert compared["reason"] == "SameConditions", compared["message"]
    comparison = applied.get("text")["status"]["summary"]["comparison"]
    assert (comparison["sameBest"], comparison["differences"]) == (True, [])
    assert comparison["speedup"] > 0


@over_both
@pytest.mark.usefixtures("our_node")
def test_however_a_program_fails_its_record_says_how(experiments: Experiments) -> None:
    configmap = {"metadata": {"name": "fails"}, "data": {"fails.py": FAILS}}
    experiments.api.create(f"/api/v1/namespaces/{experiments.namespace}/configmaps", configmap)
    ways = ["exception", "memory", "signal", "deadline", "data", "nan", "none"]
    experiments.create({
        "apiVersion": "trialrun.dev/v1alpha1", "kind": "HyperparamSearch", "metadata": {"name": "fails"},
        "spec": {
            "objective": {"metric": "loss", "direction": "Minimize"}, "maxFailedTrials": 10, "deadlineSeconds": 15,
            "parameters": [{"name": "how", "choices": ways}],
            "program": {"command": ["python", "fails.py"], "code": "configmap/fails"},
            "pod": {"resources": {"limits": {"memory": "128Mi"}}},
        },
    })  # fmt: skip
    experiments.create({
        "apiVersion": "trialrun.dev/v1alpha1", "kind": "HyperparamSearch", "metadata": {"name": "absent"},
        "spec": {
            "objective": {"metric": "loss", "direction": "Minimize"},
            "parameters": [{"name": "lr", "choices": [1]}], "program": {"command": ["no-such-program"]},
        },
    })  # fmt: skip
    experiments.finished("fails")
    found = {record.parameters["how"]: record for record in pods.records(experiments, "fails")}
    assert {way: record.outcome for way, record in found.items()} == {
        "exception": Outcome.CRASHED, "memory": Outcome.HOST_OOM, "signal": Outcome.CRASHED,
        "deadline": Outcome.TIMED_OUT, "data": Outcome.DATA_UNAVAILABLE, "nan": Outcome.DIVERGED,
        "none": Outcome.SUCCEEDED,
    }  # fmt: skip
    assert found["exception"].error == "ended with exit code 1; it said: ValueError: no such row: 17"
    assert (found["exception"].exit_code, found["data"].exit_code) == (1, 65)
    assert found["memory"].error.startswith("killed for want of memory: OOMKilled")
    assert found["signal"].error.startswith("killed by signal 11 (exit code 139)")
    assert found["none"].metrics == {"loss": 0.5}

    experiments.finished("absent")
    (absent,) = pods.records(experiments, "absent")
    assert absent.outcome is Outcome.INVALID_CONFIG
    assert "no-such-program" in absent.error
