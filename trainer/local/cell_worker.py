"""One rank of a cell, from nothing: joins its cgroup, loads what it needs, says so, and carries out its one order.

What it loads is charged to the cgroup, because it has joined before. The order is a JSON line on standard input; the
end of that tells that the runner is gone.
"""

import contextlib
import gc
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import NoReturn


def main(events: int, group: str, ranks: int) -> NoReturn:
    """Never returns. `group` is a cgroup's folder, empty for none; a rank of several loads more than one alone."""
    code = 1
    try:
        if group:
            Path(group, "cgroup.procs").write_text(str(os.getpid()))
        # Only now, so that all of it is charged to the group.
        from trainer.cgroup import Group
        from trainer.experiment.record import MemoryLimit
        from trainer.local.lines import tell
        from trainer.local.rank import carry_out, end_with
        from trainer.memory import MemoryMonitor
        from trainer.training.distributed import load
        from trainer.training.environment import process_started

        load(ranks)
        gc.collect()
        monitor = MemoryMonitor(Group(Path(group)) if group else None)
        tell(events, event="ready", floor=monitor.result().counted_floor)
        line = sys.stdin.readline()
        if not line:  # only the floor was wanted, or the runner is gone
            os._exit(0)
        order = json.loads(line)
        threading.Thread(target=end_with, args=(0,), daemon=True).start()
        if order["limit"] is not None:
            monitor.limit = MemoryLimit(**order["limit"])
        code = carry_out(order, events, started=process_started(), monitor=monitor, provisional=True)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        # Not sys.exit: torch takes long to tear itself down.
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
