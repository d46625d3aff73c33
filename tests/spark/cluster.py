"""A standalone cluster of Spark's on loopback: a master and a worker, as its own start scripts run them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyspark

from cluster.component import free_port
from eventually import eventually
from spark.runs import java

SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"
_DEPLOY = "org.apache.spark.deploy"
_PLACE = ["--host", "127.0.0.1", "--webui-port", "0"]


@contextmanager
def standalone(folder: Path, *, cores: int) -> Iterator[str]:
    """The URL of a master whose one worker has so many cores."""
    url = f"spark://127.0.0.1:{(port := free_port())}"
    with (
        _daemon(folder / "master.log", "master.Master", *_PLACE, "--port", str(port)),
        _daemon(
            folder / "worker.log",
            "worker.Worker",
            *(*_PLACE, "--cores", str(cores), "--memory", "1g", "--work-dir", str(folder / "work"), url),
        ),
    ):
        log = folder / "worker.log"
        eventually(lambda: "Successfully registered with master" in log.read_text(), what="the worker has registered")
        yield url


@contextmanager
def _daemon(log: Path, name: str, *arguments: str) -> Iterator[None]:
    environment = os.environ | java()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [SPARK_CLASS, f"{_DEPLOY}.{name}", *arguments], env=environment, stdout=file, stderr=file
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()
