"""The comparison as a newcomer reads it in the terminal."""

from trainer.experiment.entries import Entries
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Charged, Environment, Memory
from trainer.report.compare import Pair, against_first, side
from trainer.report.compare_view import comparison_page
from trainer.report.text import text
from unit.builders import a_record, an_experiment, four, ran
from unit.ledger_pairs import OOM, a_scale_test, one_at_a_time, pair_of, two_at_a_time, two_scale_tests

ID = ran(0, 1).id


def compared(*pairs: Pair) -> str:
    return text(comparison_page(pairs))


def in_one_line(said: str) -> str:
    return " ".join(said.split())


def test_two_comparable_searches() -> None:
    assert compared(pair_of(one_at_a_time(), two_at_a_time())).splitlines() == [
        "Comparison of two hyperparameter searches: sp500-grid",
        "",
        "Neither is better: the best validMse is 0.0002 in both A and B.",
        "",
        "A is the baseline, the others are compared with it.",
        "     best validMse  repeats  minus A's  95 % interval  run",
        "  A         0.0002        1          –              –  there",
        "  B         0.0002        1      0.000              –  here",
        "",
        "What was changed",
        "  Nothing: the files say the same, what they leave out put in.",
        "",
        "Time and cost",
        "  A took 12.0 s, B took 6.00 s, so A took 2 times as long. The two are comparable.",
        "  elapsed ratio   2       wall time of A / wall time of B",
        "  time saved      6.00 s  wall time of A − wall time of B",
        "  speedup         2       the elapsed ratio, as the two are comparable",
        "  efficiency      100 %   speedup / (2 / 1 slots)",
        "  training ratio  1       training seconds of all trials, B / A; above 1, B's slowed each other down",
        "",
        "Metrics",
        "  - All 4 trials that succeeded in both agree to the bit in all metrics.",
        "  - The best trial is the same in both.",
        "  - A: Trial 0 is not alone: trials 1, 2, 3 have the same validMse. The one listed first is named.",
        "  - B: Trial 0 is not alone: trials 1, 2, 3 have the same validMse. The one listed first is named.",
        "",
        "Side by side",
        "  Each by itself",
        "                        A               B",
        "    experiment          sp500-grid      sp500-grid",
        "    trials succeeded    4 of 4          4 of 4",
        "    success rate        100 %           100 %",
        "    wall time           12.0 s          6.00 s",
        "    mean per trial      3.00 s          3.00 s",
        "    most at once        1               2",
        "    slots waiting       0 %             0 %",
        "    slots starting      5 %             5 %",
        "    slots loading data  10 %            10 %",
        "    slots training      85 %            85 %",
        "    peak memory         412 MiB         412 MiB",
        "    best validMse       0.0002          0.0002",
        f"    best trial          0 ({ID})  0 ({ID})",
        "    model.layers        1               1",
    ]


def test_what_differs_is_named_and_the_speedup_withheld() -> None:
    text = compared(pair_of(one_at_a_time(), two_at_a_time(environment=Environment(cpu="Another"))))
    assert "so A took 2 times as long. The two are not comparable, so that is no speedup." in in_one_line(text)
    assert "  speedup         withheld" in text
    assert "Why that is no speedup (here is B, there is A):\n  - packages: unknown here, python" in text
    assert "\n  - CPU: Another here, A CPU there\n" in text


def test_metrics_that_differ_and_trials_that_ended_differently_are_told() -> None:
    b = two_at_a_time(value=0.0004)
    b[3] = ran(3, 6, trial=3, outcome=Outcome.HOST_OOM)
    text = compared(pair_of(one_at_a_time(), b))
    assert "  - None of 3 trials that succeeded in both agree to the bit in all metrics.\n" in text
    told = f"- The largest relative difference is 0.5: validMae of trial 0 ({ID}), 0.008 in A and 0.016 in B."
    assert told in in_one_line(text)
    assert f"  - Trial 3 ({b[3].id}): Succeeded in A, HostOOM in B.\n" in text
    assert "  trials succeeded    4 of 4          3 of 4, 1 HostOOM\n" in text


def test_a_run_that_took_longer_than_the_baseline_is_told_as_such() -> None:
    text = compared(pair_of(two_at_a_time(), one_at_a_time()))
    assert "A took 6.00 s, B took 12.0 s, so B took 2 times as long." in text
    assert "  time saved      −6.00 s" in text
    assert "  - baseline: ran 2 trials at once, a baseline runs one" in text


def test_a_side_without_records_is_told_as_such() -> None:
    text = compared(pair_of(one_at_a_time(), []))
    assert "No trial has run in B, so there are no times to compare." in text
    assert "  trials succeeded    4 of 4          0 of 4, 4 not run" in text
    assert "  wall time           12.0 s          –" in text


def test_cost_is_shown_where_prices_are_given() -> None:
    priced = four(prices={"cpuHour": 3600}, pod={"resources": {"requests": {"cpu": "1"}}}, parallelTrials=2)
    text = compared(pair_of(one_at_a_time(), two_at_a_time(), priced))
    assert "  cost of B       12      of what was allocated to pods, at B's prices\n" in text
    assert "  cost of A       12      the same, at B's prices too\n" in text
    back = compared(
        Pair(side("here", priced, Entries(one_at_a_time())), side("there", four(), Entries(two_at_a_time())))
    )
    assert "  cost of A       12      at A's prices; B's file has none\n" in back
    assert "cost of" not in compared(pair_of(one_at_a_time(), two_at_a_time()))


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
    assert (
        "The largest size that each side carried\n"
        "  By worker count\n"
        "                 A    B\n"
        "    1 worker   10x   1x\n"
        "    2 workers  10x  50x\n"
        "\n"
        "  Carried by one side alone:\n"
        "  - 10x with 1 worker: HostOOM in B, succeeds in A.\n"
        "  - 50x with 2 workers: HostOOM in A, succeeds in B.\n"
    ) in text
    assert "speedup" not in text


def test_peaks_that_count_something_else_are_not_held_against_each_other() -> None:
    charged = Charged(floor_bytes=1, peak_bytes=300 * 2**20, mean_bytes=2)
    memory = Memory(peak_bytes=430 * 2**20, mean_bytes=2)
    sides = [
        side(name, four(), Entries([ran(0, 1, memory=(each,))]))
        for name, each in (("a", memory.model_copy(update={"cgroup": charged})), ("b", memory))
    ]
    said = "Peak memory is what a cgroup was charged with in A and resident memory in B"
    text = in_one_line(compared(Pair(*sides)))
    assert said in text
    assert "300 MiB" in text
    assert said not in in_one_line(compared(Pair(sides[0], sides[0])))
    assert "Peak memory is" not in compared(Pair(sides[1], sides[1]))


def test_of_two_searches_it_is_said_first_which_is_better_and_what_was_changed() -> None:
    spread = {"parameters": [{"name": "model.layers", "choices": [1]}], "repeats": 3}
    sides = []
    for name, epochs, values in (("one", 20, (3.0, 3.1, 2.9)), ("two", 40, (1.0, 1.1, 0.9))):
        experiment = an_experiment(**spread, training={"train": {"epochs": epochs}})
        records = [a_record(trial, value=value) for trial, value in zip(expand(experiment), values, strict=True)]
        sides.append(side(name, experiment, Entries(records)))
    assert compared(Pair(*sides)).splitlines()[2:14] == [
        "B is better: the best validMse is 1 in B, 3 in A, lower by 2.000 (95 % interval 1.773 to 2.227),",
        "that is 66.7 %.",
        "",
        "A is the baseline, the others are compared with it.",
        "     best validMse  repeats  minus A's     95 % interval  run",
        "  A              3        3          –                 –  one",
        "  B              1        3     −2.000  −2.227 to −1.773  two",
        "",
        "What was changed",
        "  Fields of spec that differ, what files leave out put in; – is what one doesn't have.",
        "    field                  A   B",
        "    training.train.epochs  20  40",
    ]


def test_three_searches_are_ranked_and_each_held_against_the_first() -> None:
    sides = [
        side(name, four(), Entries(one_at_a_time(value=value))) for name, value in (("x", 3), ("y", 1), ("z", 4))
    ]
    said = compared(*against_first(sides))
    assert said.startswith(
        "Comparison of three hyperparameter searches: sp500-grid\n\nThe best validMse is B's, 1, then A 3 and C 4."
    )
    text = in_one_line(said)
    assert "- B's best is better, but that may be chance: the best validMse is 1 in B, 3 in A, lower by 2.000" in text
    assert (
        "- A's best is better, but that may be chance: the best validMse is 4 in C, 3 in A, higher by 1.000" in text
    )
    assert text.count("Each best is a single run, so chance is not ruled out") == 1
    assert "Each is held against A alone, and no interval is widened for their number." in text
    assert "Each against A B C elapsed ratio 1 1 time saved 0.00 s 0.00 s speedup 1 1" in text
    assert "- C: None of 4 trials that succeeded in both agree to the bit in all metrics." in text
    assert "experiment sp500-grid sp500-grid sp500-grid" in text


def test_where_one_of_three_can_not_be_compared_no_order_is_told() -> None:
    by_mae = four(objective={"metric": "validMae"})
    sides = [side("x", four(), Entries(one_at_a_time())), side("y", four(), Entries(one_at_a_time()))]
    said = in_one_line(compared(*against_first([*sides, side("z", by_mae, Entries(one_at_a_time()))])))
    assert "Of 3 runs, not all can be compared with A." in said
    assert "Which is better, A or C, can't be said. A is a search by validMse, C by validMae." in said
    assert "objective.metric validMse validMse validMae" in said


def test_three_scale_tests_have_a_column_for_each() -> None:
    sides = [side("x", *a_scale_test()), side("y", *a_scale_test(w1x50=OOM)), side("z", *a_scale_test(w2x50=OOM))]
    said = in_one_line(compared(*against_first(sides)))
    assert (
        "The largest training set: with 1 worker A carried 50x, B 10x, C 50x; with 2 workers A carried 50x," in said
    )
    assert "1 worker 50x 10x 50x 2 workers 50x 50x 10x" in said
    assert "50x 1 Succeeded 4.00 s 25,000 50 MiB HostOOM 4.00 s – 50 MiB Succeeded 4.00 s 25,000 50 MiB" in said


def test_a_share_is_told_of_figures_above_zero_alone() -> None:
    def of(a: float, b: float) -> str:
        search = four(objective={"metric": "validR2"})
        sides = [side("x", search, Entries(one_at_a_time(metrics={"validR2": value}))) for value in (a, b)]
        return in_one_line(compared(Pair(*sides)))

    assert "the best validR2 is 0.5 in B, -1 in A, higher by 1.500. - Each" in of(-1.0, 0.5)
    assert "the best validR2 is 0.5 in B, 0.4 in A, higher by 0.1000, that is 25 %. - Each" in of(0.4, 0.5)
