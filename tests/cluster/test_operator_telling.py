"""What a user is told of a run: when to stop waiting, how it went, and Events, each once, whatever happens."""

from collections import Counter

import pytest

from cluster.api import Json
from cluster.behaviours import Behaviour, Fails, Hangs, IsEvicted, Succeeds
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_search, report, trial_of
from cluster.watch import Watch
from eventually import eventually
from trainer.experiment.outcome import ADVICE, Outcome
from trialrun_operator.events import MAX_FAILURES


def one_of_each(pod: Json) -> Behaviour:
    """One goes well, one is evicted once, one fails, one waits to be told how it ends; another must not start."""
    told = trial_of(pod)
    if told["index"] == 1 and told["attempt"] == 1:
        return IsEvicted()
    return {2: Fails(1, "boom"), 3: Hangs()}.get(told["index"], Succeeds(report(pod)))


def events_of(experiments: Experiments, name: str) -> list[Json]:
    """What `kubectl describe` shows of a search."""
    path = f"/api/v1/namespaces/{experiments.namespace}/events"
    uid = experiments.get(name)["metadata"]["uid"]
    return experiments.api.list(path, fieldSelector=f"involvedObject.uid={uid}")


def test_a_failing_search_ends_the_wait_says_why_and_tells_each_thing_once(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, one_of_each)
    experiments.create(a_search(trials=5, parallelTrials=1, maxFailedTrials=1))
    eventually(
        lambda: any(trial_of(pod)["index"] == 3 and "startTime" in pod["status"] for pod in experiments.pods()),
        what="the last trial runs",
    )
    first = {"Running", "TrialRetried", "TrialFailed"}
    eventually(lambda: {event["reason"] for event in events_of(experiments, "search")} == first)
    operator.kill()
    eventually(lambda: operator.starts == 2 and operator.ask("readyz")[0] == 200)
    (last,) = (pod for pod in experiments.pods() if trial_of(pod)["index"] == 3)
    kubelet.become(experiments.namespace, last["metadata"]["name"], Fails(1, "boom again"))
    experiments.cluster.kubectl(
        "wait", "-n", experiments.namespace, "--for=condition=Finished", "--timeout=590s", "hps/search"
    )
    succeeded = experiments.condition("search", "Succeeded")
    assert (succeeded["status"], succeeded["reason"]) == ("False", "TooManyFailures")
    assert "2 trials failed, more than spec.maxFailedTrials (1)" in succeeded["message"]
    assert "The failed: 2 Crashed." in succeeded["message"]
    assert ADVICE[Outcome.CRASHED] in succeeded["message"]
    assert "raise spec.rerun" in succeeded["message"]

    kubelet.play(experiments.namespace, lambda pod: Succeeds(report(pod)))
    experiments.change("search", rerun=1)
    eventually(lambda: experiments.condition("search", "Succeeded")["status"] == "True")
    expected = {
        ("Normal", "Running"): 2,
        ("Warning", "TrialRetried"): 1,
        ("Warning", "TrialFailed"): 2,
        ("Warning", "TooManyFailures"): 1,
        ("Normal", "TrialsSucceeded"): 1,
    }

    def told() -> list[Json]:
        events = events_of(experiments, "search")
        assert Counter((event["type"], event["reason"]) for event in events) == expected
        return events

    events = eventually(told, what="all is told")
    assert all(event["count"] == 1 for event in events)
    messages = [event["message"] for event in events if event["reason"] != "Running"]
    assert len(set(messages)) == len(messages)
    failures = sorted(event["message"] for event in events if event["reason"] == "TrialFailed")
    assert [message.partition(" (")[0] for message in failures] == ["Trial 2", "Trial 3"]
    assert all(message.endswith(ADVICE[Outcome.CRASHED]) for message in failures)
    described = experiments.cluster.kubectl("describe", "-n", experiments.namespace, "hps/search")
    assert all(described.count(reason) >= 1 for _, reason in expected)


@pytest.mark.usefixtures("operator")
def test_of_failures_that_come_all_at_once_a_few_are_told(experiments: Experiments, kubelet: KubeletPlayer) -> None:
    kubelet.play(experiments.namespace, lambda pod: Hangs())  # noqa: ARG005
    ledgers = f"/api/v1/namespaces/{experiments.namespace}/configmaps"
    with Watch(experiments.cluster, ledgers) as changes:
        experiments.create(a_search(trials=24, maxFailedTrials=100))
        eventually(lambda: len(experiments.pods()) == 24)
        eventually(lambda: all(pod["status"]["phase"] == "Running" for pod in experiments.pods()))
        for pod in experiments.pods():
            kubelet.become(experiments.namespace, pod["metadata"]["name"], Fails(1, "boom"))
        experiments.finished("search")
        writes = [
            each for each in changes.changes if "trialrun.dev/ledger" in each.seen["metadata"].get("labels", {})
        ]
        # Events are told after the status that they are about is written.
        eventually(lambda: "NoTrialSucceeded" in {event["reason"] for event in events_of(experiments, "search")})
    reasons = Counter(event["reason"] for event in events_of(experiments, "search"))
    print(f"24 failures, written {len(writes)} times: {dict(reasons)}")
    assert reasons.keys() == {"Running", "TrialFailed", "NoTrialSucceeded"}
    assert reasons["TrialFailed"] < 24
    assert reasons["TrialFailed"] <= MAX_FAILURES * len(writes)
