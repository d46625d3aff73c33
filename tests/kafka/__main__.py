"""`python -m kafka up` and `down`: a broker on 127.0.0.1:9092 to try things on, and its end.

PYTHONPATH=tests python -m kafka up
"""

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from debian import ProgramsMissing
from kafka.broker import Broker
from kafka.jars import BrokerMissing

PORT = 9092


def folder() -> Path:
    """Where the broker keeps its log, its data and its process id."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "trialrun" / "kafka"


def running(place: Path) -> int | None:
    """The broker's process, None where there is none. A process id that was given anew is not the broker's."""
    try:
        pid, began = (place / "pid").read_text().split()
        return int(pid) if _began(int(pid)) == began else None
    except (OSError, ValueError):
        return None


def up(place: Path) -> None:
    """Starts a broker where none runs."""
    if running(place) is None:
        broker = Broker(place, port=PORT, outlives=True)
        broker.start()
        (place / "pid").write_text(f"{broker.pid} {_began(broker.pid)}")
    print(f"a broker takes clients at 127.0.0.1:{PORT} until `make kafka-down`; its log is {place / 'broker.log'}")


def down(place: Path) -> None:
    """Ends the broker and deletes its data."""
    if (pid := running(place)) is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while running(place) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        if running(place) is not None:
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(place, ignore_errors=True)


def _began(pid: int) -> str:
    """When a process began, in the kernel's ticks. OSError where there is none; a zombie counts as none."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] == "Z":
        raise ProcessLookupError(pid)
    return fields[19]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m kafka", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=("up", "down"))
    try:
        {"up": up, "down": down}[parser.parse_args().command](folder())
    except (BrokerMissing, ProgramsMissing, OSError) as error:
        print(f"kafka: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
