"""What a raised rerun finds when it is taken up: what has ended by then counts for the run before."""

from datetime import UTC, datetime
from pathlib import Path

from cluster import podstatus
from cluster.api import Json
from cluster.behaviours import Hangs, Succeeds
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_search, report
from eventually import eventually
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Record, decode
from trialrun_operator.observe import milliseconds

SEARCH = a_search(trials=4, parallelTrials=4, maxFailedTrials=3)


def run_and_fail(experiments: Experiments) -> None:
    """Has the pods of all four trials fail."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for pod in experiments.pods():
        path = f"/api/v1/namespaces/{experiments.namespace}/pods/{pod['metadata']['name']}/status"
        experiments.api.patch(path, {"status": podstatus.ended(pod, now, exit_code=1)})


def all_run(experiments: Experiments) -> bool:
    return [pod["status"]["phase"] for pod in experiments.pods()] == ["Running"] * 4


def records(experiments: Experiments) -> list[Record]:
    found = (decode(line) for line in experiments.entries().values())
    return sorted(found, key=lambda record: (record.attempt, record.index))


def accepted(search: Json) -> int:
    return milliseconds(search["status"]["acceptedAt"])


def test_what_failed_before_a_rerun_was_accepted_is_run_again(
    experiments: Experiments, account: Path, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, lambda pod: Hangs())  # noqa: ARG005
    with OperatorProcess(tmp_path, experiments.namespace, account) as before:
        before.wait_until_ready()
        experiments.create(SEARCH)
        eventually(lambda: all_run(experiments), what="all trials run")
        first = accepted(experiments.get("search"))
        assert before.stop() == 0
    run_and_fail(experiments)
    kubelet.play(experiments.namespace, lambda pod: Succeeds(report(pod)))
    experiments.change("search", rerun=1)
    with OperatorProcess(tmp_path, experiments.namespace, account):
        eventually(lambda: experiments.get("search")["status"]["rerun"] == 1, what="the rerun is accepted")
        seen = experiments.finished("search")
    assert (seen["status"]["phase"], seen["status"]["done"]) == ("Succeeded", "4/4")
    found = [(record.attempt, record.outcome, record.accepted_at) for record in records(experiments)]
    assert found == [(1, Outcome.CRASHED, first)] * 4 + [(2, Outcome.SUCCEEDED, accepted(seen))] * 4


def test_what_ends_while_a_search_is_suspended_is_recorded_though_its_rerun_is_raised(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, lambda pod: Hangs())  # noqa: ARG005
    experiments.create(SEARCH)
    eventually(lambda: all_run(experiments), what="all trials run")
    first = accepted(experiments.get("search"))
    experiments.change("search", suspend=True, rerun=1)
    run_and_fail(experiments)
    eventually(lambda: len(records(experiments)) == 4, what="all are recorded")
    assert {record.accepted_at for record in records(experiments)} == {first}
    assert experiments.get("search")["status"]["rerun"] == 0
    assert operator.starts == 1
