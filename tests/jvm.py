"""How tests start Java quickly: little is compiled, and classes come from an archive that is made once."""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

# A JVM that lives for seconds need not compile well.
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto")


def archived(name: str, run: Callable[[str], None]) -> str:
    """The option that has Java take its classes from the archive of this name, where it fits the class path.

    It halves what a start takes (class data sharing). Where there is none, `run` has to run such a program to its
    end, with the option that it is given, and that makes it.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trialrun" / "java"
    place = folder / f"{name}.jsa"
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                with tempfile.TemporaryDirectory(dir=folder) as temporary:
                    made = Path(temporary) / place.name
                    run(f"-XX:ArchiveClassesAtExit={made}")
                    made.rename(place)
    return f"-XX:SharedArchiveFile={place}"
