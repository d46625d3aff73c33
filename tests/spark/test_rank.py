"""A rank's process as the runner meets it, without Spark: the test is at the runner's end of the connection."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from eventually import eventually
from local.cli import ROOT, alive, environment, trial_processes
from spark.runs import FOREVER, write_search
from trainer.data.cache import default_cache
from trainer.experiment.expand import expand
from trainer.experiment.load import read
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import decode_report
from trainer.local.processes import orders


@dataclass
class Line:
    """The runner's end of the connection to a rank's process."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    words: TextIO

    def hear(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.words.readline())
        return told

    def order(self, scratch: Path, folder: str) -> None:
        """Has it train for ever in this folder of `scratch`."""
        (trial,) = expand(read(write_search(scratch, epochs=[FOREVER])))
        (order,) = orders(trial, scratch / "here", default_cache())
        more = {"rendezvous": "env://", "cwd": str(ROOT), "waited": 1.0, "folder": str(scratch / folder)}
        self.connection.sendall(json.dumps(order | more).encode() + b"\n")

    def child(self) -> int:
        """The process that trains, once it does."""
        return eventually(lambda: next(iter(trial_processes(os.getpid())), None), what="the rank trains")


@contextmanager
def rank() -> Iterator[Line]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        told = {"host": "127.0.0.1", "port": listener.getsockname()[1], "key": "a key", "trial": "a trial"}
        process = subprocess.Popen([sys.executable, "-m", "trainer.spark.rank", json.dumps(told)], env=environment())
        try:
            listener.settimeout(60.0)
            connection, _ = listener.accept()
            with connection, connection.makefile(encoding="utf-8") as words:
                line = Line(process, connection, words)
                ready = {"event": "ready", "trial": "a trial", "rank": 0, "key": "a key"}
                assert line.hear() == ready
                yield line
        finally:
            process.kill()
            process.wait()


def test_a_rank_whose_folder_cannot_be_written_says_which_it_needs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with rank() as line:
        line.order(tmp_path, "file/trial")
        ended = line.hear()
    report = decode_report(ended["report"])
    assert (ended["event"], ended["code"], report.outcome) == ("ended", 2, Outcome.INVALID_CONFIG)
    assert f"--out: a folder that every executor can write is needed, got {tmp_path}/file/trial" in report.error


def test_a_rank_is_killed_when_the_runner_has_no_more_to_say_and_tells_how_it_ended(tmp_path: Path) -> None:
    with rank() as line:
        line.order(tmp_path, "trial")
        line.child()
        line.connection.shutdown(socket.SHUT_WR)
        ended = next(told for told in iter(line.hear, None) if told["event"] == "ended")
        assert (ended["code"], ended["report"]) == (-9, None)
        assert line.process.wait(timeout=600.0) == 0


def test_a_rank_ends_with_its_runner_and_with_the_process_that_forked_it(tmp_path: Path) -> None:
    for whose in ("runner", "keeper"):
        with rank() as line:
            line.order(tmp_path, whose)
            child = line.child()
            if whose == "runner":
                line.connection.shutdown(socket.SHUT_RDWR)
            else:
                line.process.send_signal(signal.SIGKILL)
            eventually(lambda child=child: not alive({child}), what=f"the rank is gone, its {whose} ended")
            line.process.wait(timeout=600.0)


def test_a_rank_that_is_told_nothing_ends_well() -> None:
    with rank() as line:
        line.connection.shutdown(socket.SHUT_WR)
        assert line.process.wait(timeout=600.0) == 0
