"""Spark's words about a job that failed, without what it says of every one."""

import pytest

from trainer.spark.driver import sentence

BARRIER = (
    "An error occurred while calling o86.collectToPython.\n"
    ": org.apache.spark.SparkException: Job aborted due to stage failure: Could not recover from a failed barrier "
    "ResultStage. Most recent failure reason: Stage failed because barrier task ResultTask(3, 0) finished "
    "unsuccessfully.\n"
)
STACK = "Driver stacktrace:\n\tat org.apache.spark.scheduler.DAGScheduler.failJob(DAGScheduler.scala:2844)\n"
ONCE_MORE = BARRIER.replace(
    "Could not recover from a failed barrier ResultStage.",
    "ResultStage 0 (run at /opt/trialrun/spark/driver.py:131) has failed the maximum allowable number of times: 1.",
)
POD = (
    "ExecutorLostFailure (executor 1 exited caused by one of the running tasks) Reason: \n"
    "The executor with id 1 exited with exit code 137(SIGKILL, possible container OOM).\n\n"
    "The API gave the following brief reason: Evicted\n"
    "at the time it used 3Gi, which exceeds its request of 2Gi.\n"
    "The API gave the following message: The node was low on resource: memory.\n"
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            BARRIER + "ExecutorLostFailure (executor 0 exited) Reason: Command exited with code 137\n" + STACK,
            "ExecutorLostFailure (executor 0 exited) Reason: Command exited with code 137",
        ),
        (BARRIER + POD + STACK, " ".join(POD.split())),
        (ONCE_MORE + POD + STACK, " ".join(POD.split())),
        ("java.lang.IllegalStateException: no more\n\tat a.b.C$D.e(C.scala:1)\n\tat f.G.h(G.java)\n",
         "java.lang.IllegalStateException: no more"),
        ("", "RuntimeError"),
    ],
)  # fmt: skip
def test_the_reason_is_told_whole_and_nothing_else(said: str, told: str) -> None:
    assert sentence(RuntimeError(said)) == told


def test_a_reason_without_end_is_bounded() -> None:
    assert len(sentence(RuntimeError(BARRIER + "x " * 5000))) <= 1000
