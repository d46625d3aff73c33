"""Version 0.1 itself: its own code, taken from this clone's history and run in processes of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMIT = "82eca03de8e845f91b299ba6f101c2f20ddfad06"


@dataclass(frozen=True)
class Version01:
    """A folder with `trainer`, `operator`, `crds` and `helm` as they were."""

    root: Path

    def environment(self, *more: Path, **variables: str) -> dict[str, str]:
        """What a Python needs to import this version's modules, and those in the folders `more`."""
        path = os.pathsep.join(map(str, (self.root, self.root / "operator", *more)))
        return os.environ | {"PYTHONPATH": path} | variables

    def python(
        self,
        *arguments: str | Path,
        stdin: str = "",
        cwd: Path | None = None,
        imports: Sequence[Path] = (),
        **env: str,
    ) -> subprocess.CompletedProcess[str]:
        """Runs Python with this version's modules."""
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd or self.root,
            env=self.environment(*imports, **env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


def unpacked(folder: Path) -> Version01:
    """Version 0.1 in this folder.

    Raises:
        AssertionError: the clone lacks the commit.
    """
    asked = ["git", "-C", str(ROOT), "archive", "--format=tar", COMMIT, "operator", "trainer", "crds", "helm"]
    packed = subprocess.run(asked, capture_output=True, check=False)
    assert packed.returncode == 0, (
        f"version 0.1 is commit {COMMIT[:7]}, and this clone must have it, but git says: "
        f"{packed.stderr.decode().strip()}; fetch the whole history with `git fetch --unshallow`"
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return Version01(folder)
