"""One rank of a trial under Spark: calls the runner, gets its order there, trains in a child, tells how that ended.

TorchDistributor's torchrun starts it, on whichever machine. It loads torch and never computes, so that the child is a
fork; and it outlives the child, so that a rank that is killed is told of as by the runner's own children. When the
runner's side of the connection ends, for good or for this trial, it kills the child.
"""

import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from trainer.experiment.judge import RankExit

_CALL_SECONDS = 60.0
_SIOCGIFADDR = 0x8915  # Linux: the address of an interface


def main(told: dict[str, Any]) -> None:
    """Serves the runner at `told`'s host and port for one trial."""
    with socket.create_connection((told["host"], told["port"]), timeout=_CALL_SECONDS) as runner:
        runner.settimeout(None)
        _see_gpus(told)
        # Ranks meet on the network on which they reach the runner, whatever their machines call themselves.
        if (interface := _interface(runner.getsockname()[0])) is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        # Only now: the settings above must stand before.
        from trainer.experiment.record import encode_report
        from trainer.local.lines import tell
        from trainer.training.distributed import load, ranks_from_environment

        ranks = ranks_from_environment()
        load(ranks.count)
        tell(runner.fileno(), event="ready", trial=told["trial"], rank=ranks.rank, key=told["key"])
        line = runner.makefile("rb").readline()
        if line:
            order = json.loads(line)
            ended = _carried_out(order, runner)
            report = None if ended.report is None else encode_report(ended.report).decode()
            said = {"code": ended.exit_code, "report": report, "error": ended.error, "unread": ended.unread}
            tell(runner.fileno(), event="ended", trial=order["trial"], rank=ranks.rank, **said)


def _carried_out(order: dict[str, Any], runner: socket.socket) -> "RankExit":
    """How the child ended that carried out the order."""
    from trainer import atomic
    from trainer.experiment.errors import UserError
    from trainer.experiment.judge import RankExit
    from trainer.experiment.outcome import EXIT_CODES
    from trainer.local.processes import REPORT, rank_exit
    from trainer.training.distributed import Ranks
    from trainer.training.trial import failure

    folder = Path(order["folder"])
    try:
        atomic.require_writable(folder)
        (folder / REPORT.format(rank=order["rank"])).unlink(missing_ok=True)  # of an earlier attempt
    except OSError as error:
        mistake = UserError(
            f"--out: a folder that every executor can write is needed, got {folder} ({error.strerror or error} on "
            f"{socket.gethostname()})"
        )
        said = failure(Ranks(order["rank"], order["ranks"]), mistake)
        return RankExit(order["rank"], EXIT_CODES[said.outcome], said)
    if Path(order["cwd"]).is_dir():
        os.chdir(order["cwd"])  # where relative paths of the experiment begin
    return rank_exit(folder, order["rank"], _in_child(order, runner))


def _in_child(order: dict[str, Any], runner: socket.socket) -> int:
    ended, alive = os.pipe()  # the end of `ended` is the child's
    keeper_end, keeper = os.pipe()  # and that of `keeper_end` this process's
    child = os.fork()
    if child == 0:
        os.close(ended)
        os.close(keeper)
        _train(order, runner.fileno(), keeper_end)
    os.close(alive)
    os.close(keeper_end)
    ready, _, _ = select.select([runner.fileno(), ended], [], [])
    if ended not in ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _train(order: dict[str, Any], events: int, keeper_end: int) -> NoReturn:
    code = 1
    try:
        from trainer.local.rank import carry_out, end_with

        threading.Thread(target=end_with, args=(keeper_end,), daemon=True).start()
        code = carry_out(order, events, started=time.time() - order["waited"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: nothing of the parent's must be torn down here.
        os._exit(code)


def _see_gpus(told: dict[str, Any]) -> None:
    """On the runner's machine a rank sees the GPUs that the runner sees, elsewhere those that Spark gave its task."""
    if "gpus" in told:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if told["gpus"] is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = told["gpus"]


def _interface(address: str) -> str | None:
    """The network interface that has this IPv4 address; None where the system doesn't tell."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    # Not sys.exit: torch takes long to tear itself down.
    os._exit(0)
