"""Asks a real API server about the corpus in tests/data, and whether what it gives back means the same as the file.

tests/unit/test_corpus.py judges the same files with `load` and says what their comments mean.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.api import ApiError
from cluster.testcluster import Cluster, CommandFailed
from eventually import eventually
from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.expand import expand
from trainer.experiment.load import load, read
from trainer.experiment.yaml_text import parse
from unit.test_corpus import EXAMPLES, INVALID, ROOT, VALID, said

Json = dict[str, Any]
GROUP = "/apis/trialrun.dev/v1alpha1"
MINIMAL = {"objective": {"metric": "validMse"}, "parameters": [{"name": "model.layers", "choices": [1, 2]}]}
LEARNING = MINIMAL | {"algorithm": "TPE", "trials": 5}
PLURALS = ("hyperparamsearches", "scaletests")


@pytest.fixture(scope="module", autouse=True)
def crds(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    for plural in PLURALS:
        eventually(lambda plural=plural: served(cluster, plural), what=f"{plural} are served")


def served(cluster: Cluster, plural: str) -> bool:
    try:
        cluster.api.get(f"{GROUP}/{plural}")
    except ApiError:
        return False
    return True


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[str]:
    """One namespace for the whole corpus: its files are applied together."""
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": "test-corpus"}})
    yield "test-corpus"
    cluster.api.delete_if_there("/api/v1/namespaces/test-corpus")


@pytest.fixture(scope="module")
def admitted(cluster: Cluster, space: str) -> dict[Path, Json]:
    """The corpus files that kubectl could create, with the objects they became."""
    together = [
        file for file in VALID + INVALID + EXAMPLES if f"name: {file.stem}" in file.read_text(encoding="utf-8")
    ]
    alone = [file for file in VALID + INVALID + EXAMPLES if file not in together]
    everything = [part for file in together for part in ("-f", str(file))]
    with pytest.raises(CommandFailed, match="Invalid value"):
        cluster.kubectl("create", "-n", space, *everything)
    # An object named otherwise than its file can't be told from its neighbours.
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda file: created_alone(cluster, space, file), alone)
    objects = {file: item for file, item in zip(alone, made, strict=True) if item is not None}
    by_name = {}
    for plural in PLURALS:
        by_name |= {
            item["metadata"]["name"]: item for item in cluster.api.list(f"{GROUP}/namespaces/{space}/{plural}")
        }
    return objects | {file: by_name[file.stem] for file in together if file.stem in by_name}


def created_alone(cluster: Cluster, space: str, file: Path) -> Json | None:
    try:
        reply = cluster.kubectl("create", "-n", space, "--dry-run=server", "-o", "json", "-f", str(file))
    except CommandFailed:
        return None
    made: Json = json.loads(reply)
    return made


@pytest.mark.parametrize("file", VALID + EXAMPLES, ids=lambda file: file.stem)
def test_trials_of_the_object_are_those_of_the_file(file: Path, admitted: dict[Path, Json]) -> None:
    assert file in admitted
    assert expand(load(admitted[file])) == expand(read(file))


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_the_api_server_does_with_an_invalid_file_what_it_says(file: Path, admitted: dict[Path, Json]) -> None:
    (expected,) = said(file, "admission")
    if expected == "refused":
        assert file not in admitted
        return
    assert file in admitted
    if expected == "mended":
        assert expand(load(admitted[file]))
        return
    with pytest.raises(InvalidExperiment) as refusal:
        expand(load(admitted[file]))
    for reason in said(file, "expect"):
        assert any(reason in mistake for mistake in refusal.value.mistakes)


@pytest.mark.usefixtures("admitted")
def test_the_status_of_whatever_was_admitted_can_be_written(cluster: Cluster, space: str) -> None:
    # Rules that compare with the old object run then too, and one that fails would leave an experiment mute for ever.
    for plural in PLURALS:
        for item in cluster.api.list(f"{GROUP}/namespaces/{space}/{plural}"):
            path = f"{GROUP}/namespaces/{space}/{plural}/{item['metadata']['name']}"
            cluster.api.patch(f"{path}/status", {"status": {"phase": "Pending"}})
            cluster.api.patch(path, {"spec": {"suspend": True}})


def test_the_status_of_the_largest_search_can_be_written(cluster: Cluster, namespace: str) -> None:
    # 1.2 MB; the API server takes no object above 1.5 MB.
    choices = [f"{number:0600}" for number in range(64)]
    parameters = [{"name": f"p{number}", "choices": choices} for number in range(32)]
    path = created(cluster, namespace, "hyperparamsearches", MINIMAL | {"parameters": parameters})
    cluster.api.patch(f"{path}/status", {"status": {"phase": "Invalid"}})


def test_the_status_of_a_search_with_the_largest_points_can_be_written(cluster: Cluster, namespace: str) -> None:
    parameters = [{"name": f"p{number}", "choices": ["x" * 350]} for number in range(32)]
    values = {f"p{number}": "x" * 350 for number in range(32)}
    points = [{"parameters": values}] * 100
    spec = LEARNING | {"trials": 100, "parameters": parameters, "points": points}
    path = created(cluster, namespace, "hyperparamsearches", spec)
    cluster.api.patch(f"{path}/status", {"status": {"phase": "Invalid"}})
    cluster.api.patch(path, {"spec": {"suspend": True}})


WRITTEN = """
0 1 -1 +1 007 0o17 0x1F 0X1f 0b101 1_000 1__0 0_1 -0 +0 08 09 0o9 0xg 1e3 1E3 1e+3 1e-4 1e-5 1E-6 1.e3 .1e1 +.5 -.5
1. .5 1.0 1.50 -0.0 0.1 1e400 1e-400 1.7976931348623157e308 5e-324 0.1234567890123456789 123456789012345678
9007199254740993 1_0.5 1._5 ._5 .e1 . - + e1 1e 1e+ 1:30 1:30:45 190:20:30.15 2024-01-01 2024-01-01T00:00:00Z
y Y n N yes no on off On OFF true True TRUE tRUE false null Null ~ nil None NaN nan inf Infinity .Nan .iNF
_1 1_ 1%2 a é 收 0.0.1 1-2 0x 0b 0b2 0o ++1 +-1 1+1 0e0 00 00.5 01.5 -01 -0x1 -0b1 -0o7 +0x1 0x_1 0b_1 0o_7
"""
SCALARS = WRITTEN.split()


def test_kubectl_reads_scalars_as_the_loader_does(cluster: Cluster, space: str) -> None:
    parts = [SCALARS[start : start + 64] for start in range(0, len(SCALARS), 64)]
    lists = "".join(f"    - {{name: p{i}, choices: [{', '.join(part)}]}}\n" for i, part in enumerate(parts))
    text = f"""
apiVersion: trialrun.dev/v1alpha1
kind: HyperparamSearch
metadata: {{name: scalars}}
spec:
  objective: {{metric: validMse}}
  parameters:
{lists}"""
    seen = json.loads(cluster.kubectl("create", "-n", space, "--dry-run=server", "-o", "json", "-f", "-", stdin=text))
    ours, theirs = (
        [value for parameter in document["spec"]["parameters"] for value in parameter["choices"]]
        for document in (parse(text), seen)
    )
    assert dict(zip(SCALARS, map(typed, ours), strict=True)) == dict(zip(SCALARS, map(typed, theirs), strict=True))


def typed(value: object) -> tuple[str, object]:
    """With its type, since 1 == True; a whole float is an integer, as it is to everything behind `load`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return type(value).__name__, value


@pytest.fixture
def search(cluster: Cluster, namespace: str) -> str:
    """The path of a search that exists."""
    return created(cluster, namespace, "hyperparamsearches", MINIMAL)


@pytest.fixture
def scaletest(cluster: Cluster, namespace: str) -> str:
    """The path of a scale test that exists."""
    return created(cluster, namespace, "scaletests", {})


def created(cluster: Cluster, namespace: str, plural: str, spec: Json) -> str:
    kind = {"hyperparamsearches": "HyperparamSearch", "scaletests": "ScaleTest"}[plural]
    body = {"apiVersion": "trialrun.dev/v1alpha1", "kind": kind, "metadata": {"name": "some"}, "spec": spec}
    cluster.api.create(f"{GROUP}/namespaces/{namespace}/{plural}", body)
    return f"{GROUP}/namespaces/{namespace}/{plural}/some"


FIXED = {
    "objective": {"metric": "validMae"},
    "algorithm": "Grid",
    "parameters": [{"name": "model.layers", "choices": [2, 1]}],
    "training": {"train": {"epochs": 1}},
    "repeats": 2,
    "order": "Shuffled",
    "seed": 1,
    "workers": 2,
}


@pytest.mark.parametrize("field", FIXED)
def test_what_decides_the_trials_of_a_search_cannot_change(cluster: Cluster, search: str, field: str) -> None:
    with pytest.raises(ApiError, match=rf"spec\.{field}: .* cannot change; apply the new one under another name"):
        cluster.api.patch(search, {"spec": {field: FIXED[field]}})


@pytest.mark.parametrize("field", ["training", "repeats", "order", "seed", "workers"])
def test_what_decides_the_trials_of_a_search_cannot_be_taken_away(
    cluster: Cluster, namespace: str, field: str
) -> None:
    path = created(cluster, namespace, "hyperparamsearches", MINIMAL | {field: FIXED[field]})
    with pytest.raises(ApiError, match=rf"spec\.{field}: .* cannot change"):
        cluster.api.patch(path, {"spec": {field: None}})


@pytest.mark.parametrize(
    ("field", "value"),
    [("axes", {"multipliers": [1]}), ("cell", {"memoryLimit": "1Gi"}), ("repeats", 2), ("order", "Listed"),
     ("seed", 0), ("training", {})],
)  # fmt: skip
def test_what_decides_the_cells_of_a_scale_test_cannot_change(
    cluster: Cluster, scaletest: str, field: str, value: object
) -> None:
    with pytest.raises(ApiError, match=rf"spec\.{field}: .* cannot change"):
        cluster.api.patch(scaletest, {"spec": {field: value}})


@pytest.mark.parametrize(
    "choices", [[1, 2, 3], [1], [2, 1], ["1", 2], [1, True]], ids=["more", "fewer", "order", "text", "type"]
)
def test_choices_cannot_change_in_any_way(cluster: Cluster, search: str, choices: list[object]) -> None:
    with pytest.raises(ApiError, match="cannot change"):
        cluster.api.patch(search, {"spec": {"parameters": [{"name": "model.layers", "choices": choices}]}})


LEARNS = {
    "points": [{"parameters": {"model.layers": 2}}],
    "warmStart": "hps/earlier",
    "constraints": [{"metric": "peakMemoryBytes", "atMost": 10**9}],
    "earlyStopping": {"rule": "ASHA"},
}
LEARNS_OTHERWISE = {
    "points": [{"parameters": {"model.layers": "2"}}],
    "warmStart": "hps/another",
    "constraints": [{"metric": "peakMemoryBytes", "atMost": 10**8}],
    "earlyStopping": {"rule": "ASHA", "reduction": 4},
}


@pytest.mark.parametrize("field", LEARNS)
def test_what_a_search_learns_from_and_compares_by_cannot_change(
    cluster: Cluster, namespace: str, field: str
) -> None:
    path = created(cluster, namespace, "hyperparamsearches", LEARNING | LEARNS)
    cluster.api.patch(path, {"spec": {field: LEARNS[field], "suspend": True}})
    for other in (LEARNS_OTHERWISE[field], None):
        with pytest.raises(ApiError, match=rf"spec\.{field}: .* cannot change; apply the new one under another name"):
            cluster.api.patch(path, {"spec": {field: other}})


@pytest.mark.parametrize("field", LEARNS)
def test_what_a_search_learns_from_and_compares_by_cannot_come_later(
    cluster: Cluster, namespace: str, field: str
) -> None:
    path = created(cluster, namespace, "hyperparamsearches", LEARNING)
    with pytest.raises(ApiError, match=rf"spec\.{field}: .* cannot change"):
        cluster.api.patch(path, {"spec": {field: LEARNS[field]}})


def test_a_search_may_try_more_points_and_never_fewer(cluster: Cluster, namespace: str) -> None:
    path = created(cluster, namespace, "hyperparamsearches", LEARNING)
    cluster.api.patch(path, {"spec": {"trials": 6}})
    cluster.api.patch(path, {"spec": {"trials": 6}})
    for fewer in (5, None):
        with pytest.raises(ApiError, match=r"spec\.trials: .* cannot fall; raise it to have more run"):
            cluster.api.patch(path, {"spec": {"trials": fewer}})


def test_the_budget_of_a_search_can_change(cluster: Cluster, namespace: str) -> None:
    path = created(cluster, namespace, "hyperparamsearches", LEARNING | {"budget": {"maxSeconds": 60}})
    budget = {"maxSeconds": 30, "target": 0.1, "plateau": 4}
    assert cluster.api.patch(path, {"spec": {"budget": budget}})["spec"]["budget"] == budget
    cluster.api.patch(path, {"spec": {"budget": None}})


# What only some fields of a search together break, and what the API server says of it.
APART: dict[str, tuple[Json, str]] = {
    "trials with Grid": ({"algorithm": "Grid"}, r"spec\.trials: .* belongs to algorithms Random, Sobol and TPE"),
    "Sobol without trials": ({"algorithm": "Sobol", "trials": None}, r"spec\.trials: .* is required with algorithms"),
    "a warm start of Random": ({"algorithm": "Random", "warmStart": "hps/a"}, r"spec\.warmStart: .* belongs to"),
    "a warm start from a scale test": ({"warmStart": "sct/a"}, r"spec\.warmStart: .* sct/NAME is a scale test"),
    "more points than trials": (
        {"trials": 1, "points": [{"parameters": {"model.layers": n}} for n in (1, 2)]},
        r"spec\.points: .* must have at most as many entries as there are trials",
    ),
    "a plateau of all trials": ({"budget": {"plateau": 5}}, r"spec\.budget\.plateau: .* must be less than trials"),
    "a cost without prices": ({"budget": {"maxCost": 1}}, r"spec\.budget\.maxCost: .* must come with prices"),
    "stopping by time": (
        {"objective": {"metric": "totalSeconds"}, "earlyStopping": {"rule": "ASHA"}},
        r"spec\.earlyStopping: .* must go with an objective that trials report at every step",
    ),
    "more repeats than run at once": (
        {"earlyStopping": {"rule": "ASHA"}, "repeats": 5},
        r"spec\.repeats: .* must be at most parallelTrials with earlyStopping",
    ),
    "a reduction with Median": (
        {"earlyStopping": {"rule": "Median", "reduction": 3}},
        r"spec\.earlyStopping\.reduction: .* belongs to rule ASHA",
    ),
    "a constraint without a bound": (
        {"constraints": [{"metric": "validMse"}]}, r"spec\.constraints\[0\]: .* must have atMost or atLeast",
    ),
    "a constraint upside down": (
        {"constraints": [{"metric": "validMse", "atLeast": 2, "atMost": 1}]},
        r"spec\.constraints\[0\]\.atLeast: .* must be at most atMost",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "sentence"), APART.values(), ids=APART)
def test_what_does_not_agree_is_refused_at_once(
    cluster: Cluster, namespace: str, fields: Json, sentence: str
) -> None:
    spec = {name: value for name, value in (LEARNING | fields).items() if value is not None}
    with pytest.raises(ApiError, match=sentence):
        created(cluster, namespace, "hyperparamsearches", spec)


CHANGEABLE = {
    "parallelTrials": 7,
    "maxFailedTrials": 9,
    "pendingDeadlineSeconds": 60,
    "ttlSecondsAfterFinished": 60,
    "suspend": True,
    "rerun": 1,
    "pod": {"resources": {"limits": {"memory": "2Gi"}}},
}


def test_how_a_search_runs_can_change(cluster: Cluster, search: str) -> None:
    changes = CHANGEABLE | {"deadlineSeconds": 60, "baseline": "Measure"}
    assert cluster.api.patch(search, {"spec": changes})["spec"] == MINIMAL | changes
    cluster.api.patch(search, {"spec": dict.fromkeys(changes.keys() - {"rerun"})})


def test_how_a_scale_test_runs_can_change(cluster: Cluster, scaletest: str) -> None:
    assert cluster.api.patch(scaletest, {"spec": CHANGEABLE})["spec"] == CHANGEABLE


def test_rerun_never_falls(cluster: Cluster, search: str) -> None:
    cluster.api.patch(search, {"spec": {"rerun": 2}})
    cluster.api.patch(search, {"spec": {"rerun": 2}})
    for lower in (1, 0, None):
        with pytest.raises(ApiError, match=r"spec\.rerun: .* cannot fall"):
            cluster.api.patch(search, {"spec": {"rerun": lower}})


def test_fields_that_nobody_knows_never_reach_the_operator(cluster: Cluster, namespace: str) -> None:
    path = created(cluster, namespace, "scaletests", {"pod": {"hostNetwork": True, "affinity": {"a": {"b": 1}}}})
    assert cluster.api.get(path)["spec"] == {"pod": {"affinity": {}}}


def test_a_status_as_the_operator_writes_it_is_kept_whole(cluster: Cluster, search: str) -> None:
    summary = {
        "experiment": "some", "kind": "HyperparamSearch", "state": "Succeeded", "successRate": 0.5, "timing": None,
        "counts": {"total": 2, "done": 2, "succeeded": 1, "failed": 1, "skipped": 0, "outcomes": {"Crashed": 1}},
        "best": {"index": 0, "id": "0123456789", "parameters": {"model.layers": 1, "model.kind": "MLP"},
                 "metric": "validMse", "direction": "Minimize", "value": 1e-05, "deviation": None, "repeats": 1},
        "comparison": {"baselineWall": 3.5, "elapsedRatio": 1.5, "differences": [], "slots": 2, "speedup": None,
                       "efficiency": None},
    }  # fmt: skip
    condition = {
        "type": "Finished", "status": "True", "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "AllDone", "message": "2 of 2 trials are done.",
    }  # fmt: skip
    status = {
        "observedGeneration": 1, "phase": "Succeeded", "acceptedAt": "2026-01-01T00:00:00.123Z", "done": "2/2",
        "running": 0, "failed": 1, "best": "1e-05", "summary": summary, "conditions": [condition], "rerun": 0,
        "ledger": ["hps-some-0"],
        "trials": [{"index": 0, "id": "0123456789", "state": "Succeeded", "parameters": {"model.layers": 1}}],
    }  # fmt: skip
    cluster.api.patch(f"{search}/status", {"status": status})
    # A merge patch takes null for "remove"; put says what it means.
    whole = cluster.api.get(search) | {"status": status}
    assert cluster.api.replace(f"{search}/status", whole)["status"] == status


def test_the_command_that_users_were_promised_shows_the_columns(
    cluster: Cluster, search: str, namespace: str
) -> None:
    cluster.api.patch(
        f"{search}/status", {"status": {"phase": "Running", "done": "12/18", "running": 6, "failed": 0}}
    )
    shown = cluster.kubectl("get", "hyperparamsearch", "-n", namespace).splitlines()
    assert shown[0].split() == ["NAME", "STATUS", "DONE", "RUNNING", "FAILED", "BEST", "SPEEDUP", "AGE"]
    assert shown[1].split()[:-1] == ["some", "Running", "12/18", "6", "0"]
    for short in ("hps", "trialrun"):
        assert "12/18" in cluster.kubectl("get", short, "-n", namespace)


def test_the_columns_of_a_scale_test_show_where_memory_ran_out(
    cluster: Cluster, scaletest: str, namespace: str
) -> None:
    cluster.api.patch(
        f"{scaletest}/status", {"status": {"phase": "Running", "done": "7/10", "largest": "50x", "oom": 2}}
    )
    shown = cluster.kubectl("get", "sct", "-n", namespace).splitlines()
    assert shown[0].split() == ["NAME", "STATUS", "DONE", "LARGEST", "OOM", "AGE"]
    assert shown[1].split()[:-1] == ["some", "Running", "7/10", "50x", "2"]


def test_kubectl_explains_fields_with_their_defaults(cluster: Cluster) -> None:
    def explained() -> str:
        return " ".join(cluster.kubectl("explain", "hps.spec").split())

    eventually(lambda: "The most trials that run at once on a cluster" in explained(), what="the API is published")
    assert "parallelTrials <integer>" in explained()
    assert "Default 4." in explained()
