"""Spark's driver, in a process of its own: starts the JVM, and has a TorchDistributor run each trial as a job.

A job runs the module `trainer.spark.rank` by its name, which executors must be able to import: nothing of ours is
pickled. When the requests end, however the runner died, it ends what runs and the JVM with it.
"""

import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

from py4j.java_gateway import JavaGateway
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.java_gateway import launch_gateway
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from trainer.experiment.record import cut_error
from trainer.experiment.redact import redacted
from trainer.local.launcher import QUIET_SECONDS
from trainer.local.lines import tell

_RANK = "trainer.spark.rank"
_HERE = "127.0.0.1"
_STACK = re.compile(r"at [\w.$/<>]+\(")  # a frame of Java's, not a sentence that goes on with "at"
_PREAMBLE = re.compile(
    r"(org\.apache\.spark\.\w+: )?Job aborted due to stage failure: "
    r"((Could not recover from a failed barrier ResultStage|\w+ \d+ \(.{1,300}?\) has failed the maximum allowable "
    r"number of times: \d+)\. Most recent failure reason: )?"
    r"(Stage failed because barrier task ResultTask\(\d+, \d+\) finished unsuccessfully\. )?"
)


def main(requests: int, events: int, slots: int) -> None:
    """Serves requests from one file descriptor and writes events to another until the requests end.

    `slots` are the ranks that are to run at once, for a master that leaves open how many can: local[*].
    """
    # Of the same Python as this one, unless the user says otherwise: Spark's own default is whatever python3 is.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # Ranks are started by Spark and torchrun: not from the current folder either, as this process was not.
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        gateway = launch_gateway()
    except PySparkRuntimeError:
        needed = "needs Java 17 or later, but none started; install it, or set JAVA_HOME to one that is there"
        tell(events, event="refused", error=needed)
        return
    threading.Thread(target=_end_with_jvm, args=(gateway,), daemon=True).start()
    conf = _settings(gateway, slots)
    master = conf.get("spark.master")
    tell(events, event="asks", master=redacted(str(master)))
    try:
        session = SparkSession(SparkContext(gateway=gateway, conf=conf))
    except Exception as error:
        # Spark gives up on a master that is silent by stopping the context, and then trips over that.
        why = "it did not answer" if "stopped SparkContext" in str(error) else sentence(error)
        tell(events, event="refused", error=f"the master {master} gave no session: {why}")
        return
    host = conf.get("spark.driver.host") or session.conf.get("spark.driver.host")
    tell(events, event="ready", host=host, bind=conf.get("spark.driver.bindAddress") or host)
    _serve(requests, events, session)
    session.stop()
    gateway.proc.stdin.close()  # the JVM ends with it, and this process with the JVM
    threading.Event().wait()


def sentence(error: Exception) -> str:
    """What an exception says in one line, without Java's stack, and without what is said of every failed job.

    What comes after, such as why an executor was lost, may have many lines: all of them count.
    """
    said = []
    for line in (line.strip().lstrip(": ") for line in str(error).splitlines()):
        if line.startswith("Driver stacktrace") or _STACK.match(line):
            break
        if not line.startswith("An error occurred while calling"):
            said.append(line)
    return cut_error(_PREAMBLE.sub("", " ".join(filter(None, said)))) or type(error).__name__


def _settings(gateway: JavaGateway, slots: int) -> SparkConf:
    """The user's own, from spark-defaults.conf and PYSPARK_SUBMIT_ARGS, and what a run asks for on top."""
    conf = SparkConf(_jvm=gateway.jvm)
    conf.setAppName("trialrun").set("spark.ui.showConsoleProgress", "false").setIfMissing("spark.ui.enabled", "false")
    # An attempt is the runner's to make: a second one of Spark's would train beside what is on record.
    conf.set("spark.task.maxFailures", "1").set("spark.stage.maxConsecutiveAttempts", "1")
    conf.setIfMissing("spark.executorEnv.PYTHONPATH", str(Path(__file__).parents[2]))
    conf.setIfMissing("spark.executorEnv.PYTHONSAFEPATH", "1")
    if conf.get("spark.master") == "local[*]":
        conf.setMaster(f"local[{max(slots, os.cpu_count() or 1)}]")
    if _is_local(conf):
        # What a machine calls itself may lead to another of its addresses.
        gateway.jvm.org.apache.spark.util.Utils.setCustomHostname(_HERE)
        conf.set("spark.driver.host", _HERE).set("spark.driver.bindAddress", _HERE)
        # Slots don't come later; Spark would look for them again for ten minutes.
        check = "spark.scheduler.barrier.maxConcurrentTasksCheck"
        conf.set(f"{check}.interval", "1s").set(f"{check}.maxFailures", "1")
    return conf


def _serve(requests: int, events: int, session: SparkSession) -> None:
    context = session.sparkContext
    with os.fdopen(requests, encoding="utf-8") as lines:
        for line in lines:
            request = json.loads(line)
            if request["do"] == "start":
                # Here: a session is active only in the thread that made it.
                gpu = request["gpu"] and _gives_gpus(context)
                distributor = TorchDistributor(num_processes=request["ranks"], local_mode=False, use_gpu=gpu)
                job = threading.Thread(target=_run, args=(request, events, context, distributor), daemon=True)
                job.start()
            else:
                context.cancelJobGroup(request["trial"])


def _run(request: dict[str, Any], events: int, context: SparkContext, distributor: TorchDistributor) -> None:
    """Runs a trial as a job, and tells when that is over."""
    trial, error = request["trial"], ""
    told = request["told"] | {"trial": trial}
    if _is_local(context.getConf()):
        # Spark hides all GPUs from a task to which it gave none, and a local master gives none.
        told["gpus"] = os.environ.get("CUDA_VISIBLE_DEVICES")
    over = threading.Event()
    try:
        threading.Thread(target=_watch, args=(request, events, context, over), daemon=True).start()
        context.setJobGroup(trial, trial, interruptOnCancel=True)
        distributor.run("--module", _RANK, json.dumps(told))
    except Exception as failure:
        error = sentence(failure)
    over.set()
    tell(events, event="job", trial=trial, error=error)


def _watch(request: dict[str, Any], events: int, context: SparkContext, over: threading.Event) -> None:
    """Tells how many slots Spark has, as long as it has started no rank of a trial, whenever that is news."""
    told, tracker = None, context.statusTracker()
    while not over.wait(QUIET_SECONDS):
        jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(request["trial"])]
        stages = [tracker.getStageInfo(stage) for job in jobs if job is not None for stage in job.stageIds]
        if any(stage is not None and stage.numActiveTasks for stage in stages):
            return
        if (slots := _slots(context)) != told:
            told = slots
            tell(events, event="waits", trial=request["trial"], slots=slots)


def _slots(context: SparkContext) -> int:
    """How many tasks Spark's executors can run at once, all together."""
    scala = context._jsc.sc()
    return int(scala.maxNumConcurrentTasks(scala.resourceProfileManager().defaultResourceProfile()))


def _is_local(conf: SparkConf) -> bool:
    """Whether tasks run in the driver's own JVM; `local-cluster` is a cluster."""
    master = conf.get("spark.master", "") or ""
    return master == "local" or master.startswith("local[")


def _gives_gpus(context: SparkContext) -> bool:
    return float(context.getConf().get("spark.task.resource.gpu.amount", "0") or 0) >= 1


def _end_with_jvm(gateway: JavaGateway) -> None:
    code = gateway.proc.wait()
    print(f"Spark's JVM ended with exit code {code}", file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
