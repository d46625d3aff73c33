"""What the scheduler decides: properties of any course of events, and that both places decide alike."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.experiment.expand import Kind
from trainer.experiment.outcome import OUT_OF_MEMORY, Outcome
from trainer.experiment.record import Record
from trainer.scheduling.decide import Decision, Start, decide
from trainer.scheduling.history import History, by_run, is_done, is_failure
from trainer.scheduling.workload import Workload, baseline_trial, workload
from trialrun_operator.observe import Attempt
from trialrun_operator.plan import plan
from unit.builders import START, a_record, an_experiment
from unit.objects import a_job, a_running_pod

AGAIN = START + 3_600_000  # when it is run once more
OUTCOMES = [Outcome.SUCCEEDED, Outcome.CRASHED, Outcome.HOST_OOM, Outcome.TIMED_OUT]


def a_search(**spec: object) -> Workload:
    parameters = [{"name": "model.layers", "choices": [1, 2, 3, 4]}, {"name": "model.hiddenSize", "choices": [8, 16]}]
    search = an_experiment(**{"parameters": parameters} | spec)
    work = workload(search)
    return replace(work, baseline=baseline_trial(search, work.trials))


def a_test(**spec: object) -> Workload:
    axes = {"multipliers": [1, 2, 4], "workers": [1, 2]}
    return workload(an_experiment(**{"kind": "ScaleTest", "name": "scale", "axes": axes} | spec))


def some_work(rng: random.Random) -> Workload:
    order = rng.choice(["Listed", "Shuffled"])
    if rng.random() < 0.5:
        return a_test(order=order)
    baseline = rng.choice(["None", "Measure"])
    return a_search(order=order, maxFailedTrials=rng.randrange(9), repeats=rng.choice([1, 2]), baseline=baseline)


def state(history: History) -> tuple[object, ...]:
    return (
        [trial.id for trial in history.left],
        history.failed,
        sorted(record.id for record in history.out_of_memory),
        history.limits,
    )


class Place:
    """Somewhere that attempts run: what is decided is carried out, and attempts end in any order."""

    def __init__(
        self, work: Workload, ledger: Mapping[str, Sequence[Record]], accepted: int, rng: random.Random
    ) -> None:
        self.work = work
        self.history = History(work, ledger, accepted)
        self.records = [record for records in ledger.values() for record in records]
        self.live: dict[str, Start] = {}
        self.rng = rng
        self.now = accepted

    def decide(self, slots: int) -> Decision:
        live = list(self.live)
        self.rng.shuffle(live)
        return decide(self.work, self.history, live, free=slots - len(live), now=self.now)

    def carry_out(self, decision: Decision) -> None:
        for record in decision.skipped:
            self._ended(record)
        for identity in decision.stops:
            del self.live[identity]
        for start in decision.starts:
            assert start.trial.id not in self.live, "one attempt at a time"
            self.live[start.trial.id] = start
        kinds = [start.trial.kind for start in self.live.values()]
        assert Kind.BASELINE not in kinds or len(kinds) == 1, "a baseline runs alone"

    def happen(self) -> None:
        """Some of what runs ends."""
        self.now += 1000
        for start in self.rng.sample(
            sorted(self.live.values(), key=lambda one: one.trial.index), len(self.live) // 2 or 1
        ):
            del self.live[start.trial.id]
            outcome = self.rng.choice(OUTCOMES)
            times = {"accepted_at": self.history.accepted, "started_at": self.now}
            self._ended(a_record(start.trial, attempt=start.attempt, outcome=outcome, **times))

    def _ended(self, record: Record) -> None:
        self.history.add(record)
        self.records.append(record)


def run(place: Place, slots: int) -> None:
    """Until nothing is left to do; the rules hold at every step."""
    done: set[str] = set()
    for _ in range(200):
        decision = place.decide(slots)
        assert decision == place.decide(slots), "the order in which things are given makes no difference"
        assert not done & {start.trial.id for start in decision.starts}, "what is done with never comes back"
        place.carry_out(decision)
        assert len(place.live) <= slots
        again = place.decide(slots)
        assert not again.starts, "deciding again after it was carried out starts nothing"
        assert not again.skipped
        ledger = by_run(place.records)
        assert state(place.history) == state(History(place.work, ledger, place.history.accepted)), (
            "as from the ledger"
        )
        done = {each for each, records in ledger.items() if is_done(place.work, records[-1], place.history.accepted)}
        if decision.idle:
            assert not place.live
            return
        if place.live:
            place.happen()
    raise AssertionError("every experiment comes to an end")


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), slots=st.integers(1, 6))
def test_any_course_of_events_keeps_the_rules_also_when_it_is_run_again(seed: int, slots: int) -> None:
    rng = random.Random(seed)
    work = some_work(rng)
    first = Place(work, {}, START, rng)
    run(first, slots)
    ended = {record.id: record for record in first.records if work.by_id[record.id].kind is Kind.TRIAL}
    failures = sum(is_failure(record) for record in ended.values())
    budget = work.max_failed_trials
    assert len(ended) == len(work.trials) or (budget is not None and failures > budget)

    second = Place(work, by_run(first.records), AGAIN, rng)
    assert not {record.id for record in ended.values() if record.outcome is Outcome.SUCCEEDED} & {
        trial.id for trial in second.history.left
    }, "what succeeded is not run again, all else is"
    assert len(list(second.history.left)) == len(work.trials) - sum(
        record.outcome is Outcome.SUCCEEDED for record in ended.values()
    )
    run(second, slots)
    numbers = by_run(second.records)
    assert all(
        [record.attempt for record in records] == [*range(1, 1 + len(records))] for records in numbers.values()
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), slots=st.integers(1, 6), steps=st.integers(0, 12))
def test_a_cluster_starts_what_this_machine_would(seed: int, slots: int, steps: int) -> None:
    rng = random.Random(seed)
    work = some_work(rng)
    place = Place(work, {}, START, rng)
    for _ in range(steps):
        place.carry_out(place.decide(slots))
        if place.live:
            place.happen()
    spec = work.experiment.spec.model_copy(update={"parallel_trials": slots})
    there = replace(work, experiment=work.experiment.model_copy(update={"spec": spec}))
    jobs = [
        Attempt(
            a_job(each.trial, each.attempt),
            tuple(a_running_pod(each.trial, each.attempt, rank) for rank in range(each.trial.workers)),
        )
        for each in place.live.values()
    ]
    found = plan(there, by_run(place.records), jobs, accepted=START, now=START + 10_000)
    here = place.decide(slots)
    assert found.creates == here.starts
    assert {record.id for record in found.records} == {record.id for record in here.skipped}
    assert [each.name for each in found.deletes] == [a_job(work.by_id[each]).name for each in here.stops]
    assert (found.over, found.worthwhile, found.idle) == (here.over, here.worthwhile, here.idle)


def test_a_baseline_is_stopped_when_its_search_runs_again_and_measured_afterwards() -> None:
    work = a_search(baseline="Measure", maxFailedTrials=8)
    assert work.baseline is not None
    ledger = {trial.id: [a_record(trial)] for trial in work.order}
    ledger[work.order[0].id] = [a_record(work.order[0], outcome=Outcome.CRASHED)]
    assert decide(work, History(work, ledger, START), [], free=2, now=START).starts == (Start(work.baseline, 1),)
    again = decide(work, History(work, ledger, AGAIN), [work.baseline.id], free=2, now=START)
    assert (again.stops, again.starts) == ((work.baseline.id,), ())
    assert decide(work, History(work, ledger, AGAIN), [], free=2, now=START).starts == (Start(work.order[0], 2),)


def test_what_was_never_tried_comes_before_what_failed() -> None:
    work = a_search(maxFailedTrials=1)
    first, second, *rest = work.order
    ledger = {trial.id: [a_record(trial, outcome=Outcome.CRASHED)] for trial in (first, second)}
    assert decide(work, History(work, ledger, START), [], free=9, now=START).over, "the budget is used up"
    again = History(work, ledger, AGAIN)
    assert [trial.id for trial in again.left] == [trial.id for trial in (*rest, first, second)]
    lost = {first.id: [a_record(first, outcome=Outcome.NODE_LOST, final=False)]}
    retried = decide(work, History(work, lost, START), [], free=len(work.trials), now=START)
    assert [start.trial.id for start in retried.starts] == [trial.id for trial in (*work.order[1:], first)]
    assert retried.starts[-1].attempt == 2


def test_cells_keep_their_order_when_they_are_run_again() -> None:
    work = a_test()
    small = work.order[0]
    again = History(work, {small.id: [a_record(small, outcome=Outcome.HOST_OOM)]}, AGAIN)
    assert [trial.id for trial in again.left] == [trial.id for trial in work.order]


def test_a_cell_larger_than_one_that_ran_out_of_memory_is_skipped_before_its_turn() -> None:
    work = a_test()
    small, middle, large = (trial for trial in work.trials if trial.workers == 1)
    for outcome in OUT_OF_MEMORY:
        history = History(work, {small.id: [a_record(small, outcome=outcome)]}, START)
        decision = decide(work, history, [], free=1, now=START)
        assert [record.id for record in decision.skipped] == [middle.id, large.id]
        assert {start.trial.workers for start in decision.starts} == {2}
