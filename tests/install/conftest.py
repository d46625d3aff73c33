"""What install tests share: the wheel, and environments with nothing but it and what it asks for."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Installed:
    """An environment that the wheel was installed into."""

    folder: Path

    def __call__(self, *command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Runs a program of the environment in a folder, with nothing of this process's environment but its home."""
        program = self.folder / "bin" / command[0]
        return subprocess.run([program, *command[1:]], cwd=cwd, env=self._variables(), capture_output=True, text=True)

    def _variables(self) -> dict[str, str]:
        return {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "HOME": str(self.folder.parent / "home")}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", out], cwd=ROOT, check=True)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Installed]:
    def into_an_empty_environment(extra: str) -> Installed:
        folder = tmp_path_factory.mktemp("installed") / "venv"
        uv = [BIN / "uv", "--quiet"]
        subprocess.run([*uv, "venv", "--python", sys.executable, folder], check=True)
        # The versions that were locked, so that what passes today passes tomorrow.
        locked = ["--constraint", ROOT / "requirements" / "run.txt"]
        # Python compiles what is imported: a part.
        later = os.environ | {"UV_COMPILE_BYTECODE": "0"}
        subprocess.run([*uv, "pip", "install", "--python", folder, f"{wheel}{extra}", *locked], env=later, check=True)
        return Installed(folder)

    return into_an_empty_environment


@pytest.fixture(scope="session")
def plain(install: Callable[[str], Installed]) -> Installed:
    """`pip install trialrun`: no torch, nor numpy."""
    return install("")


@pytest.fixture(scope="session")
def trainer(install: Callable[[str], Installed]) -> Installed:
    """`pip install 'trialrun[trainer]'`."""
    return install("[trainer]")
