"""Users' programs on a real control plane: what their pods are given, what is read of them, and their code."""

import json
from typing import Any

import pytest

from cluster.api import ApiError, Json
from cluster.behaviours import (
    Behaviour,
    Fails,
    IsEvicted,
    LosesItsNode,
    OutlivesItsDeadline,
    RunsOutOfMemory,
    Succeeds,
)
from cluster.kinds import TRAIN_JOBS, over_both, rank_of
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, trial_of
from cluster.testcluster import Cluster
from eventually import eventually
from trainer.experiment.code import digest
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record, decode

pytestmark = pytest.mark.usefixtures("crds")
MIB = 2**20
FILES = {"train.py": "import trialrun\n", "pkg..model.py": "WIDTH = 8\n"}


def a_program_search(name: str = "search", *, program: Json | None = None, **spec: Any) -> Json:
    whole: Json = {
        "objective": {"metric": "loss", "direction": "Minimize"},
        "parameters": [{"name": "lr", "choices": [0.1, 0.2, 0.3]}],
        "program": {"command": ["python", "train.py", "--lr", "${parameters.lr}", "$HOME"]} | (program or {}),
    }
    return {
        "apiVersion": "trialrun.dev/v1alpha1", "kind": "HyperparamSearch", "metadata": {"name": name},
        "spec": whole | spec,
    }  # fmt: skip


def line(pod: Json, **report: Any) -> str:
    """A report as the client or a shell appends it."""
    told = {"step": 3, "metrics": {"loss": trial_of(pod)["parameters"].get("lr", 0.5)}}
    return json.dumps(told | report) + "\n"


def reports(pod: Json) -> Behaviour:
    return Succeeds(line(pod))


def container_of(pod: Json) -> Json:
    (found,) = pod["spec"]["containers"]
    return found  # type: ignore[no-any-return]


def by_index(experiments: Experiments, name: str = "search") -> dict[int, Record]:
    ledgers = experiments.ledgers(**{"trialrun.dev/experiment": name})
    found = [decode(text) for ledger in ledgers for text in ledger.get("data", {}).values()]
    return {record.index: record for record in sorted(found, key=lambda each: each.attempt)}


def made(experiments: Experiments, name: str, data: Json) -> None:
    where = f"/api/v1/namespaces/{experiments.namespace}/configmaps"
    experiments.api.create(where, {"metadata": {"name": name}, "data": data})


def config_map(experiments: Experiments, name: str) -> str:
    return f"/api/v1/namespaces/{experiments.namespace}/configmaps/{name}"


def copies(experiments: Experiments) -> dict[str, Json]:
    """The copies of code by name."""
    found = experiments.api.list(f"/api/v1/namespaces/{experiments.namespace}/configmaps")
    return {each["metadata"]["name"]: each for each in found if "-code-" in each["metadata"]["name"]}


@over_both
@pytest.mark.usefixtures("operator")
def test_a_command_runs_in_its_image_and_the_last_line_that_it_appends_counts(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    def script(pod: Json) -> Behaviour:
        return Succeeds(line(pod, step=1, metrics={"loss": 9.0}) + line(pod, naive={"loss": 0.25}))

    kubelet.play(experiments.namespace, script)
    experiments.create(a_program_search(pod={"image": "mine:1", "workingDir": "/srv", "env": [
        {"name": "A", "value": "$(HOME)"}, {"name": "HOME", "value": "/home/me"},
    ]}))  # fmt: skip
    status = experiments.finished("search")["status"]
    assert (status["phase"], status["best"], status["done"]) == ("Succeeded", "0.1", "3/3")
    records = by_index(experiments)
    assert [records[number].metrics["loss"] for number in range(3)] == [0.1, 0.2, 0.3]
    assert records[0].evidence["step"] == 3
    assert "naive" in " ".join(status["summary"]["caveats"])
    for pod in experiments.pods():
        container = container_of(pod)
        assert container["image"] == "mine:1"
        assert container["command"][:3] == ["python", "train.py", "--lr"]
        assert container["command"][4] == "$$HOME", "a kubelet makes $ of $$"
        assert container["workingDir"] == "/srv"
        assert "args" not in container
        variables = {each["name"]: each.get("value") for each in container["env"]}
        assert (variables["A"], variables["HOME"]) == ("$$(HOME)", "/home/me")
        assert variables["TRIALRUN_REPORTS"] == "/dev/termination-log"
        told = trial_of(pod)
        assert told["reports"] == "/dev/termination-log"
        assert told["pod"] is True
        # A TrainJob's pods are told their rank by a label of theirs.
        rank = None if experiments.backend is TRAIN_JOBS else "0"
        assert (variables["PET_NPROC_PER_NODE"], variables["RANK"], variables["WORLD_SIZE"]) == ("1", rank, "1")


@pytest.mark.usefixtures("operator")
def test_trials_run_the_code_that_was_there_when_they_were_taken_up(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, reports)
    made(experiments, "my-code", FILES)
    experiments.create(a_program_search(program={"code": "configmap/my-code"}, parallelTrials=1))
    eventually(lambda: experiments.pods(), what="the first trial runs")
    experiments.api.patch(config_map(experiments, "my-code"), {"data": {"train.py": "raise SystemExit(1)\n"}})
    status = experiments.finished("search")["status"]

    hashed = digest({"train.py": FILES["train.py"].encode(), "pkg/model.py": FILES["pkg..model.py"].encode()})
    assert status["code"] == hashed
    ((name, copy),) = copies(experiments).items()
    assert (copy["data"], copy["immutable"], name.endswith(hashed)) == (FILES, True, True)
    assert {record.evidence["code"] for record in by_index(experiments).values()} == {hashed}
    for pod in experiments.pods():
        volume = next(each for each in pod["spec"]["volumes"] if each["name"] == "code")
        assert volume["configMap"]["name"] == name
        assert {"key": "pkg..model.py", "path": "pkg/model.py"} in volume["configMap"]["items"]
        container = container_of(pod)
        assert container["workingDir"] == "/code"
        mount = next(each for each in container["volumeMounts"] if each["name"] == "code")
        assert (mount["mountPath"], mount["readOnly"]) == ("/code", True)

    # What has succeeded rests on that code, so whatever is run again runs it too.
    experiments.change("search", rerun=1)
    eventually(lambda: experiments.get("search")["status"].get("rerun") == 1)
    assert experiments.finished("search")["status"]["code"] == hashed
    assert len(copies(experiments)) == 1


@pytest.mark.usefixtures("operator")
def test_code_that_is_not_there_is_waited_for_and_mended_code_is_taken_by_a_rerun(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    def script(pod: Json) -> Behaviour:
        works = experiments.get("search")["status"]["code"] == good
        return reports(pod) if works else Fails(1, "Traceback (most recent call last):\nNameError: lr\n")

    good, bad = digest({"train.py": b"good"}), digest({"train.py": b"bad"})
    kubelet.play(experiments.namespace, script)
    experiments.create(a_program_search(program={"code": "configmap/late"}))
    eventually(
        lambda: experiments.condition("search", "Progressing").get("reason") == "CodeUnavailable",
        what="it says that there is no code",
    )
    message = experiments.condition("search", "Progressing")["message"]
    assert "There is no ConfigMap late in this namespace" in message
    assert not experiments.jobs()
    made(experiments, "late", {"train.py": "bad"})
    failed = experiments.finished("search")["status"]
    assert (failed["phase"], failed["code"]) == ("Failed", bad)
    assert by_index(experiments)[0].error == "ended with exit code 1; it said: NameError: lr"

    experiments.api.patch(config_map(experiments, "late"), {"data": {"train.py": "good"}})
    experiments.change("search", rerun=1)
    eventually(lambda: experiments.get("search")["status"].get("rerun") == 1)
    mended = experiments.finished("search")["status"]
    assert (mended["phase"], mended["code"], mended["done"]) == ("Succeeded", good, "3/3")


def test_a_copy_that_somebody_deletes_stops_the_search_until_a_rerun_makes_it_again(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, reports)
    made(experiments, "my-code", FILES)
    experiments.create(a_program_search(program={"code": "configmap/my-code"}, suspend=False, parallelTrials=1))
    eventually(lambda: copies(experiments), what="the code is copied")
    experiments.change("search", suspend=True)
    eventually(lambda: not experiments.get("search")["status"]["running"])
    operator.kill()  # the next one has to look for it
    (name,) = copies(experiments)
    experiments.api.delete(config_map(experiments, name))
    operator.wait_until_ready()
    experiments.change("search", suspend=False)
    eventually(
        lambda: experiments.condition("search", "Progressing").get("reason") == "CodeUnavailable",
        what="it says that its code is gone",
    )
    assert name in experiments.condition("search", "Progressing")["message"]
    experiments.change("search", rerun=1)
    assert experiments.finished("search")["status"]["done"] == "3/3"
    assert list(copies(experiments)) == [name]


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("code", ["./src", "configmap/", "configmap/ns/name", "secret/mine", "configmap/Mine"])
def test_a_folder_or_another_namespace_s_code_is_refused_at_once(experiments: Experiments, code: str) -> None:
    with pytest.raises(ApiError) as refused:
        experiments.create(a_program_search(program={"code": code}))
    assert refused.value.code == 422
    assert "must be configmap/NAME, of the same namespace" in str(refused.value)


ENDS: dict[str, tuple[Any, Outcome, str]] = {
    "memory": (lambda pod: RunsOutOfMemory(message=line(pod)), Outcome.HOST_OOM, "OOMKilled, exit code 137"),
    "signal": (lambda pod: Fails(139, line(pod)), Outcome.CRASHED, "killed by signal 11 (exit code 139)"),
    "deadline": (lambda pod: OutlivesItsDeadline(left=line(pod)), Outcome.TIMED_OUT, "DeadlineExceeded"),
    "data": (lambda pod: Fails(65, line(pod)), Outcome.DATA_UNAVAILABLE, "ended with exit code 65"),
    "log": (lambda _: Fails(3, "a\nboom\n"), Outcome.CRASHED, "it said: a boom"),
    "error": (lambda pod: Fails(1, line(pod, error="ValueError: x")), Outcome.CRASHED, "it said: ValueError: x"),
    "silent": (lambda _: Succeeds(), Outcome.METRICS_MISSING, "no line in the file"),
    "other": (lambda pod: Succeeds(line(pod, metrics={"acc": 1})), Outcome.METRICS_MISSING, "loss was not reported"),
    "nan": (lambda pod: Succeeds(line(pod, metrics={"loss": None}).replace("null", "NaN")), Outcome.DIVERGED, "nan"),
    "torn": (lambda pod: Fails(137, line(pod) + '{"step": 4, "met'), Outcome.CRASHED, "killed by signal 9"),
    "words": (lambda _: Succeeds("loss=0.5\n"), Outcome.INVALID_CONFIG, "must be a JSON object on one line"),
    "long": (lambda pod: Succeeds(line(pod, read=["x" * 5000])[-4096:]), Outcome.INVALID_CONFIG, "at most 4096"),
    "two": (lambda pod: Succeeds(line(pod, process=1) + line(pod, process=2)), Outcome.INVALID_CONFIG, "1 and 2"),
    "start": (lambda _: Fails(128, 'exec: "x": executable file not found in $PATH'), Outcome.CRASHED, "128"),
}  # fmt: skip


@pytest.mark.usefixtures("operator")
def test_each_end_of_a_program_has_its_outcome_and_says_why(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    kubelet.play(experiments.namespace, lambda pod: ENDS[trial_of(pod)["parameters"]["how"]][0](pod))
    experiments.create(a_program_search(
        parameters=[{"name": "how", "choices": list(ENDS)}], program={"command": ["run"]}, maxFailedTrials=100,
        parallelTrials=20,
    ))  # fmt: skip
    experiments.finished("search")
    records = by_index(experiments)
    assert len(records) == len(ENDS)
    for number, (how, (_, outcome, words)) in enumerate(ENDS.items()):
        record = records[number]
        assert (how, record.outcome) == (how, outcome), record.error
        assert words in record.error, (how, record.error)
        assert record.metrics == {} or record.outcome in (Outcome.METRICS_MISSING, Outcome.DIVERGED)


@over_both
@pytest.mark.usefixtures("operator")
def test_of_two_ranks_the_one_that_failed_is_named_and_lost_ones_are_run_again(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    def script(pod: Json) -> Behaviour:
        told = trial_of(pod)
        how = told["parameters"]["how"]
        if told["attempt"] > 1 or how == "well" or (rank_of(pod) == 0 and how != "evicted"):
            return Succeeds(line(pod) if rank_of(pod) == 0 else json.dumps({"memory": MEMORY}), after_seconds=1.0)
        return {"crash": Fails(1, "ValueError: rank 1\n"), "evicted": IsEvicted(), "lost": LosesItsNode()}[how]

    kubelet.play(experiments.namespace, script)
    experiments.create(a_program_search(
        workers=2, parameters=[{"name": "how", "choices": ["well", "crash", "evicted", "lost"]}],
        program={"command": ["run"], "processesPerWorker": 2}, pod={"resources": {"limits": {"cpu": "4"}}},
    ))  # fmt: skip
    experiments.finished("search")
    records = by_index(experiments)
    assert [records[number].outcome for number in range(4)] == [
        Outcome.SUCCEEDED, Outcome.CRASHED, Outcome.SUCCEEDED, Outcome.SUCCEEDED,
    ]  # fmt: skip
    assert (records[1].failed_rank, records[1].exit_code) == (1, 1)
    assert "rank 1: ended with exit code 1; it said: ValueError: rank 1" in records[1].error
    assert [records[number].attempt for number in (2, 3)] == [2, 2]
    assert [memory is not None for memory in records[0].memory] == [False, True]
    variables = {each["name"]: each.get("value") for each in container_of(experiments.pods()[0])["env"]}
    assert (variables["PET_NPROC_PER_NODE"], variables["OMP_NUM_THREADS"]) == ("2", "2")
    assert "LOCAL_RANK" not in variables


MEMORY = {"peakBytes": 200 * MIB, "meanBytes": 150 * MIB}


@pytest.mark.usefixtures("operator")
def test_a_scale_test_of_a_program_finds_where_memory_runs_out(
    experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    def script(pod: Json) -> Behaviour:
        size = trial_of(pod)["parameters"]["multiplier"]
        memory = MEMORY | {"floorBytes": 100 * MIB, "peakBytes": 100 * MIB + size * MIB}
        limit = container_of(pod).get("resources", {}).get("limits", {}).get("memory")
        if limit is not None and memory["peakBytes"] > int(limit):
            return RunsOutOfMemory(message=line(pod, memory=memory | {"peakBytes": int(limit)}))
        return Succeeds(line(pod, memory=memory))

    kubelet.play(experiments.namespace, script)
    experiments.create({
        "apiVersion": "trialrun.dev/v1alpha1", "kind": "ScaleTest", "metadata": {"name": "scale"},
        "spec": {
            "axes": {"multipliers": [1, 10, 50, 100]}, "cell": {"memoryAboveFloor": "20Mi"},
            "program": {"command": ["run", "${parameters.multiplier}"]},
        },
    })  # fmt: skip
    status = experiments.finished("scale", "scaletests")["status"]
    assert (status["largest"], status["oom"]) == ("10x", 1)
    records = by_index(experiments, "scale")
    assert [records[number].outcome for number in range(4)] == [
        Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.HOST_OOM, Outcome.SKIPPED,
    ]  # fmt: skip
    assert records[3].error == "50x with 1 worker ended as HostOOM"
    memory = records[1].memory[0]
    assert memory is not None
    assert (memory.peak_bytes, memory.floor_bytes) == (110 * MIB, 100 * MIB)
    assert memory.limit is not None
    assert memory.limit.bytes == 120 * MIB


@pytest.mark.usefixtures("operator")
def test_what_the_first_trial_read_is_what_later_ones_must_read(
    cluster: Cluster, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    del cluster
    told: dict[int, Json] = {}

    def script(pod: Json) -> Behaviour:
        order = trial_of(pod)
        told[order["index"]] = order
        return Succeeds(line(pod, inputs="0123456789ab"), after_seconds=1.5)

    kubelet.play(experiments.namespace, script)
    experiments.create(a_program_search(program={"inputs": ["data.csv"]}, parallelTrials=1))
    experiments.finished("search")
    assert [told[number]["inputs"] for number in range(3)] == [["data.csv"]] * 3
    # The second may start while the record of the first is written.
    assert told[2]["known"] == {"inputs": "0123456789ab"}
    assert {record.evidence["inputs"] for record in by_index(experiments).values()} == {"0123456789ab"}
