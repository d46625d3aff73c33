"""A script that is forked from a process with its packages loaded notices no difference to a start from nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.cli import ROOT, environment, trainer
from local.test_programs import a_search
from trainer.experiment.record import Record
from trainer.local.ledger import read_ledger
from trainer.local.programs import _KEEPER as KEEPER

pytestmark = pytest.mark.slow
# What a script can tell of itself.
LOOKS = '''"""Says what it sees."""
import json, os, signal, sys, threading, atexit, inspect, pickle
import yaml
import trialrun

class Here:
    pass

def told():
    return {
        "argv": sys.argv, "name": __name__, "file": __file__, "doc": __doc__, "package": __package__,
        "path": sys.path,
        "cached": "__cached__" in globals(), "annotations": "__annotations__" in globals(),
        "main": sys.modules["__main__"].__dict__ is globals(), "cwd": os.getcwd(),
        "source": inspect.getsource(Here), "pickled": type(pickle.loads(pickle.dumps(Here()))) is Here,
        "signals": {s.name: repr(signal.getsignal(s)) for s in signal.Signals},
        "command": open("/proc/self/cmdline").read(),
        "threads": threading.active_count(), "leads": os.getpid() == os.getsid(0) == os.getpgid(0),
        "stdin": sys.stdin.read(), "encoding": [sys.stdout.encoding, sys.stdin.encoding], "tty": sys.stdout.isatty(),
        "buffered": [sys.stdout.line_buffering, sys.stderr.line_buffering],
        "files": sorted(os.listdir("/proc/self/fd"))[:-1],
        "trainer": any(name.startswith("trainer") for name in sys.modules),
        "environ": sorted(set(os.environ) - {"_", "LC_CTYPE"}), "recursion": sys.getrecursionlimit(),
    }

print(json.dumps(told()))
atexit.register(lambda: print("at exit"))
threading.Thread(target=lambda: (threading.Event().wait(0.3), print("a thread to the end"))).start()
trialrun.trial().report(0, loss=1)
'''
ENDS = """
import sys, os
import trialrun
trialrun.trial().report(0, loss=1)
def inner():
    {}
inner()
"""


def out(folder: Path, python: str) -> Path:
    return folder / ("forked" if python == "python" else "cold")


def run(folder: Path, script: str, python: str, choices: list[Any], **spec: Any) -> list[Record]:
    """The records of a search that runs a script by `python`, over x."""
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(script)
    command = [python, "script.py", "--x=${parameters.x}", "a b"]
    file = a_search(folder, command, parameters=[{"name": "x", "choices": choices}], **spec)
    done = trainer("run", file, "--out", out(folder, python), cwd=ROOT)
    assert "Traceback" not in done.stderr, done.stderr
    return sorted(read_ledger(out(folder, python)), key=lambda record: record.index)


def log(folder: Path, python: str, record: Record) -> str:
    return (out(folder, python) / "trials" / record.id / "log-0.txt").read_text()


COLD = sys.executable  # by this name scripts are started from nothing


def test_a_forked_script_sees_what_a_cold_one_sees(tmp_path: Path) -> None:
    logs = []
    for python in ("python", COLD):
        (record,) = run(tmp_path, LOOKS, python, [1])
        assert record.outcome == "Succeeded", record.error
        told, *rest = log(tmp_path, python, record).splitlines()
        assert rest == ["a thread to the end", "at exit"]
        logs.append(json.loads(told))
    forked, started = logs
    assert "keeper.py" in forked.pop("command")
    assert "keeper.py" not in started.pop("command")
    assert {key: forked[key] for key in forked if forked[key] != started[key]} == {}
    assert started["name"] == "__main__"
    assert started["trainer"] is False


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("raise ValueError('no such column')", 1, "ValueError: no such column"),
        ("sys.exit(7)", 7, ""),
        ("sys.exit('a sentence')", 1, "a sentence"),
        ("os._exit(9)", 9, ""),
        ("os.kill(os.getpid(), 15)", -15, ""),
        ("os.kill(os.getpid(), 2)", -2, "KeyboardInterrupt"),
        ("1 +", 1, "SyntaxError: invalid syntax"),
    ],
)
def test_a_forked_script_ends_as_a_cold_one_ends(tmp_path: Path, ending: str, code: int, said: str) -> None:
    ends = []
    for python in ("python", COLD):
        (record,) = run(tmp_path, ENDS.format(ending), python, [1])
        ends.append((record.exit_code, record.outcome, record.error, log(tmp_path, python, record)))
    assert ends[0] == ends[1]
    assert ends[0][0] == code
    assert said in ends[0][3]


def test_unseeded_numbers_differ_from_trial_to_trial(tmp_path: Path) -> None:
    script = (
        "import numpy.random, random\n"
        "import trialrun\n"
        "trial = trialrun.trial()\n"
        "trial.report(0, loss=1, numpy=numpy.random.rand(), python=random.random())\n"
    )
    records = run(tmp_path, script, "python", [1, 2, 3])
    for name in ("numpy", "python"):
        assert len({record.metrics[name] for record in records}) == 3, name


def test_each_trial_begins_with_modules_as_they_were_loaded(tmp_path: Path) -> None:
    script = (
        "import yaml\n"
        "import trialrun\n"
        "trialrun.trial().report(0, loss=getattr(yaml, 'left_behind', 0))\n"
        "yaml.left_behind = 1\n"
    )
    assert [record.metrics["loss"] for record in run(tmp_path, script, "python", [1, 2, 3])] == [0, 0, 0]


def test_what_has_started_threads_is_not_forked(tmp_path: Path) -> None:
    (tmp_path / "with_threads.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
    env = environment() | {"PYTHONPATH": str(tmp_path)}
    for modules, forks in (["json", "exits", "no_such_module"], True), (["with_threads"], False):
        said = subprocess.run(
            [sys.executable, "-P", str(KEEPER), "0", "1"],
            input=json.dumps({"do": "load", "modules": modules}) + "\n",
            capture_output=True, text=True, env=env, timeout=120, check=True,
        ).stdout  # fmt: skip
        assert json.loads(said) == {"event": "loaded", "forks": forks}


def test_a_script_beside_modules_named_as_ours_has_its_own(tmp_path: Path) -> None:
    for name in ("keeper", "yaml", "rich"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a module of the user was imported by us')\n")
    (tmp_path / "trainer.py").write_text("OFFSET = 3\n")
    script = "import trainer\nimport trialrun\ntrialrun.trial().report(0, loss=trainer.OFFSET)\n"
    (record,) = run(tmp_path, script, "python", [1])
    assert record.metrics == {"loss": 3}, record.error
