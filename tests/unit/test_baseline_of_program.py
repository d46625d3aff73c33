"""The baseline of a program's search on a cluster: what its pod is given, and what is made of how that ends."""

import gzip
import json
from typing import Any

import pytest

from cluster import podstatus
from jobs import pytorch_job
from trainer.experiment.baseline import figures, rests_on
from trainer.experiment.code import MOST_BYTES, files
from trainer.experiment.expand import expand
from trainer.experiment.load import load
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import (
    CODE,
    INPUTS,
    Environment,
    RankReport,
    RunFigures,
    Seconds,
    encode_report,
    hash_number,
)
from trainer.scheduling.workload import Workload
from trialrun_operator import conditions as c
from trialrun_operator.manifests import config_map
from trialrun_operator.names import CONFIG_MAPS, UID_LABEL
from trialrun_operator.orders import HOME, Code, Known, baseline_bytes
from trialrun_operator.workload import workload
from unit.builders import a_document
from unit.fakekube import Document, Fault, Killed
from unit.lookout import EITHER, NAMESPACE, Lookout, Stage
from unit.objects import KEY, UID, observed, pod_document

PROGRAM = {"command": ["python", "train.py", "--lr", "${parameters.lr}"]}
RATES = [{"name": "lr", "choices": [0.1, 0.2, 0.3]}]


def a_search(program: dict[str, Any] = PROGRAM, **spec: Any) -> Document:
    whole = {
        "objective": {"metric": "loss", "direction": "Minimize"}, "parameters": RATES, "program": program,
        "baseline": "Measure",
    }  # fmt: skip
    return a_document(**{"name": "search", **whole, **spec})


def job_of(work: Workload, attempt: int = 1, known: Known | None = None) -> Document:
    assert work.baseline is not None
    return pytorch_job(work, KEY, UID, work.baseline, attempt, "trainer:1", known=known)


def pod_of(work: Workload, attempt: int = 1) -> Document:
    spec: Document = job_of(work, attempt)["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    return spec


def files_of(work: Workload, attempt: int = 1, known: Known | None = None) -> Document:
    assert work.baseline is not None
    found = config_map(work, KEY, UID, work.baseline, attempt, known)
    assert found is not None
    return found


def test_its_pod_is_a_trials_with_a_script_in_place_of_the_program() -> None:
    work = workload(a_search(pod={"resources": {"limits": {"cpu": "3"}}, "workingDir": "/srv"}))
    ours, trials = pod_of(work), pytorch_job(work, KEY, UID, work.trials[0], 1, "trainer:1")
    alone = trials["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    container, theirs = ours["containers"][0], alone["containers"][0]
    assert container["command"] == [
        "python", "-IS", "/trialrun/in_turns.py", "/trialrun/trials.json.gz", "/dev/termination-log"
    ]  # fmt: skip
    assert {each["name"]: each["value"] for each in container["env"]} == {"OMP_NUM_THREADS": "3", "HOME": HOME}
    same = container.keys() - {"command", "env", "volumeMounts"}
    assert same == theirs.keys() - {"command", "env", "volumeMounts"}
    assert {name: container[name] for name in same} == {name: theirs[name] for name in same}
    assert ours["activeDeadlineSeconds"] == 3 * alone["activeDeadlineSeconds"]
    assert {"name": "files", "mountPath": "/trialrun", "readOnly": True} in container["volumeMounts"]
    assert {"name": "files", "configMap": {"name": files_of(work)["metadata"]["name"]}} in ours["volumes"]


@pytest.mark.parametrize(
    ("first", "python"),
    [
        ("python", "python"), ("python3.12", "python3.12"), ("/opt/conda/bin/python", "/opt/conda/bin/python"),
        ("venv/bin/python3", "venv/bin/python3"), ("torchrun", "python3"), ("sh", "python3"),
        ("${settings.where}/python", "python3"), ("pythonic", "python3"),
    ],
)  # fmt: skip
def test_the_programs_own_python_runs_the_script_where_it_has_one(first: str, python: str) -> None:
    program = {"command": [first, "train.py"], "settings": {"where": "/opt"}}
    assert pod_of(workload(a_search(program)))["containers"][0]["command"][0] == python


def test_what_it_is_told_stands_in_a_config_map_that_belongs_to_the_search_and_never_changes() -> None:
    work = workload(a_search())
    found = files_of(work)
    assert found["metadata"]["ownerReferences"][0]["uid"] == UID
    assert found["immutable"] is True
    assert UID_LABEL not in found["metadata"]["labels"], "whoever lists a ledger has no use for it"
    assert found["metadata"]["name"].startswith(f"hps-{KEY.name}-{UID[:8]}-baseline-run-")
    assert found == files_of(work), "another operator makes the same"
    told = json.loads(gzip.decompress(files(found)["trials.json.gz"]))
    assert [each["id"] for each in told["trials"]] == [trial.id for trial in work.trials]
    others = [files_of(work, 2), files_of(work, known=Known(inputs="0123456789ab"))]
    others.append(files_of(workload(a_search(repeats=2))))
    assert len({each["metadata"]["name"] for each in (found, *others)}) == 4


def test_nothing_else_is_told_in_files() -> None:
    work, ours = workload(a_search()), workload(a_document(baseline="Measure"))
    assert ours.baseline is not None
    assert config_map(work, KEY, UID, work.trials[0], 1) is None
    assert config_map(ours, KEY, UID, ours.baseline, 1) is None
    assert job_of(work, known=Known(code=Code("code", "c0de00000000", ("a",))))["metadata"]["labels"][
        "trialrun.dev/program"
    ] == "c0de00000000"  # fmt: skip


@pytest.mark.slow
def test_ten_thousand_trials_fit_and_what_does_not_is_not_measured() -> None:
    wide = [{"name": f"p{number}", "range": {"min": 0, "max": 1}} for number in range(5)]
    command = ["sh", "-c", "x" * 8000, "${parameters.p1}"]
    work = workload(a_search({"command": command}, parameters=wide, algorithm="Random", trials=10_000))
    assert work.baseline is not None
    assert baseline_bytes(work) < MOST_BYTES
    wider = [{"name": f"p{number}", "range": {"min": 0, "max": 1}} for number in range(20)]
    work = workload(a_search({"command": ["train"]}, parameters=wider, algorithm="Random", trials=10_000))
    assert work.baseline is None
    assert baseline_bytes(work) > MOST_BYTES


# --- how it ends ----------------------------------------------------------------------------------------------------


def figures_of(document: Document, **changed: Any) -> RunFigures:
    """What a pod tells that has run all trials of a search."""
    trials = expand(load(document))
    whole: Any = {
        "wall": 30.0, "trials": len(trials), "digest": "", "seeds": (0, 0), "workers": 1, "most_at_once": 1,
        "outcomes": {"Succeeded": len(trials)}, "seconds": Seconds(train=30.0, total=30.0),
        "environments": (Environment(cpu="A CPU"),), "best_id": trials[0].id, "best_value": 0.1,
    }  # fmt: skip
    return RunFigures(**(whole | changed))


def ended(document: Document, *, exit_code: int = 0, reason: str = "Completed", **report: Any) -> Any:
    """The exit of a baseline's pod with two CPUs and a GiB, whose container ended so."""
    work = workload(document)
    assert work.baseline is not None
    told = RankReport(**({"run": figures_of(document)} | report))
    terminated = {"exitCode": exit_code, "reason": reason, "message": encode_report(told).decode()}
    status = {"containerStatuses": [{"name": "pytorch", "state": {"terminated": terminated}}]}
    pod = pod_document(work.baseline, work=work, phase="Failed" if exit_code else "Succeeded", **status)
    return observed(pod).exit


LIMITED = a_search(pod={"resources": {"limits": {"cpu": "2", "memory": "1Gi"}}})


def test_its_report_is_read_as_a_baselines_and_has_the_limits_of_its_pod() -> None:
    exit_ = ended(LIMITED)
    assert (exit_.platform, exit_.report.provisional) == (None, False)
    assert exit_.report.run.trials == 3
    assert exit_.report.run.environments == (Environment(cpu="A CPU", cpus=2.0, memory_limit_bytes=2**30),)


def test_a_trial_that_ran_out_of_memory_is_no_end_of_the_whole() -> None:
    """A container keeps the reason OOMKilled, whichever of its processes was killed."""
    assert ended(LIMITED, reason="OOMKilled").platform is None
    killed = ended(LIMITED, exit_code=137, reason="OOMKilled", provisional=True)
    assert killed.platform is Outcome.HOST_OOM


# --- on a cluster in memory -----------------------------------------------------------------------------------------


def applied(backend: str = "PyTorchJob", **spec: Any) -> Lookout:
    here = Lookout(backend=backend)
    here.apply(a_search(**spec))
    return here


def tells(**report: Any) -> Stage:
    """The program of a trial reports so, and ends well."""

    def stage(pod: Document, now: str) -> Document:
        variables = {each["name"]: each.get("value", "") for each in pod["spec"]["containers"][0]["env"]}
        loss = json.loads(variables["TRIALRUN_TRIAL"])["parameters"]["lr"]
        told = {"metrics": {"loss": loss}, "environment": {"cpu": "A CPU"}} | report
        return podstatus.ended(pod, now, exit_code=0, message=json.dumps(told) + "\n")

    return stage


def measures(here: Lookout, told: RankReport) -> Stage:
    """The baseline's pod has run what it was told; but for that its report is as given."""

    def stage(pod: Document, now: str) -> Document:
        (volume,) = (each for each in pod["spec"]["volumes"] if each["name"] == "files")
        there = here.api.ask("GET", CONFIG_MAPS.path(NAMESPACE, volume["configMap"]["name"]))
        ran = [each["id"] for each in json.loads(gzip.decompress(files(there)["trials.json.gz"]))["trials"]]
        assert ran == [trial.id for trial in here.trials()]
        return podstatus.ended(pod, now, exit_code=0, message=encode_report(told).decode())

    return stage


def message(here: Lookout, kind: str = "Comparable") -> str:
    return next(str(each["message"]) for each in here.status()["conditions"] if each["type"] == kind)


def compared(here: Lookout, **differs: Any) -> tuple[str, str]:
    """The condition of a search whose trials and baseline ran alike; what the latter tells `differs` in this."""
    here.play(lambda attempt: None if attempt == "baseline.1" else tells(inputs="0123456789ab"))
    assert here.condition("Comparable") == ("Unknown", c.BASELINE_RUNNING)
    document = load(here.api.ask("GET", here.key.path))
    own, rests = figures(document, here.trials(), here.ledger()), rests_on(document, here.trials(), here.ledger())
    assert own is not None
    told: Any = {
        "run": figures_of(a_search(), digest=own.digest),
        "metrics": {"inputsHash": hash_number(rests[INPUTS])},
    }
    here.play(lambda _: measures(here, RankReport(**(told | differs))))
    return here.condition("Comparable")


@EITHER
def test_a_search_and_its_baseline_that_ran_alike_are_compared(backend: str) -> None:
    here = applied(backend)
    assert compared(here) == ("True", c.SAME), message(here)
    assert here.status()["summary"]["comparison"]["sameBest"] is True
    assert here.status()["summary"]["comparison"]["baselineWall"] == 30


CRASHED = {"Crashed": 1, "Succeeded": 2}
ELSEWHERE = (Environment(cpu="B"),)


@pytest.mark.parametrize(
    ("differs", "says"),
    [
        ({"metrics": {"inputsHash": 1.0}}, "data: trials read something else"),
        (
            {"run": figures_of(a_search(), outcomes=CRASHED)},
            "outcomes: 3 Succeeded here, 1 Crashed, 2 Succeeded there",
        ),
        ({"run": figures_of(a_search(), environments=ELSEWHERE)}, "CPU: A CPU here, B there"),
    ],
)
def test_what_was_another_run_is_no_baseline_for_a_speedup(differs: dict[str, Any], says: str) -> None:
    here = applied()
    assert compared(here, **differs) == ("False", c.DIFFERENT)
    assert says in message(here)


def told_by(here: Lookout) -> list[Document]:
    return [each for each in here.of(CONFIG_MAPS) if "-baseline-run-" in each["metadata"]["name"]]


@EITHER
def test_an_operator_that_is_killed_before_the_job_makes_it_with_the_same_config_map(backend: str) -> None:
    here = applied(backend)
    here.kube.fails[f"create {here.backend.jobs.plural}"] = [None, None, None, Fault(Killed())]
    assert compared(here) == ("True", c.SAME)
    assert len(told_by(here)) == 1
    assert here.kube.writes.count("create configmaps") > 2


def test_a_config_map_of_the_same_name_that_holds_something_else_is_named_and_waited_for() -> None:
    here = applied()
    here.play(lambda attempt: None if attempt == "baseline.1" else tells())
    (made,) = told_by(here)
    again = applied()
    forged = {**made, "metadata": {"name": made["metadata"]["name"], "labels": {}}, "data": {"in_turns.py": "exit()"}}
    again.api.ask("POST", CONFIG_MAPS.path(NAMESPACE), forged)
    again.play(lambda _: tells())
    name = made["metadata"]["name"]
    assert again.condition("Comparable") == ("Unknown", c.NAME_CONFLICT)
    assert f"The ConfigMap {name} exists and belongs to something else" in message(again)
    assert "baseline.1" not in again.jobs()
    again.delete(CONFIG_MAPS.path(NAMESPACE, name))
    again.wait(100)
    assert "baseline.1" in again.jobs()


def test_a_quota_that_takes_no_config_map_is_named_and_waited_for() -> None:
    here = applied()
    here.api.quotas["configmaps.v1"] = 1  # the ledger's
    here.play(lambda _: tells())
    assert here.condition("Comparable") == ("Unknown", c.CREATION_REFUSED)
    assert "refuses the ConfigMap hps-search-" in message(here)
    here.api.quotas.clear()
    here.wait(100)
    assert "baseline.1" in here.jobs()


def test_what_the_baseline_rests_on_is_kept_with_it() -> None:
    here = applied()
    compared(here, metrics={"inputsHash": hash_number("0123456789ab"), "codeHash": hash_number("fedcba987654")})
    (kept,) = (each for each in here.of(CONFIG_MAPS) if each["metadata"]["name"].endswith("-baseline"))
    evidence = json.loads(kept["data"]["1"])["record"]["evidence"]
    assert (evidence[INPUTS], evidence[CODE]) == ("0123456789ab", "fedcba987654")
