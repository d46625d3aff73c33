"""The comparison as a newcomer reads it in the terminal."""

from trainer.experiment.entries import Entries
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Charged, Environment, Memory
from trainer.report.compare_facts import Pair, side
from trainer.report.compare_text import compared
from unit.builders import four, ran
from unit.ledger_pairs import one_at_a_time, pair_of, two_at_a_time, two_scale_tests

ID = ran(0, 1).id


def test_two_comparable_searches() -> None:
    assert compared(pair_of(one_at_a_time(), two_at_a_time())).splitlines() == [
        "A  there  the baseline",
        "B  here   is compared with it",
        "",
        "                      A               B",
        "  experiment          sp500-grid      sp500-grid",
        "  trials succeeded    4 of 4          4 of 4",
        "  success rate        100 %           100 %",
        "  wall time           12.0 s          6.00 s",
        "  mean per trial      3.00 s          3.00 s",
        "  most at once        1               2",
        "  slots waiting       0 %             0 %",
        "  slots starting      5 %             5 %",
        "  slots loading data  10 %            10 %",
        "  slots training      85 %            85 %",
        "  peak memory         412 MiB         412 MiB",
        "  best validMse       0.0002          0.0002",
        f"  best trial          0 ({ID})  0 ({ID})",
        "  model.layers        1               1",
        "",
        "A took 12.0 s, B took 6.00 s, so A took 2 times as long. The two are comparable.",
        "  elapsed ratio   2       wall time of A / wall time of B",
        "  time saved      6.00 s  wall time of A − wall time of B",
        "  speedup         2       the elapsed ratio, as the two are comparable",
        "  efficiency      100 %   speedup / (2 / 1 slots)",
        "  training ratio  1       training seconds of all trials, B / A; above 1, B's slowed each other down",
        "",
        "Metrics:",
        "  All 4 trials that succeeded in both agree to the bit in all metrics.",
        "  A: Trial 0 is not alone: trials 1, 2, 3 have the same validMse. The one listed first is named.",
        "  B: Trial 0 is not alone: trials 1, 2, 3 have the same validMse. The one listed first is named.",
        "  The best trial is the same in both.",
    ]


def test_what_differs_is_named_and_the_speedup_withheld() -> None:
    text = compared(pair_of(one_at_a_time(), two_at_a_time(environment=Environment(cpu="Another"))))
    assert "so A took 2 times as long. The two are not comparable, so that is no speedup." in text
    assert "  speedup, efficiency  withheld" in text
    assert "What differs (here is B, there is A):\n  packages: unknown here, python" in text
    assert "\n  CPU: Another here, A CPU there\n" in text


def test_metrics_that_differ_and_trials_that_ended_differently_are_told() -> None:
    b = two_at_a_time(value=0.0004)
    b[3] = ran(3, 6, trial=3, outcome=Outcome.HOST_OOM)
    text = compared(pair_of(one_at_a_time(), b))
    assert "  None of 3 trials that succeeded in both agree to the bit in all metrics.\n" in text
    told = f"  The largest relative difference is 0.5: validMae of trial 0 ({ID}), 0.008 in A and 0.016 in B.\n"
    assert told in text
    assert f"  Trial 3 ({b[3].id}): Succeeded in A, HostOOM in B.\n" in text
    assert "  trials succeeded    4 of 4          3 of 4, 1 HostOOM\n" in text


def test_a_run_that_took_longer_than_the_baseline_is_told_as_such() -> None:
    text = compared(pair_of(two_at_a_time(), one_at_a_time()))
    assert "A took 6.00 s, B took 12.0 s, so B took 2 times as long." in text
    assert "  time saved           −6.00 s" in text
    assert "  baseline: ran 2 trials at once, a baseline runs one" in text


def test_a_side_without_records_is_told_as_such() -> None:
    text = compared(pair_of(one_at_a_time(), []))
    assert "No trial has run in B, so there are no times to compare." in text
    assert "  trials succeeded    4 of 4          0 of 4, 4 not run" in text
    assert "  wall time           12.0 s          –" in text


def test_cost_is_shown_where_prices_are_given() -> None:
    priced = four(prices={"cpuHour": 3600}, pod={"resources": {"requests": {"cpu": "1"}}}, parallelTrials=2)
    assert "  cost                12              12\n" in compared(pair_of(one_at_a_time(), two_at_a_time(), priced))
    assert "cost" not in compared(pair_of(one_at_a_time(), two_at_a_time()))


def test_only_a_cluster_is_told_what_ate_its_gain() -> None:
    slow = one_at_a_time()
    there = side("a", four(), Entries(two_at_a_time()))
    here = four()
    on_cluster = here.model_copy(update={"metadata": here.metadata.model_copy(update={"uid": "1234"})})
    assert "bought nothing" in compared(Pair(there, side("b", on_cluster, Entries(slow))))
    assert "bought nothing" not in compared(Pair(there, side("b", here, Entries(slow))))


def test_two_scale_tests() -> None:
    text = compared(two_scale_tests())
    assert "The largest training set: with 1 worker A carried 10x, B 1x; with 2 workers A carried 10x, B 50x." in text
    assert (
        "   50x        2  HostOOM    4.00 s          –       50 MiB  Succeeded  4.00 s     25,000       50 MiB"
        in text
    )
    assert text.splitlines()[-8:-3] == [
        "Carried by one alone:",
        "  10x with 1 worker: HostOOM in B, succeeds in A.",
        "  50x with 2 workers: HostOOM in A, succeeds in B.",
        "",
        "Metrics:",
    ]
    assert "speedup" not in text


def test_peaks_that_count_something_else_are_not_held_against_each_other() -> None:
    charged = Charged(floor_bytes=1, peak_bytes=300 * 2**20, mean_bytes=2)
    memory = Memory(peak_bytes=430 * 2**20, mean_bytes=2)
    sides = [
        side(name, four(), Entries([ran(0, 1, memory=(each,))]))
        for name, each in (("a", memory.model_copy(update={"cgroup": charged})), ("b", memory))
    ]
    said = "Peak memory is what a cgroup was charged with in A and resident memory in B"
    text = compared(Pair(*sides))
    assert said in text
    assert "300 MiB" in text
    assert said not in compared(Pair(sides[0], sides[0]))
    assert "Peak memory is" not in compared(Pair(sides[1], sides[1]))
