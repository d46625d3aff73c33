"""What a pod leaves as its last word, from its termination message to the ledger and the status."""

from functools import partial
from typing import Any

import pytest

from cluster import podstatus
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Charged, Memory, MemoryLimit
from unit.builders import a_document
from unit.controllers import rank_of
from unit.lookout import EITHER, RUNS_OUT_OF_MEMORY, Lookout, Stage, a_search, succeeds

MIB = 2**20


def leaves(message: str, code: int = 0, reason: str = "") -> Stage:
    return partial(podstatus.ended, exit_code=code, message=message, **({"reason": reason} if reason else {}))


def ended(stages: dict[str, Stage], document: dict[str, Any] | None = None) -> Lookout:
    """An experiment after its pods ended so, by attempt; the others succeed."""
    here = Lookout()
    here.apply(document or a_search(1))
    here.play(lambda attempt: stages.get(attempt, succeeds()))
    return here


def row(here: Lookout) -> dict[str, Any]:
    found: dict[str, Any] = here.status()["trials"][0]
    return found


@pytest.mark.parametrize(
    ("stage", "outcome", "words"),
    [
        (leaves('{"metrics": {"validMse": 1}, "colour": "red"}'), Outcome.METRICS_MISSING,
         'colour: no such field, got "red"'),
        (leaves('{"metrics": {"validMse": []}}'), Outcome.METRICS_MISSING, "validMse: must be a number, got []"),
        (leaves('{"metrics": {"validMse": NaN}}'), Outcome.DIVERGED, "the objective validMse was reported as nan"),
        (leaves('{"metrics": {"validMse": 1'), Outcome.METRICS_MISSING, "must be JSON (EOF while parsing"),
        (leaves("done"), Outcome.METRICS_MISSING, 'must be JSON (expected value at line 1 column 1), got "done"'),
        (leaves(""), Outcome.METRICS_MISSING, "rank 0 ended without a report"),
        (leaves('{"outcome": "DeviceOOM", "error": "no room", "colour": 1}', 67), Outcome.DEVICE_OOM,
         "no room; it left what is not a report: colour: no such field, got 1"),
        (leaves("terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n", 134),
         Outcome.HOST_OOM, "std::bad_alloc"),
        (leaves("", 255), Outcome.CRASHED, "ended with exit code 255 without a report"),
        (leaves("", 139), Outcome.CRASHED, "killed by signal 11 (exit code 139)"),
        (RUNS_OUT_OF_MEMORY, Outcome.HOST_OOM, "OOMKilled, exit code 137; it has no memory limit of its own"),
    ],
)  # fmt: skip
def test_the_cause_that_a_pod_leaves_stands_in_ledger_and_status(stage: Stage, outcome: Outcome, words: str) -> None:
    here = ended({"0.1": stage})
    assert here.records() == {"0.1": str(outcome)}
    assert row(here)["state"] == str(outcome)
    assert words in here.ledger()[0].error
    assert row(here)["error"].startswith(here.ledger()[0].error[:40]), "the middle may be cut"


@EITHER
def test_a_rank_other_than_the_first_is_named_with_what_it_left(backend: str) -> None:
    search = a_search(1, workers=2)
    here = Lookout(backend=backend)
    here.apply(search)

    def stage(pod: dict[str, Any], now: str) -> dict[str, Any]:
        return (succeeds() if rank_of(pod) == 0 else leaves('{"rank": 1, "colour": 1}', 1))(pod, now)

    here.play(lambda _: stage)
    assert row(here)["error"].startswith(
        "rank 1: ended with exit code 1 without a report; it left what is not a report"
    )


def test_a_pod_that_ran_out_of_memory_names_its_limit() -> None:
    search = a_search(1)
    search["spec"]["pod"] = {"resources": {"limits": {"memory": "512Mi"}}}
    assert (
        "OOMKilled, exit code 137; its memory limit is 512Mi"
        in row(ended({"0.1": RUNS_OUT_OF_MEMORY}, search))["error"]
    )


def test_a_cells_peak_is_one_figure_wherever_it_is_shown() -> None:
    """Resident memory beyond the limit, which counts what was charged."""
    memory = Memory(
        peak_bytes=432 * MIB,
        mean_bytes=400 * MIB,
        floor_bytes=300 * MIB,
        cgroup=Charged(floor_bytes=200 * MIB, peak_bytes=304 * MIB, mean_bytes=250 * MIB),
        limit=MemoryLimit(bytes=315 * MIB, kept_by="Cgroup"),
    )
    here = Lookout()
    here.apply(
        a_document(
            name="test",
            kind="ScaleTest",
            axes={"multipliers": [1], "workers": [1]},
            cell={"memoryAboveFloor": "115Mi"},
        )
    )
    here.play(lambda _: succeeds(memory=memory, samples=10, epochs=1))
    (cell,) = here.status()["summary"]["scale"]["cells"]
    assert (cell["peakBytes"], cell["limitBytes"]) == ([304 * MIB], 315 * MIB)
    assert row(here)["peakMemoryBytes"] == 304 * MIB
