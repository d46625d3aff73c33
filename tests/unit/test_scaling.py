"""What a scale test's ledger says, recomputed here from its raw lines."""

import json
import random
from typing import Any

import pytest

from conftest import Sweep
from trainer.experiment.expand import Trial, expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Charged, Environment, Memory, MemoryLimit, Record, Seconds, decode, encode
from trainer.experiment.scaling import ScaleFigures, Scaling
from trainer.experiment.spec import Experiment
from trainer.experiment.summary import summarize
from unit.builders import a_record, an_experiment

MIB = 2**20


def a_test(**spec: Any) -> Experiment:
    return an_experiment(kind="ScaleTest", axes={"multipliers": [1, 10, 50], "workers": [1, 2, 4]}, **spec)


def a_cell(trial: Trial, train: float, **fields: Any) -> Record:
    """The record of a cell that trained for so many seconds, twice over its samples."""
    size = trial.training.data.multiplier
    told = {"samples": 845 * size, "epochs": 2, "dataset_bytes": 845 * size * 1204}
    seconds = Seconds(start=1.5, train=train, total=train + 2.0)
    record = a_record(trial, memory=(Memory(peak_bytes=7, mean_bytes=5),) * trial.workers, **told)
    return record.model_copy(update={"seconds": seconds} | fields)


def figures(experiment: Experiment, records: list[Record]) -> ScaleFigures:
    found = summarize(experiment, expand(experiment), records).scale
    assert found is not None
    return found


def at(found: ScaleFigures, workers: int, size: int) -> Scaling:
    return next(one for one in found.scaling if (one.workers, one.multiplier) == (workers, size))


def test_scaling_and_frontier_are_those_that_the_raw_ledger_gives(sweep: Sweep) -> None:
    for seed in sweep.seeds(sample=20, full=500):
        rng = random.Random(seed)
        experiment = a_test(repeats=rng.choice([1, 3]))
        endings = [Outcome.SUCCEEDED] * 6 + [Outcome.HOST_OOM, Outcome.TIMED_OUT, Outcome.SKIPPED]
        records = [a_cell(trial, rng.uniform(0.1, 9.0), outcome=rng.choice(endings)) for trial in expand(experiment)]
        rng.shuffle(records)
        ledger = [encode(record) for record in records[: rng.randint(0, len(records))]]
        found = figures(experiment, [decode(line) for line in ledger])

        raw: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for line in map(json.loads, ledger):
            raw.setdefault((line["workers"], line["parameters"]["data.multiplier"]), []).append(line)
        passed = {
            place: sum(line["seconds"]["train"] for line in lines) / sum(2 * line["samples"] for line in lines)
            for place, lines in raw.items()
            if len(lines) == experiment.spec.repeats and all(line["outcome"] == "Succeeded" for line in lines)
        }
        for reach in found.frontier:
            sizes = [size for workers, size in passed if workers == reach.workers]
            assert reach.multiplier == max(sizes, default=None), f"seed {seed}"
        assert {(one.workers, one.multiplier) for one in found.scaling} == passed.keys(), f"seed {seed}"
        for (workers, size), per_sample in passed.items():
            one = at(found, workers, size)
            smaller = [passed[workers, other] for other in (1, 10) if other < size and (workers, other) in passed]
            assert one.seconds_per_sample == pytest.approx(per_sample), f"seed {seed}"
            assert one.growth == (pytest.approx(per_sample / smaller[-1]) if smaller else None), f"seed {seed}"
            if workers > 1 and (1, size) in passed:
                assert one.speedup == pytest.approx(passed[1, size] / per_sample), f"seed {seed}"
                assert one.efficiency == pytest.approx(passed[1, size] / per_sample / workers), f"seed {seed}"
            else:
                assert (one.speedup, one.efficiency) == (None, None), f"seed {seed}"
        done = {place: lines for place, lines in raw.items() if len(lines) == experiment.spec.repeats}
        assert {(cell.workers, cell.multiplier) for cell in found.cells} == done.keys(), f"seed {seed}"


def test_a_cell_shows_what_each_rank_took_as_its_limit_counts_it() -> None:
    experiment = a_test()
    trial = expand(experiment)[4]  # 10x with 2 workers
    ranks = tuple(
        Memory(
            peak_bytes=800 * MIB,
            mean_bytes=5,
            floor_bytes=540 * MIB,
            cgroup=Charged(floor_bytes=300 * MIB, peak_bytes=(310 + rank) * MIB, mean_bytes=5),
            limit=MemoryLimit(bytes=428 * MIB, kept_by="Cgroup"),
        )
        for rank in range(2)
    )
    (cell,) = figures(experiment, [a_cell(trial, 2.0, memory=ranks)]).cells
    assert (cell.multiplier, cell.workers, cell.outcome, cell.seconds) == (10, 2, "Succeeded", 2.5)
    assert cell.samples_per_second == 845 * 10
    assert cell.peak_bytes == (310 * MIB, 311 * MIB)
    assert (cell.floor_bytes, cell.limit_bytes, cell.dataset_bytes) == (300 * MIB, 428 * MIB, 8450 * 1204)


def test_the_failure_of_one_repeat_is_the_cells_with_its_reason() -> None:
    experiment = a_test(repeats=2)
    first, second, *_ = expand(experiment)
    records = [a_cell(first, 1.0), a_cell(second, 1.0, outcome=Outcome.HOST_OOM, error="killed", memory=())]
    (cell,) = figures(experiment, records).cells
    assert (cell.outcome, cell.error, cell.samples_per_second, cell.peak_bytes) == ("HostOOM", "killed", None, ())


def test_ranks_that_share_cores_have_no_speedup() -> None:
    experiment = a_test()
    records = [a_cell(trial, 1.0, oversubscribed=trial.workers == 4) for trial in expand(experiment)]
    found = figures(experiment, records)
    assert at(found, 2, 10).speedup == 1.0
    assert (at(found, 4, 10).speedup, at(found, 4, 10).efficiency) == (None, None)
    assert at(found, 4, 10).withheld == "oversubscribed: there were more threads than cores"


def test_times_of_other_hardware_are_not_compared() -> None:
    experiment = a_test()
    trials = expand(experiment)
    other = Environment(cpu="Another")
    found = figures(experiment, [a_cell(trials[0], 1.0), a_cell(trials[3], 1.0, environment=other)])
    assert at(found, 2, 1).withheld == "one worker ran on other hardware or software"
    assert figures(experiment, [a_cell(trials[3], 1.0)]).scaling[0].withheld == "one worker did not pass this size"


def test_a_search_has_none_of_it() -> None:
    assert summarize(an_experiment(), expand(an_experiment()), []).scale is None
