"""What was allocated, times the prices that the user gives."""

from typing import Any

import pytest

from trainer.experiment.baseline import figures
from trainer.experiment.cost import quantity, worker_hour
from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.experiment.summary import summarize
from unit.builders import an_experiment, four, ran

PRICES = {"cpuHour": 0.1, "gibHour": 0.01, "gpuHour": 2}


@pytest.mark.parametrize(
    ("text", "number"),
    [("2", 2), ("500m", 0.5), ("1.5", 1.5), ("1k", 1000), ("1M", 1e6), ("1Ki", 1024), ("1.5Gi", 1.5 * 2**30),
     ("2G", 2e9), ("1E", 1e18), ("0", 0)],
)  # fmt: skip
def test_a_quantity_is_the_number_that_kubernetes_reads(text: str, number: float) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize(
    ("requests", "limits", "price"),
    [
        ({"cpu": "500m", "memory": "2Gi"}, {}, 0.07),
        ({}, {"cpu": "2", "memory": "1Gi"}, 0.21),
        ({"cpu": "1"}, {"cpu": "4", "nvidia.com/gpu": "2"}, 4.1),
        ({}, {"amd.com/gpu": "1"}, 2),
        ({}, {}, None),
        ({"ephemeral-storage": "1Gi"}, {}, None),
    ],
)
def test_a_worker_costs_what_it_requests_or_else_its_limit(
    requests: dict[str, str], limits: dict[str, str], price: float | None
) -> None:
    experiment = four(prices=PRICES, pod={"resources": {"requests": requests, "limits": limits}})
    found = worker_hour(experiment)
    assert found == (pytest.approx(price) if price is not None else None)


def test_without_prices_nothing_has_a_cost() -> None:
    assert worker_hour(four(pod={"resources": {"requests": {"cpu": "1"}}})) is None


def test_a_cells_memory_limit_is_allocated_too() -> None:
    scaletest = an_experiment(kind="ScaleTest", prices=PRICES, cell={"memoryLimit": "2Gi"})
    assert worker_hour(scaletest) == pytest.approx(0.02)


CPU: dict[str, Any] = {"prices": {"cpuHour": 3600}, "pod": {"resources": {"requests": {"cpu": "1"}}}}


def test_both_sides_cost_what_their_pods_ran() -> None:
    experiment = four(**CPU)
    trials = expand(experiment)
    ours = [ran(0, 6, trial=0, outcome=Outcome.EVICTED, final=False), ran(6, 9, trial=0, attempt=2),
            *(ran(3 * n, 3 * n + 3, trial=n, workers=2) for n in (1, 2, 3))]  # fmt: skip
    theirs = figures(experiment, trials, [ran(3 * n, 3 * n + 3, trial=n) for n in range(4)])
    assert theirs is not None
    summary = summarize(experiment, trials, ours, theirs)
    assert summary.cost == pytest.approx(6 + 3 + 3 * 3 * 2)
    assert summary.comparison is not None
    assert summary.comparison.baseline_cost == pytest.approx(12), "a run outside of pods: as long as it took"
    in_a_pod = theirs.model_copy(update={"pod_seconds": 20.0})
    compared = summarize(experiment, trials, ours, in_a_pod).comparison
    assert compared is not None
    assert compared.baseline_cost == pytest.approx(20)


def test_no_cost_is_guessed() -> None:
    summary = summarize(four(), expand(four()), [ran(0, 1)])
    assert summary.cost is None
