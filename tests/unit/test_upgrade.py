"""The operator is upgraded and rolled back in the middle of a search: the real code of both versions, in turns.

Version 0.1's reconciler runs in a process of its own (`look_of_0_1.py`) on the same cluster in memory.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import pytest

from cluster import podstatus
from trainer.experiment.metrics import UNDEFINED_BECAUSE
from trainer.experiment.record import Memory, RunFigures, Seconds
from trainer.experiment.training import LATER, Training
from trainer.experiment.yaml_text import parse
from trialrun_operator import conditions as c
from trialrun_operator.backends.pytorchjob import JOBS
from trialrun_operator.names import CONFIG_MAPS, INDEX_LABEL, LEDGER_LABEL, PROGRAM_LABEL, labels, ledger_name, owner
from trialrun_operator.orders import baseline_document, trial_document
from trialrun_operator.workload import workload
from unit.builders import START, a_document, an_experiment
from unit.fakekube import Document
from unit.lookout import (
    CRASHES,
    IS_EVICTED,
    NAMESPACE,
    Lookout,
    Script,
    Stage,
    a_learning_search,
    a_search,
    succeeds,
)
from version_0_1 import Version01

TESTS = Path(__file__).parents[1]
OF_0_1 = TESTS / "data" / "of_0_1"
OLD_IMAGE = "trainer:0.1"
# What a pod of this version tells beside the objective.
BESIDE = {"dataHash": float(0xDA7A), "validationHash": float(0xA11D), "naiveValidMse": 3.5, "undefinedValidR2": 1.0}
# How the pods of the search end, but for those that end well, and the ledger that this comes to.
ENDS: dict[str, Stage] = {"3.1": CRASHES, "4.1": IS_EVICTED}
LAST = {"0.1": "Succeeded", "1.1": "Succeeded", "2.1": "Succeeded", "3.1": "Crashed", "4.1": "Evicted, again",
        "4.2": "Succeeded", "5.1": "Succeeded"}  # fmt: skip


@pytest.fixture(scope="module")
def process(version_0_1: Version01, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """The process in which version 0.1's reconciler runs."""
    log = tmp_path_factory.mktemp("look") / "stderr"
    with log.open("w") as stderr:
        started = subprocess.Popen(
            [sys.executable, TESTS / "unit" / "look_of_0_1.py"],
            env=version_0_1.environment(TESTS),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    with started:
        yield started
    assert not log.read_text(), "it had nothing to complain about"


@pytest.fixture
def here(process: subprocess.Popen[str]) -> "Cluster":
    """A cluster without an experiment."""
    return Cluster(process)


class Cluster(Lookout):
    """A cluster whose operator may be of either version; the two never run at once."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__()
        self._process = process

    def old(self, seconds: float = 3.0) -> list[str]:
        """Version 0.1's operator runs for so long; gives what it has written."""
        told = {
            "objects": self.api.objects, "now": self.clock.now(), "seconds": seconds, "image": OLD_IMAGE,
            "key": (self.key.kind, self.key.namespace, self.key.name),
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        self.api.take_over(found["objects"])
        self.clock.milliseconds += round(1000 * found["passed"])
        self.kube.writes += found["writes"]
        return list(found["writes"])

    def new(self, seconds: float = 3.0) -> list[str]:
        """This version's operator starts and runs for so long; gives what it has written."""
        before = len(self.kube.writes)
        self.restart()
        self.wait(seconds)
        return self.kube.writes[before:]

    def end(self, script: Script = lambda attempt: ENDS.get(attempt, reports)) -> None:
        """All pods run and end."""
        self.pods_run()
        self.clock.milliseconds += 2000
        self.pods_end(script)

    def delete_jobs(self) -> None:
        """Deletes all jobs."""
        for job in self.of(JOBS):
            self.delete(JOBS.path(NAMESPACE, job["metadata"]["name"]))

    def lines(self) -> set[str]:
        """The ledger as it stands in the ConfigMaps."""
        shards = [each for each in self.of(CONFIG_MAPS) if LEDGER_LABEL in each["metadata"]["labels"]]
        return {line for shard in shards for line in shard["data"].values()}

    def unverified(self) -> int:
        """How many ranked trials do not tell their data, as the status has it."""
        found: int = self.status()["summary"]["unverified"]
        return found


def reports(pod: Document, now: str, *, memory: Memory | None = None, **told: float) -> Document:
    """The pod of either version ends well: one of 0.1 tells the objective alone."""
    index = float(pod["metadata"]["labels"].get(INDEX_LABEL, 0))
    metrics = {"validMse": index + 1.0}
    if pod["spec"]["containers"][0]["image"] != OLD_IMAGE:
        metrics |= BESIDE | told
    return succeeds(metrics=metrics, memory=memory)(pod, now)


def is_of_0_1(job: Document) -> bool:
    template = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
    return bool(template["spec"]["containers"][0]["image"] == OLD_IMAGE)


SEARCH = a_search(6, parallelTrials=3, maxFailedTrials=3)
Turn = Callable[[], list[str]]


# --- in the middle of a search --------------------------------------------------------------------------------------


def just_accepted(here: Cluster, turn: Turn) -> None:
    here.apply(SEARCH)
    turn()


def running(here: Cluster, turn: Turn) -> None:
    just_accepted(here, turn)
    here.pods_run()


def ended_while_no_operator_ran(here: Cluster, turn: Turn) -> None:
    just_accepted(here, turn)
    here.end()


def half_recorded(here: Cluster, turn: Turn) -> None:
    ended_while_no_operator_ran(here, turn)
    turn()
    here.pods_run()


def nearly_over(here: Cluster, turn: Turn) -> None:
    half_recorded(here, turn)
    here.end()
    turn()


def over(here: Cluster, turn: Turn) -> None:
    nearly_over(here, turn)
    here.end()
    turn()


MOMENTS = (just_accepted, running, ended_while_no_operator_ran, half_recorded, nearly_over, over)


def assert_once(here: Cluster) -> None:
    """Each attempt of the search has run once, by whichever version, and the search is over."""
    assert (here.records(), here.jobs()) == (LAST, sorted(LAST))
    assert here.kube.writes.count("create pytorchjobs") == len(LAST)
    assert (here.status()["phase"], here.status()["done"], here.status()["best"]) == ("Succeeded", "6/6", "1")


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_operator_upgraded_in_the_middle_of_a_search_finishes_it(
    here: Cluster, moment: Callable[[Cluster, Turn], None]
) -> None:
    moment(here, here.old)
    before = here.lines()
    here.new()
    for _ in range(4):
        here.end()
        here.wait(3)
    assert_once(here)
    assert before <= here.lines(), "what was recorded stays as it was"
    succeeded = [job for job in here.of(JOBS) if job["status"]["conditions"][0]["type"] == "Succeeded"]
    assert here.unverified() == sum(map(is_of_0_1, succeeded)) > 0
    assert "unverified" in " ".join(here.status()["summary"]["caveats"])
    assert here.new(200) == [], "another start changes nothing"


@pytest.mark.parametrize("moment", MOMENTS)
def test_version_0_1_finishes_what_it_is_given_back_and_runs_nothing_again(
    here: Cluster, moment: Callable[[Cluster, Turn], None]
) -> None:
    moment(here, here.new)
    before = here.lines()
    here.old()
    for _ in range(4):
        here.end()
        here.old()
    assert_once(here)
    assert before <= here.lines()
    assert here.old(5) == []
    here.new()
    assert_once(here)
    succeeded = [job for job in here.of(JOBS) if job["status"]["conditions"][0]["type"] == "Succeeded"]
    assert here.unverified() == sum(map(is_of_0_1, succeeded)), "what a pod of this version told 0.1 counts"


@pytest.mark.parametrize("seed", range(8))
def test_whichever_version_has_its_turn_the_search_comes_to_the_same_end(here: Cluster, seed: int) -> None:
    draw = random.Random(seed)
    here.apply(SEARCH)
    for _ in range(6):
        for turn in draw.choices((here.old, here.new), k=draw.randint(1, 3)):
            turn()
        here.end()
    here.new()
    assert_once(here)
    assert {each["state"] for each in here.status()["trials"]} == {"Succeeded", "Crashed"}


def test_a_report_of_this_version_that_0_1_has_recorded_still_tells_what_the_result_rests_on(here: Cluster) -> None:
    here.apply(SEARCH)
    here.new()
    other = partial(reports, dataHash=float(0x07E4))
    here.end(lambda attempt: other if attempt == "1.1" else reports)
    here.old()
    assert all("dataHash" in line for line in here.lines()), "0.1 takes them for metrics"
    here.new()
    assert {record.evidence["data"] for record in here.ledger()} == {"00000000da7a", "0000000007e4"}
    assert {record.evidence["validR2"] for record in here.ledger()} == {f"undefined: {UNDEFINED_BECAUSE['validR2']}"}
    assert {name for record in here.ledger() for name in record.metrics} == {"validMse", "naiveValidMse"}
    summary = here.status()["summary"]
    assert (summary["otherData"], summary["unverified"], summary["best"]["index"]) == (1, 0, 0)


def test_a_search_that_0_1_does_not_understand_rests_until_this_version_is_back(here: Cluster) -> None:
    here.apply(a_search(6, parallelTrials=3, maxFailedTrials=3, training={"data": {"features": "Changes"}}))
    here.new()
    here.end()
    here.new()
    here.pods_run()
    accepted, jobs, lines = here.status()["acceptedAt"], here.jobs(), here.lines()
    assert here.old(5) == ["patch hyperparamsearches/status", "create events"]
    assert (here.status()["phase"], here.condition("Finished")) == ("Invalid", ("True", c.INVALID))
    here.end()
    assert here.old(5) == []
    assert (here.jobs(), here.lines()) == (jobs, lines)
    here.new()
    for _ in range(3):
        here.end()
        here.wait(3)
    assert_once(here)
    assert here.status()["acceptedAt"] == accepted


def test_a_search_that_learns_rests_while_0_1_has_its_turn_and_loses_no_suggestion(here: Cluster) -> None:
    here.apply(a_learning_search(14))
    here.new()
    here.end()
    here.new()
    here.pods_run()
    jobs, lines, suggestions = here.jobs(), here.lines(), here.suggestions()
    assert (len(jobs), len(lines), len(suggestions)) == (6, 3, 6)
    assert here.old(5) == ["patch hyperparamsearches/status", "create events"]
    assert here.condition("Finished") == ("True", c.INVALID)
    here.end()
    assert here.old(5) == []
    assert (here.jobs(), here.lines(), here.suggestions()) == (jobs, lines, suggestions)
    here.new()
    for _ in range(5):
        here.end()
        here.wait(3)
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "14/14")
    assert here.suggestions()[:6] == suggestions
    assert here.kube.writes.count("create pytorchjobs") == 15, "4 was evicted once"


# --- of every kind --------------------------------------------------------------------------------------------------

KINDS = {
    "two sets of validation samples": a_search(4, parameters=[{"name": "data.window", "choices": [5, 10, 15, 20]}]),
    "repeats": a_search(2, repeats=2, parallelTrials=4),
    "what a new search is refused for": a_search(2, parameters=[{"name": "train.momentum", "choices": [0.0, 0.9]}]),
    "a baseline that is measured": a_search(2, baseline="Measure"),
    "jobs that go": a_search(3, ttlSecondsAfterFinished=0),
    "a scale test": a_document(
        name="search", kind="ScaleTest", axes={"multipliers": [1, 10], "workers": [1, 2]},
        cell={"memoryAboveFloor": "128Mi"},
    ),
}  # fmt: skip


def all_end(here: Cluster) -> None:
    """All pods end well, those of a baseline and of floors with what is wanted of them."""
    floor = Memory(peak_bytes=800 * 2**20, mean_bytes=700 * 2**20, floor_bytes=300 * 2**20)
    run = RunFigures(
        wall=9, trials=2, digest="", seeds=(0, 0), workers=1, most_at_once=1, outcomes={}, environments=(),
        seconds=Seconds(),
    )  # fmt: skip

    def end(attempt: str) -> Stage:
        if attempt.startswith("baseline"):
            return succeeds(metrics={}, run=run)
        return partial(reports, memory=floor, validationHash=float(attempt[0] in "01"))

    here.end(end)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", ["old", "new"])
def test_experiments_of_every_kind_change_hands_and_nothing_runs_again(here: Cluster, kind: str, first: str) -> None:
    here.apply(KINDS[kind])
    turns = cycle([here.old, here.new] if first == "old" else [here.new, here.old])
    if kind == "what a new search is refused for":
        here.old()  # which knows no better
    for turn in islice(turns, 12):
        turn()
        all_end(here)
    here.new()
    assert here.condition("Finished") == ("True", c.ALL_TRIALS_DONE)
    assert here.status()["phase"] == "Succeeded"
    attempts, lines = sorted(here.records()), here.lines()
    assert all(attempt.endswith(".1") for attempt in attempts)
    made = here.kube.writes.count("create pytorchjobs")
    assert made == len(attempts) + (kind == "a baseline that is measured")
    for turn in (here.old, here.new, here.old, here.new):
        turn()
        all_end(here)
    assert (here.kube.writes.count("create pytorchjobs"), sorted(here.records()), here.lines()) == (
        made, attempts, lines,
    )  # fmt: skip


def test_statuses_of_either_version_are_written_over_by_the_other_once(here: Cluster) -> None:
    here.apply(KINDS["two sets of validation samples"])
    for _ in range(2):
        here.new()
        all_end(here)
    here.new()
    mine = here.status()
    assert len(mine["summary"]["groups"]) == 2
    assert here.old(5) == ["patch hyperparamsearches/status"]
    assert "groups" not in here.status()["summary"]
    assert here.new(200) == ["patch hyperparamsearches/status"]
    assert here.status()["summary"] == mine["summary"]


def test_trials_run_the_code_that_was_taken_up_also_after_0_1_has_written_the_status(here: Cluster) -> None:
    source = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "train", "labels": {}}}
    here.api.ask("POST", CONFIG_MAPS.path(NAMESPACE), source | {"data": {"train.py": "1"}})
    program = {"command": ["python", "train.py"], "code": "configmap/train"}
    loss = {"metric": "loss", "direction": "Minimize"}
    rates = [{"name": "lr", "choices": [0.1, 0.2, 0.3, 0.4]}]
    here.apply(a_document(name="search", objective=loss, parameters=rates, parallelTrials=2, program=program))
    here.new()
    code = here.status()["code"]
    assert here.old() == ["patch hyperparamsearches/status", "create events"]
    assert "code" not in here.status()
    here.api.ask("PATCH", CONFIG_MAPS.path(NAMESPACE, "train"), {"data": {"train.py": "2"}})
    for _ in range(3):
        here.end(lambda _: partial(podstatus.ended, exit_code=0, message='{"metrics": {"loss": 1}}'))
        here.new()
    assert here.condition("Finished") == ("True", c.ALL_TRIALS_DONE)
    assert [job["metadata"]["labels"][PROGRAM_LABEL] for job in here.of(JOBS)] == [code] * 4
    assert here.status()["code"] == code


# --- what 0.1 left behind -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["search-run", "windows-run"])
@pytest.mark.parametrize("kept", [0, 1, 3, None])
def test_a_ledger_with_real_records_of_0_1_is_gone_on_with(here: Cluster, run: str, kept: int | None) -> None:
    document = json.loads((OF_0_1 / run / "experiment.json").read_text())
    lines = (OF_0_1 / run / "results.jsonl").read_text().splitlines()
    here.clock.milliseconds = json.loads(lines[0])["acceptedAt"] - START
    here.apply(document)
    here.old(1)  # accepts it when the records say
    here.delete_jobs()
    data = {f"{told['index']:04d}-{told['id']}.1": line for line in lines[:kept] for told in [json.loads(line)]}
    uid = here.api.ask("GET", here.key.path)["metadata"]["uid"]
    if data:
        shard = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": ledger_name(here.key, uid, 0),
                "labels": labels(here.key, uid) | {LEDGER_LABEL: "0"},
                "ownerReferences": [owner(here.key, uid)],
            },
            "data": data,
        }
        here.api.ask("POST", CONFIG_MAPS.path(NAMESPACE), shard)
    here.new()
    for _ in range(6):
        here.end(lambda attempt: partial(reports, validationHash=float(run == "windows-run" and attempt[0] in "01")))
        here.wait(3)
    left = {str(index) for index in range(len(lines))} - {str(json.loads(line)["index"]) for line in data.values()}
    assert here.jobs() == sorted(f"{index}.1" for index in left)
    assert set(data.values()) <= here.lines()
    assert here.condition("Finished")[0] == "True"
    summary = here.status()["summary"]
    of_0_1 = sum(json.loads(line)["outcome"] == "Succeeded" for line in data.values())
    assert summary["unverified"] == of_0_1
    assert ("unverified" in " ".join(summary["caveats"])) == (of_0_1 > 0)
    assert (summary["best"] is None) == (run == "windows-run"), (
        "0.1's records join those whose parameters say the same"
    )


# --- what 0.1 is told -----------------------------------------------------------------------------------------------

READS = """
import json, sys
from trainer.experiment.load import load
from trainer.experiment.training import Training
for line in sys.stdin:
    told = json.loads(line)
    if "search" in told:
        load(told["search"])
    else:
        Training.model_validate_json(json.dumps(told["training"]))
print(json.dumps(Training().document()))
"""


def orders() -> Iterator[str]:
    """What pods are told of all experiments that 0.1 may have accepted."""
    for path in sorted((TESTS / "data" / "valid").glob("*.yaml")):
        document = parse(path.read_text())
        if "program" in document["spec"] or "when:" in path.read_text() or "step:" in path.read_text():
            continue  # of which 0.1 knows nothing
        work = workload(document)
        if any(len(trial.training.data.columns) > 64 or trial.training.data.window > 10_000 for trial in work.trials):
            continue  # those were its bounds
        yield from (trial_document(work, "uid", trial, 1) for trial in work.trials[:3])
        if work.measures_baseline:
            yield baseline_document(work.experiment, "uid", 1)


def test_a_trainer_image_of_0_1_takes_the_orders_of_this_version(version_0_1: Version01) -> None:
    told = list(orders())
    assert len(told) > 60
    done = version_0_1.python("-c", READS, stdin="\n".join(told))
    assert done.returncode == 0, done.stderr
    known = json.loads(done.stdout)
    assert Training().portable() == known, "every default is written out that 0.1 knows"
    assert {(name, field) for name, fields in LATER.items() for field in fields} == {
        (name, field)
        for name, section in Training()
        for field, known_as in type(section).model_fields.items()
        if known_as.alias not in known[name]
    }


def test_an_order_names_a_field_that_0_1_does_not_know_where_it_says_something() -> None:
    chosen = {"data": {"features": "Changes", "lookback": "Past"}, "train": {"targetScaling": "ZScore"}}
    order = an_experiment(training=chosen).spec.training.portable()
    assert {name: value for name, value in order["data"].items() if name in chosen["data"]} == chosen["data"]
    assert order["train"]["targetScaling"] == "ZScore"
    assert "predict" not in order["data"]
