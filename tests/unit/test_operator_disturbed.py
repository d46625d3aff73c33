"""Whatever goes wrong on the way to the API server and back: a search ends as an undisturbed one, and in order."""

import json
import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from conftest import Sweep
from trialrun_operator import conditions as c
from trialrun_operator.backends import BACKENDS
from trialrun_operator.backends.pytorchjob import JOBS
from trialrun_operator.kube import Unreachable
from trialrun_operator.names import CONFIG_MAPS, LEDGER_LABEL
from unit.controllers import has_ended
from unit.fakekube import Document, Fault, Killed, refused
from unit.lookout import (
    CRASHES,
    EITHER,
    IS_EVICTED,
    Lookout,
    Stage,
    a_learning_search,
    a_search,
    attempt,
    measures,
    succeeds,
)
from unit.replayed import Replayed

PARALLEL = 2
SEARCH = a_search(4, parallelTrials=PARALLEL, ttlSecondsAfterFinished=0)
# What follows from times, which a disturbance may change.
TIMES = {"acceptedAt", "startedAt", "finishedAt", "lastTransitionTime", "seconds", "timing", "remark", "course"}


def script(name: str) -> Stage:
    """Two trials go well, one crashes, and one is evicted once."""
    ends: dict[str, Stage] = {"1.1": IS_EVICTED, "2.1": CRASHES}
    return ends.get(name, succeeds())


def started(backend: str = "PyTorchJob") -> Lookout:
    here = Lookout(backend=backend)
    here.apply(SEARCH)
    return here


def outcome(here: Lookout) -> Any:
    """What must be the same after every course of events."""
    ledger = [record.model_dump(mode="json", by_alias=True) for record in here.ledger()]
    return without_times({"status": here.status(), "ledger": ledger, "jobs": here.jobs()})


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


@cache
def undisturbed(backend: str = "PyTorchJob") -> tuple[Any, Counter[str]]:
    """What comes of the search when nothing disturbs it, and its writes."""
    here = started(backend)
    here.play(script, seconds=30)
    assert here.records() == {
        "0.1": "Succeeded", "1.1": "Evicted, again", "1.2": "Succeeded", "2.1": "Crashed", "3.1": "Succeeded",
    }  # fmt: skip
    assert (here.status()["phase"], here.status()["done"], here.jobs()) == ("Succeeded", "4/4", [])
    assert_in_order(here)
    return outcome(here), Counter(here.kube.writes)


def assert_in_order(here: Lookout) -> None:
    """At no moment was anything promised that did not hold: what the API server stored tells.

    Two operators may each start another trial before they hear of each other's.
    """
    made: Counter[str] = Counter()
    live: set[str] = set()
    ledger: dict[str, str] = {}
    for event in here.api.events:
        seen, kind = event["object"], event["object"]["kind"]
        if kind == here.backend.jobs.kind:
            name, how = attempt(seen), event["type"]
            made[name] += how == "ADDED"
            live = live | {name} if how == "ADDED" else live - {name} if how == "DELETED" or has_ended(seen) else live
            assert len(live) <= PARALLEL * len(here.operators), "never more run than parallelTrials"
            assert how != "DELETED" or name in {recorded(key) for key in ledger}, "deleted before it was recorded"
        elif LEDGER_LABEL in (seen["metadata"].get("labels") or {}):
            assert ledger.items() <= seen["data"].items(), "no record is changed or lost"
            ledger = seen["data"]
        elif kind == here.key.kind and seen.get("status"):
            final = [line for line in ledger.values() if json.loads(line).get("final", True)]
            assert int(seen["status"]["done"].split("/")[0]) <= len(final), "the status says what the ledger has"
    assert set(made.values()) == {1}, f"no job is created twice: {made}"


def recorded(key: str) -> str:
    """The attempt of a ledger's key."""
    index, _, rest = key.partition("-")
    return f"{int(index)}.{rest.rpartition('.')[2]}"


# --- requests that go wrong -----------------------------------------------------------------------------------------

CUT_OFF: dict[str, Callable[[], Fault]] = {
    "the operator is killed before it": lambda: Fault(Killed()),
    "the operator is killed after it": lambda: Fault(Killed(), done=True),
    "it is lost": lambda: Fault(Unreachable("no answer")),
    "its answer is lost": lambda: Fault(Unreachable("no answer"), done=True),
}
REFUSED: dict[str, Callable[[], Fault]] = {
    "500": lambda: Fault(refused(500)),
    "500, though it was carried out": lambda: Fault(refused(500), done=True),
    "429, wait 3 s": lambda: Fault(refused(429, retry_after=3)),
    "403": lambda: Fault(refused(403, "Forbidden")),
    "404": lambda: Fault(refused(404, "NotFound")),
    "409": lambda: Fault(refused(409, "Conflict")),
}
UNREAD: dict[str, Callable[[], Fault]] = {
    "the operator is killed": lambda: Fault(Killed()),
    "no answer": lambda: Fault(Unreachable("no answer")),
    "500": lambda: Fault(refused(500)),
    "429, wait 3 s": lambda: Fault(refused(429, retry_after=3)),
    "403": lambda: Fault(refused(403, "Forbidden")),
    "404": lambda: Fault(refused(404, "NotFound")),
    "410": lambda: Fault(refused(410, "Expired")),
}
DISTURBANCES = CUT_OFF | REFUSED | UNREAD
WRITES = ("create configmaps", "create events", "create pytorchjobs", "delete pytorchjobs", "patch configmaps",
          "patch hyperparamsearches/status")  # fmt: skip
# What is written for TrainJobs alone. All else goes the same way, and is sampled.
OF_TRAIN_JOBS = ("create trainingruntimes", "create trainjobs", "delete trainjobs")
READS = ("list hyperparamsearches", "list scaletests", "list pytorchjobs", "list pods", "list configmaps",
         "get configmaps")  # fmt: skip


# No API server says this of what is there. The next LISTs find it out; in bad weather a trial may run twice by then.
LIES = {("get configmaps", "404")} | {
    (request, what)
    for backend in BACKENDS.values()
    for request, what in (
        (f"delete {backend.jobs.plural}", "404"),
        (f"delete {backend.jobs.plural}", "409"),
        (f"list {backend.jobs.plural}", "404"),
    )
}


def words(backend: str, *requests: str) -> tuple[str, ...]:
    """Requests as they are called where trials run so."""
    return tuple(each.replace(JOBS.plural, BACKENDS[backend].jobs.plural) for each in requests)


def assert_ends_the_same(request: str, number: int, what: str, backend: str = "PyTorchJob") -> None:
    """The search whose n-th request of a kind goes wrong, within a time in which there is no second LIST."""
    here = started(backend)
    here.kube.fails[request] = [None] * number + [DISTURBANCES[what]()]
    for _ in range(70 if (request, what) in LIES else 25):
        here.play(script, seconds=2)
        if not here.jobs() and outcome(here) == undisturbed(backend)[0]:
            break
    assert not here.kube.fails[request], f"number {number} was met"
    assert outcome(here) == undisturbed(backend)[0], f"number {number}"
    assert_in_order(here)


def test_no_kind_of_write_is_left_out_here() -> None:
    assert undisturbed()[1].keys() == set(WRITES)
    assert undisturbed("TrainJob")[1].keys() == {*words("TrainJob", *WRITES), *OF_TRAIN_JOBS}


@pytest.mark.parametrize("what", CUT_OFF)
@pytest.mark.parametrize("write", WRITES)
def test_whichever_write_is_cut_off_the_search_ends_the_same(write: str, what: str) -> None:
    for number in range(undisturbed()[1][write]):
        assert_ends_the_same(write, number, what)


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("write", WRITES)
def test_whichever_write_is_refused_the_search_ends_the_same(write: str, what: str, sweep: Sweep) -> None:
    for seed in sweep.seeds(sample=1, full=10):
        assert_ends_the_same(write, seed % undisturbed()[1][write], what)


@pytest.mark.parametrize("what", CUT_OFF)
@pytest.mark.parametrize("write", OF_TRAIN_JOBS)
def test_whichever_write_for_train_jobs_is_cut_off_the_search_ends_the_same(write: str, what: str) -> None:
    for number in range(undisturbed("TrainJob")[1][write]):
        assert_ends_the_same(write, number, what, "TrainJob")


@pytest.mark.parametrize("what", CUT_OFF | REFUSED)
def test_whichever_write_goes_wrong_a_search_of_train_jobs_ends_the_same(what: str, sweep: Sweep) -> None:
    writes = sorted(undisturbed("TrainJob")[1].elements())
    for seed in sweep.seeds(sample=3, full=60):
        write = random.Random(seed).choice(writes)
        number = seed % undisturbed("TrainJob")[1][write]
        assert_ends_the_same(write, number, what, "TrainJob")


@pytest.mark.parametrize("what", UNREAD)
def test_whichever_list_of_train_jobs_goes_wrong_the_search_ends_the_same(what: str) -> None:
    assert_ends_the_same("list trainjobs", 0, what, "TrainJob")


@pytest.mark.parametrize("what", UNREAD)
@pytest.mark.parametrize("read", READS)
def test_whichever_read_goes_wrong_the_search_ends_the_same(read: str, what: str) -> None:
    assert_ends_the_same(read, 0, what)


# --- what the API server asks and what others do --------------------------------------------------------------------


@pytest.mark.parametrize("write", [each for each in WRITES if each != "create events"])
def test_the_api_server_is_left_alone_for_as_long_as_it_asks(write: str) -> None:
    here = started()
    here.kube.fails[write] = [Fault(refused(429, retry_after=20))]
    while here.kube.fails[write]:
        here.play(script, seconds=2)
    before = here.kube.writes.count(write)
    here.play(script, seconds=16)
    assert here.kube.writes.count(write) == before
    here.play(script, seconds=30)
    assert outcome(here) == undisturbed()[0]


@EITHER
def test_a_job_that_was_created_without_an_answer_takes_its_place_though_no_watch_tells_of_it(backend: str) -> None:
    here = started(backend)
    here.wait(3)
    here.pods_run()
    here.kube.fails[words(backend, "create pytorchjobs")[0]] = [Fault(Unreachable("no answer"), done=True)] * 2
    here.pods_end(script)
    here.operators[0].hear(here.operators[0].unheard())
    here.operators[0].deaf = True
    here.wait(5)
    assert here.jobs() == ["0.1", "1.1", "2.1", "3.1"], "the evicted trial waits until one of the others has ended"
    here.operators[0].deaf = False
    here.play(script)
    assert outcome(here) == undisturbed(backend)[0]
    assert_in_order(here)


@pytest.mark.parametrize("jobs", [(), ("pytorchjobs",)])
@EITHER
def test_two_operators_at_once_come_to_the_same_end(backend: str, jobs: tuple[str, ...]) -> None:
    here = started(backend)
    other = here.another()
    for plural in jobs:  # so that they ask for the same in another order
        other.kube.fails[words(backend, f"create {plural}")[0]] = [Fault(Unreachable("no answer"))]
    here.play(script)
    assert outcome(here) == undisturbed(backend)[0]
    assert_in_order(here)
    assert other.kube.writes.count("patch hyperparamsearches/status") > 1


@EITHER
def test_of_two_operators_records_of_an_attempt_the_first_stays(backend: str) -> None:
    here = started(backend)
    other = here.another()
    here.wait(3)
    other.deaf = True
    here.pods_run()
    here.pods_end(script)
    here.wait(1)
    first = here.ledger()
    assert [record.outcome for record in first] == ["Succeeded", "Evicted"]
    here.operators.remove(other)
    other.deaf = False
    here.clock.milliseconds += 5000
    here.operators = [other]
    here.wait(0)
    assert other.kube.writes[-3:].count("create configmaps") == 1, "it knew of no ledger"
    assert here.ledger()[:2] == first
    here.play(script)
    assert_in_order(here)
    assert outcome(here) == undisturbed(backend)[0]


@EITHER
def test_an_operator_with_an_old_view_runs_nothing_again_that_another_has_recorded_and_tidied_up(
    backend: str,
) -> None:
    here = started(backend)
    late = here.another()
    late.kube.fails[words(backend, "create pytorchjobs")[0]] = [Fault(refused(500))] * 2
    here.wait(0)
    late.deaf = True
    here.operators.remove(late)
    here.play(script, seconds=40)
    assert outcome(here) == undisturbed(backend)[0]
    here.operators = [late]
    here.wait(5)
    here.play(script)
    assert_in_order(here)
    assert outcome(here) == undisturbed(backend)[0]


def ledger_path(here: Lookout) -> str:
    (ledger,) = (each for each in here.of(CONFIG_MAPS) if LEDGER_LABEL in each["metadata"]["labels"])
    return CONFIG_MAPS.path("team-a", ledger["metadata"]["name"])


@EITHER
def test_a_ledger_deleted_by_hand_is_written_again_from_the_jobs_after_the_next_list(backend: str) -> None:
    here = Lookout(backend=backend)
    here.apply(a_search(4, parallelTrials=PARALLEL))
    here.play(lambda name: None if name == "3.1" else script(name), seconds=20)
    before = here.records()
    assert len(before) == 4
    here.delete(ledger_path(here))
    here.play(lambda _: None, seconds=42)
    assert here.records() == before
    here.play(script)
    assert (here.status()["phase"], here.status()["done"]) == ("Succeeded", "4/4")
    assert here.jobs() == ["0.1", "1.1", "1.2", "2.1", "3.1"], "nothing was run again"


def test_a_ledger_deleted_after_the_end_is_written_again_by_the_next_process() -> None:
    here = Lookout()
    here.apply(a_search(4, parallelTrials=PARALLEL))
    here.play(script)
    before, status = here.records(), here.status()
    here.delete(ledger_path(here))
    here.wait(70)
    assert here.records() == {}, "what is over is not looked at again and again"
    here.restart()
    here.play(script)
    assert (here.records(), here.status()) == (before, status)


def test_a_status_for_an_experiment_that_has_changed_unheard_is_written_again_as_it_is_now() -> None:
    here = started()
    here.wait(3)
    (operator,) = here.operators
    operator.deaf = True
    here.change(suspend=True)
    here.pods_run()
    here.pods_end(script)
    pods = [event for event in operator.unheard() if event["object"]["kind"] != here.key.kind]
    operator.hear(pods)
    here.wait(3)
    assert here.condition() == ("False", c.SUSPENDED)
    assert here.status()["observedGeneration"] == 2
    operator.deaf = False
    here.change(suspend=False)
    here.play(script)
    assert here.status()["done"] == "4/4"


@EITHER
def test_an_experiment_deleted_unheard_is_found_out_by_the_next_write(backend: str) -> None:
    here = started(backend)
    here.wait(3)
    (operator,) = here.operators
    operator.deaf = True
    here.pods_run()
    here.pods_end(script)
    told = operator.unheard()
    here.delete()
    operator.hear(told)
    here.wait(3)
    before = len(here.kube.writes)
    here.api.collect()
    here.wait(30)
    assert len(here.kube.writes) == before, "it knows, before any watch or LIST tells"
    assert here.jobs() == []


@EITHER
def test_what_a_quota_refuses_is_told_and_tried_again_at_growing_intervals(backend: str) -> None:
    here = started(backend)
    here.kube.fails[words(backend, "create pytorchjobs")[0]] = [Fault(refused(403, "Forbidden"))] * 9
    here.wait(20)
    assert here.condition() == ("False", c.CREATION_REFUSED)
    assert here.kube.writes.count(words(backend, "create pytorchjobs")[0]) <= 8, "not with every look"
    assert here.told() == [c.CREATION_REFUSED]
    here.play(script, seconds=100)
    assert outcome(here) == undisturbed(backend)[0]


@EITHER
def test_a_quota_of_jobs_holds_up_no_search_whose_ended_jobs_fill_it(backend: str) -> None:
    here = Lookout(backend=backend)
    here.api.quotas[f"{here.backend.jobs.plural}.{here.backend.jobs.group}"] = 6
    here.apply(a_search(18, parallelTrials=6))
    here.play(seconds=150)
    assert here.records() == {f"{index}.1": "Succeeded" for index in range(18)}
    assert (here.condition("Finished"), len(here.jobs())) == (("True", c.ALL_TRIALS_DONE), 6)
    progressing = next(each["message"] for each in here.status()["conditions"] if each["type"] == c.PROGRESSING)
    assert c.MADE_ROOM_MESSAGE in progressing
    assert c.CREATION_REFUSED not in here.told()


@EITHER
def test_a_quota_that_others_fill_is_told(backend: str) -> None:
    here = Lookout(backend=backend)
    here.api.quotas[f"{here.backend.jobs.plural}.{here.backend.jobs.group}"] = 0
    here.apply(a_search(3))
    here.wait(30)
    assert here.condition() == ("False", c.CREATION_REFUSED)
    here.api.quotas.clear()
    here.play(seconds=100)
    assert here.condition("Finished") == ("True", c.ALL_TRIALS_DONE)


@EITHER
def test_of_a_job_that_has_ended_unseen_pods_are_asked_for_before_anything_is_believed(backend: str) -> None:
    here = started(backend)
    here.wait(3)
    (operator,) = here.operators
    operator.deaf = True
    here.pods_run()
    here.pods_end(script)
    operator.hear([event for event in operator.unheard() if event["object"]["kind"] == here.backend.jobs.kind])
    here.wait(35)
    assert here.records() == {"0.1": "Succeeded", "1.1": "Evicted, again"}, "no watch has told of a pod"
    operator.deaf = False
    here.play(script)
    assert outcome(here) == undisturbed(backend)[0]


# --- what watches tell, and how -------------------------------------------------------------------------------------

Telling = Callable[[list[Document], random.Random], tuple[list[Document], list[Document]]]
# Of what is to be told: what is told now, and what later.
WATCHES: dict[str, Telling] = {
    "at once": lambda events, _: (events, []),
    "twice": lambda events, _: (events + events, []),
    "out of order": lambda events, luck: (luck.sample(events, len(events)), []),
    "late": lambda events, luck: (events[: (cut := luck.randrange(len(events) + 1))], events[cut:]),
    "in part, and the rest never": lambda events, luck: ([each for each in events if luck.random() < 0.7], []),
    "nothing": lambda _events, _luck: ([], []),
}


@pytest.mark.parametrize("how", WATCHES)
@EITHER
def test_however_watches_tell_the_search_ends_the_same(backend: str, how: str, sweep: Sweep) -> None:
    for seed in sweep.seeds(sample=1, full=100):
        luck, here, later = random.Random(seed), started(backend), list[Document]()
        here.operators[0].deaf = True
        for _ in range(400):
            now, later = WATCHES[how](later + here.operators[0].unheard(), luck)
            here.operators[0].hear(now)
            here.play(script, seconds=2)
            if not here.jobs() and outcome(here) == undisturbed(backend)[0]:
                break
        assert outcome(here) == undisturbed(backend)[0], f"seed {seed}"
        assert_in_order(here)


@pytest.mark.parametrize(("backend", "sample"), [("PyTorchJob", 8), ("TrainJob", 4)])
def test_in_whatever_weather_one_operator_or_two_come_to_the_same_end(
    backend: str, sample: int, sweep: Sweep
) -> None:
    requests = sorted({*WRITES, *READS, *(OF_TRAIN_JOBS if backend == "TrainJob" else ())})
    for seed in sweep.seeds(sample=sample, full=2000):
        luck, here = random.Random(seed), started(backend)
        for operator in (here.operators[0], *(here.another() for _ in range(luck.randrange(2)))):
            for request in words(backend, *requests):
                what = [name for name in DISTURBANCES if (request, name) not in LIES]
                operator.kube.fails[request] = [
                    DISTURBANCES[luck.choice(what)]() if luck.random() < 0.3 else None for _ in range(6)
                ]
        for _ in range(150):
            for operator in here.operators:
                operator.deaf = True
                operator.hear(WATCHES[luck.choice(list(WATCHES))](operator.unheard(), luck)[0])
            here.play(script, seconds=2)
            if not here.jobs() and outcome(here) == undisturbed(backend)[0]:
                break
        assert outcome(here) == undisturbed(backend)[0], f"seed {seed}"
        assert_in_order(here)


# --- searches that learn --------------------------------------------------------------------------------------------

LEARNING = a_learning_search(14, parallelTrials=PARALLEL, ttlSecondsAfterFinished=0)


def learns(name: str) -> Stage:
    """All go well but two, as above."""
    ends: dict[str, Stage] = {"1.1": IS_EVICTED, "2.1": CRASHES}
    return ends.get(name, measures)


def assert_learns_to_its_end(here: Lookout, seconds: int = 120) -> None:
    """Whatever is suggested follows from the ledger as it was, and is tried once."""
    for _ in range(seconds // 2):
        here.play(learns, seconds=2)
        if not here.jobs() and here.condition("Finished")[0] == "True":
            break
    assert (here.status()["phase"], here.status()["done"], here.jobs()) == ("Succeeded", "14/14", [])
    ended = {"1.1": "Evicted, again", "1.2": "Succeeded", "2.1": "Crashed"}
    assert here.records() == {f"{index}.1": "Succeeded" for index in range(14)} | ended
    assert_in_order(here)
    replayed = Replayed(LEARNING).take(event["object"] for event in here.api.events if event["type"] != "DELETED")
    assert [each.number for each in replayed.suggestions] == list(range(14))
    assert replayed.jobs == set(range(14))


def learning() -> Lookout:
    here = Lookout()
    here.apply(LEARNING)
    return here


@cache
def undisturbed_learning() -> Counter[str]:
    """The writes of the search that learns when nothing disturbs it."""
    here = learning()
    assert_learns_to_its_end(here)
    return Counter(here.kube.writes)


@pytest.mark.slow
@pytest.mark.parametrize("what", CUT_OFF)
@pytest.mark.parametrize("write", WRITES)
def test_whichever_write_is_cut_off_no_suggestion_is_lost_or_made_twice(write: str, what: str, sweep: Sweep) -> None:
    count = undisturbed_learning()[write]
    for number in sorted({seed % count for seed in sweep.seeds(sample=3, full=count)}):
        here = learning()
        here.kube.fails[write] = [None] * number + [DISTURBANCES[what]()]
        assert_learns_to_its_end(here)
        assert not here.kube.fails[write], f"number {number} was met"


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("write", ["create configmaps", "patch configmaps"])
def test_whichever_write_to_its_ledger_is_refused_a_search_learns_to_its_end(
    write: str, what: str, sweep: Sweep
) -> None:
    for seed in sweep.seeds(sample=2, full=20):
        here = learning()
        here.kube.fails[write] = [None] * (seed % undisturbed_learning()[write]) + [DISTURBANCES[what]()]
        assert_learns_to_its_end(here)


@pytest.mark.parametrize("late", [False, True])
def test_two_operators_at_once_try_no_point_twice(late: bool) -> None:
    here = learning()
    other = here.another()
    if late:  # one of them comes with each suggestion after the other
        other.kube.fails["create configmaps"] = [Fault(Unreachable("no answer"))]
    assert_learns_to_its_end(here)
    assert here.operators[0].studies.begun
    assert other.studies.begun


def test_in_whatever_weather_what_is_suggested_follows_from_the_ledger(sweep: Sweep) -> None:
    for seed in sweep.seeds(sample=4, full=500):
        luck, here = random.Random(seed), learning()
        for operator in (here.operators[0], *(here.another() for _ in range(luck.randrange(2)))):
            for request in (*WRITES, *READS):
                what = [name for name in DISTURBANCES if (request, name) not in LIES]
                operator.kube.fails[request] = [
                    DISTURBANCES[luck.choice(what)]() if luck.random() < 0.2 else None for _ in range(12)
                ]
        assert_learns_to_its_end(here, seconds=400)
