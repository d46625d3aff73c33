"""The operator is killed before and after every write, and run twice at once: always the same end, no job twice."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Json
from cluster.faultyapi import NO_FAULT, Fault, FaultyApi, Request
from cluster.kinds import over_both
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import OperatorProcess
from cluster.rounds import side_by_side
from cluster.sweptsearch import (
    LEARNING,
    POINTS,
    SEARCH,
    Place,
    assert_learnt,
    assert_leaves_nothing,
    assert_nothing_twice,
    assert_same_outcome,
    finished,
    learns,
    ledger_watched,
    place,
)
from cluster.testcluster import Cluster
from conftest import TORTURE, Sweep
from eventually import eventually
from trialrun_operator.backends.backend import Backend

pytestmark = pytest.mark.usefixtures("crds")

AT_ONCE = 5
# A crash may cost the Events of the write that it interrupts, and those of the write that runs beside it.
MOST_EVENTS_LOST = 2


@dataclass(frozen=True)
class Crash:
    """The operator is killed as it asks for its n-th write of a kind: before that is carried out, or after."""

    kind: str
    number: int
    before: bool

    def __str__(self) -> str:
        return f"killed {'before' if self.before else 'after'} {self.kind} number {self.number}"


@dataclass(frozen=True)
class Round:
    """What was seen in a round: how many writes of each kind, how many processes, and the search's Events."""

    writes: Counter[str]
    killed: bool
    starts: int
    events: Counter[str]


def run_once(
    cluster: Cluster,
    kubelet: KubeletPlayer,
    workdir: Path,
    undisturbed: dict[str, Any],
    crash: Crash | None,
    backend: Backend,
) -> Round:
    """Runs the search once, with a crash or without."""
    with place(cluster, kubelet, workdir, backend=backend) as here:
        return run_in(here, SEARCH, crash, lambda: assert_same_outcome(here.experiments, undisturbed))


def learn_once(cluster: Cluster, kubelet: KubeletPlayer, workdir: Path, crash: Crash | None) -> Round:
    """Runs a search that learns once, with a crash or without."""
    with place(cluster, kubelet, workdir, learns) as here, ledger_watched(here.experiments) as replayed:
        return run_in(here, LEARNING, crash, lambda: assert_learnt(here.experiments, replayed))


def run_in(here: Place, search: Json, crash: Crash | None, then: Callable[[], None]) -> Round:
    """Runs a search in its place, and looks at what came of it."""
    writes: Counter[str] = Counter()
    kills = 0
    with FaultyApi(here.experiments.cluster.access) as proxy, here.operator(proxy) as process:

        def kill() -> None:
            nonlocal kills
            kills += 1
            process.kill()

        def on_request(request: Request) -> Fault:
            if not request.write:
                return NO_FAULT
            writes[request.kind] += 1
            if crash is None or request.kind != crash.kind or writes[request.kind] != crash.number:
                return NO_FAULT
            return Fault(lost=crash.before, unanswered=not crash.before, then=kill)

        proxy.on_request = on_request
        here.experiments.create(search)
        finished(here.experiments)
        if kills:  # at the last writes, too, another process follows, and it must let well alone
            eventually(lambda: process.starts == 2, what="the next process starts")
            process.wait_until_ready()
        then()
        events = assert_nothing_twice(here.experiments, [proxy])
        assert_leaves_nothing(here.experiments)
        assert process.starts == 1 + kills
    return Round(writes, bool(kills), process.starts, events)


@pytest.mark.torture
@over_both
def test_killed_before_and_after_any_write_it_comes_to_the_same_end(
    cluster: Cluster,
    kubelet: KubeletPlayer,
    undisturbed: dict[str, Any],
    tmp_path: Path,
    sweep: Sweep,
    say: Callable[[str], None],
    backend: Backend,
) -> None:
    def run(crash: Crash | None) -> Round:
        return run_once(cluster, kubelet, tmp_path, undisturbed, crash, backend)

    calm = run(None)
    most = Counter(calm.writes)
    tried: Counter[str] = Counter()
    rounds: dict[Crash, Round] = {}
    # How many writes there are differs from run to run: the sweep goes on until no run had one that was not tried.
    while points := [
        Crash(kind, number, before)
        for kind in most
        for number in range(tried[kind] + 1, most[kind] + 1)
        for before in (True, False)
    ]:
        if not TORTURE:
            points = [points[seed * 7919 % len(points)] for seed in sweep.seeds(sample=2, full=0)]
        rounds |= side_by_side(dict.fromkeys(points), run, at_once=AT_ONCE, say=say)
        tried = Counter(most)
        for each in rounds.values() if TORTURE else ():
            most |= each.writes
    killed = [crash for crash, each in rounds.items() if each.killed]
    lost = max(sum((calm.events - each.events).values()) for each in rounds.values())
    say(
        f"{len(killed)} crashes in {len(rounds)} rounds, {backend.jobs.kind}s ({_listed(most)}): always the same end,"
        f" 0 jobs twice, 0 orphans, 0 records lost; Events: {sum(calm.events.values())} in a calm run, 0 twice,"
        f" at most {lost} lost"
    )
    fewest = {kind: min(each.writes[kind] for each in (calm, *rounds.values())) for kind in most}
    assert {crash for crash in rounds if crash.number <= fewest[crash.kind]} <= set(killed)
    assert killed
    assert lost <= MOST_EVENTS_LOST


@pytest.mark.torture
def test_killed_before_and_after_any_write_a_search_that_learns_loses_no_suggestion_and_makes_none_twice(
    cluster: Cluster, kubelet: KubeletPlayer, tmp_path: Path, sweep: Sweep, say: Callable[[str], None]
) -> None:
    def run(crash: Crash | None) -> Round:
        return learn_once(cluster, kubelet, tmp_path, crash)

    calm = run(None)
    points = [
        Crash(kind, number, before)
        for kind, count in sorted(calm.writes.items())
        for number in range(1, count + 1)
        for before in (True, False)
    ]
    if not TORTURE:
        points = [points[seed * 7919 % len(points)] for seed in sweep.seeds(sample=3, full=0)]
    rounds = side_by_side(dict.fromkeys(points), run, at_once=AT_ONCE, say=say)
    killed = sum(each.killed for each in rounds.values())
    say(
        f"{killed} crashes in {len(rounds)} rounds of a search that learns ({_listed(calm.writes)}): every "
        "suggestion follows from the ledger as it was, 0 lost, 0 made twice, 0 points or jobs twice"
    )
    assert killed


@contextmanager
def two_operators(cluster: Cluster, here: Place) -> Iterator[tuple[list[FaultyApi], list[OperatorProcess]]]:
    """Two operators of one place, both of them ready, and what each asks by."""
    with (
        FaultyApi(cluster.access) as one,
        FaultyApi(cluster.access) as other,
        here.operator(one) as first,
        here.operator(other, "other") as second,
    ):
        first.wait_until_ready()
        second.wait_until_ready()
        yield [one, other], [first, second]


@pytest.mark.torture
def test_two_operators_at_once_try_no_point_twice(
    cluster: Cluster, kubelet: KubeletPlayer, tmp_path: Path, sweep: Sweep, say: Callable[[str], None]
) -> None:
    def run(_seed: int) -> float:
        with (
            place(cluster, kubelet, tmp_path, learns) as here,
            ledger_watched(here.experiments) as replayed,
            two_operators(cluster, here) as (apis, operators),
        ):
            here.experiments.create(LEARNING)
            finished(here.experiments)
            assert_learnt(here.experiments, replayed)
            assert_nothing_twice(here.experiments, apis)
            assert [each.starts for each in operators] == [1, 1]
            suggested = [each.figures()["trialrun_suggestions_total"] for each in operators]
            assert sum(suggested) == POINTS
            assert_leaves_nothing(here.experiments)
        return min(suggested)

    shares = side_by_side(sweep.seeds(sample=2, full=20), run, at_once=3, say=say).values()
    say(f"{len(shares)} runs of two operators: 0 points twice; the one with fewer suggested {sum(shares):.0f} in all")


def _listed(writes: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(writes.items()))


@pytest.mark.torture
@over_both
def test_two_operators_at_once_make_no_job_twice(
    cluster: Cluster,
    kubelet: KubeletPlayer,
    undisturbed: dict[str, Any],
    tmp_path: Path,
    sweep: Sweep,
    say: Callable[[str], None],
    backend: Backend,
) -> None:
    def run(_seed: int) -> int:
        with (
            place(cluster, kubelet, tmp_path, backend=backend) as here,
            two_operators(cluster, here) as (apis, operators),
        ):
            here.experiments.create(SEARCH)
            finished(here.experiments)
            assert_same_outcome(here.experiments, undisturbed)
            assert_nothing_twice(here.experiments, apis)
            conflicts = sum(
                value
                for process in operators
                for name, value in process.figures().items()
                if name.startswith("trialrun_api_calls_total") and 'code="409"' in name
            )
            assert [each.starts for each in operators] == [1, 1]
            assert_leaves_nothing(here.experiments)
        return int(conflicts)

    conflicts = side_by_side(sweep.seeds(sample=2, full=20), run, at_once=3, say=say).values()
    say(f"{len(conflicts)} runs of two operators: 0 jobs twice, {sum(conflicts)} times one came after the other")
    assert sum(conflicts) > 0, "they did get in each other's way"
