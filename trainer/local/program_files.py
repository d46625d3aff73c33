"""The files that a program's results rest on, as hashes, and what a script imports before it does anything else."""

import ast
import contextlib
import hashlib
import importlib.util
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from glob import escape
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from trainer.experiment.code import combined
from trainer.experiment.errors import UserError
from trainer.experiment.program import Program
from trainer.experiment.record import CODE, INPUTS
from trainer.local.folder import is_run
from trainer.local.launcher import QUIET_SECONDS

_CHUNK_BYTES = 2**20
_INSTALLED = {"site-packages", "dist-packages"}
# The first optimizer imports the compiler, which takes as long as the rest of torch.
_IMPORTED_LATER = {"torch": ("torch._dynamo",)}
# What others that are imported after these may be loaded before.
_MAKE_NO_DIFFERENCE = {*sys.stdlib_module_names, "trialrun"}

Look = tuple[str, int, int]


class Content:
    """What files and folders hold, as a hash. They are read again only where one looks changed."""

    def __init__(self, files: Callable[[], Iterator[tuple[str, Path]]]) -> None:
        """`files` gives their names, which count too, and where they are."""
        self._files = files
        self._looks: list[Look] = []
        self._hash = ""

    def now(self, waits: Callable[[str], None]) -> str:
        """The hash, empty without any file; `waits` is told where it takes long.

        Raises:
            OSError: one is missing or can't be read.
        """
        found = list(self._files())
        looks = [(name, of.st_size, of.st_mtime_ns) for name, path in found for of in [path.stat()]]
        if looks != self._looks:
            for _, path in found:
                _drop_outdated_bytecode(path)
            self._hash = _hash(found, waits) if found else ""
            self._looks = looks
        return self._hash


class ProgramFiles:
    """The files of a program, whose relative paths begin where the `file` of its experiment is."""

    def __init__(self, program: Program, file: Path) -> None:
        self.program = program
        self.code = file.parent / program.code if program.code is not None else None
        self.folder = ((self.code or file.parent) / (program.working_directory or ".")).absolute()
        self._inputs = Content(self._declared)
        self._code = Content(self._own if self.code is None else partial(code_files, self.code, file))

    def require_folders(self) -> None:
        """Raises UserError where the folder of its code, or the one that it starts in, is none."""
        if self.code is not None and not self.code.is_dir():
            told = f"got {self.code}, which is none"
            if self.program.config_map is not None:
                told = f"got {self.program.code}, which a cluster has; give the folder that it was made of"
            raise UserError(f"spec.program.code: must be a folder on this machine, {told}")
        if not self.folder.is_dir():
            raise UserError(f"spec.program.workingDirectory: must be a folder, got {self.folder}, which is none")

    def require_startable(self) -> None:
        """Raises UserError where a folder is none, or the command can't be started."""
        self.require_folders()
        command = self.program.command[0]
        if "${" not in command and not _is_found(command, self.folder):
            raise UserError(
                f"spec.program.command[0]: must be a program, got {command}, which is not found on PATH or, with a / "
                f"in it, from {self.folder}"
            )

    def content(self, waits: Callable[[str], None]) -> dict[str, str]:
        """Hashes of what a result rests on, as a record's evidence has them; `waits` is told where it takes long.

        Raises:
            UserError: an input is missing or can't be read.
        """
        try:
            told = {INPUTS: self._inputs.now(waits), CODE: self._code.now(waits)}
        except OSError as error:
            raise UserError(
                f"spec.program: files that can be read are required, got {error.filename}: {error.strerror}"
            ) from error
        return {key: text for key, text in told.items() if text}

    def packages(self) -> dict[str, str]:
        """Versions of Python and of what the program's own files import, where `python` runs them."""
        if self.program.command[0] != "python":
            return {}
        scripts = (path for _, path in self._own() if path.suffix == ".py")
        nodes = (node for script in scripts for each in _statements(script) for node in ast.walk(each))
        imports = (node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))
        found = {"python": platform.python_version()}
        for name in sorted({name.partition(".")[0] for each in imports for name in _imported(each)}):
            if _is_installed(name) and (version := _version(name)):
                found[name] = version
        return found

    @property
    def script(self) -> Path | None:
        """The script, where the command is exactly `python FILE.py …`."""
        python, *rest = self.program.command
        file = self.folder / rest[0] if rest else self.folder
        return file if python == "python" and file.suffix == ".py" and file.is_file() else None

    def _declared(self) -> Iterator[tuple[str, Path]]:
        """The files that the program says it reads, with all that is in folders."""
        for i, name in enumerate(self.program.inputs):
            path = self.folder / name
            if not os.access(path, os.R_OK):
                raise UserError(
                    f"spec.program.inputs[{i}]: must be a file or folder that can be read, got {path}, which "
                    f"{'may not be read' if path.exists() else 'is not there'}"
                )
            if not path.is_dir():
                yield name, path
                continue
            for file in sorted(each for each in path.rglob("*") if each.is_file()):
                yield f"{name}/{file.relative_to(path)}", file

    def _own(self) -> Iterator[tuple[str, Path]]:
        """The files that the command names, and the modules beside a script that it imports."""
        found: dict[Path, str] = {}
        command = self.program.command
        for before, word in zip(("", *command), command, strict=False):
            if "${" in word:
                continue
            if (path := self.folder / word).is_file():
                named, beside = [path], path.parent
            elif before == "-m":
                named, beside = _modules(self.folder, word), self.folder
            else:
                continue
            for path in named:
                found.setdefault(path, os.path.relpath(path, self.folder))
                known = set(found)
                for module in _imports(path, beside, known):
                    found[module] = os.path.relpath(module, self.folder)
        yield from ((name, path) for path, name in found.items())


def code_files(folder: Path, file: Path) -> Iterator[tuple[str, Path]]:
    """The files of a code folder by their paths in it: what a cluster gets.

    Not hidden ones, compiled ones, results of runs, nor the experiment's own `file`: more choices are no other code.

    Raises:
        OSError: a folder can't be read.
    """
    found = dict[str, Path]()
    for here, folders, names in os.walk(folder, onerror=_refuse):
        at = Path(here)
        folders[:] = [each for each in folders if _may_be_code(each) and not is_run(at / each)]
        own = file.name if at.resolve() == file.parent.resolve() else None
        for name in names:
            if _may_be_code(name) and name != own and (at / name).is_file():
                found[(at / name).relative_to(folder).as_posix()] = at / name
    yield from sorted(found.items())


def _may_be_code(name: str) -> bool:
    return not name.startswith(".") and name != "__pycache__"


def _refuse(error: OSError) -> None:
    raise error


def leading_imports(script: Path) -> list[str]:
    """The installed packages that a script imports before any other statement, in its order.

    Loading these beforehand makes no difference to it, however it may set things up before it imports others.
    """
    found: dict[str, None] = {}
    _leading(script, script.parent, found)
    return [each for name in found for each in (name, *_IMPORTED_LATER.get(name, ()))]


def _leading(script: Path, beside: Path, found: dict[str, None]) -> None:
    for i, statement in enumerate(_statements(script)):
        if i == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            return
        for name in _imported(statement):
            if own := _modules(beside, name):
                _leading(own[0], beside, found)
                return  # whatever follows its imports comes before what is left here
            top = name.partition(".")[0]
            if _is_installed(top):
                found[top] = None
            elif top not in _MAKE_NO_DIFFERENCE:
                return


def _is_found(command: str, folder: Path) -> bool:
    if "/" in command:
        return os.access(folder / command, os.X_OK)
    # What is installed beside the interpreter, such as torchrun, comes first on a program's PATH.
    beside = shutil.which(command, path=str(Path(sys.executable).parent))
    return command.startswith("python") or (beside or shutil.which(command)) is not None


def _is_installed(name: str) -> bool:
    if name in ("trainer", "trialrun"):  # a process that loads scripts loads nothing of ours
        return False
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None and bool(_INSTALLED & set(Path(spec.origin).parts))


def _version(name: str) -> str:
    """The version of a package by the name that it is imported under; empty where it tells none."""
    with contextlib.suppress(PackageNotFoundError):
        return version(name)  # most have the same; to look up the others takes long
    for package in packages_distributions().get(name, ()):
        return version(package)
    return ""


def _imports(script: Path, beside: Path, known: set[Path]) -> Iterator[Path]:
    """The modules in a folder that a script in it imports, and those that these import; each once."""
    if script.suffix != ".py":
        return
    for tree in _statements(script):
        for node in ast.walk(tree):
            for name in _imported(node) if isinstance(node, ast.Import | ast.ImportFrom) else ():
                for module in _modules(beside, name):
                    if module not in known:
                        known.add(module)
                        yield module
                        yield from _imports(module, beside, known)


def _imported(statement: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    return [statement.module] if statement.module and not statement.level else []


def _modules(folder: Path, name: str) -> list[Path]:
    """The files of a module in a folder, of a package all of its; empty where it is not there."""
    top = folder / name.partition(".")[0]
    if top.with_suffix(".py").is_file():
        return [top.with_suffix(".py")]
    first = top / "__init__.py"
    return [first, *sorted(each for each in top.rglob("*.py") if each != first)] if first.is_file() else []


def _statements(script: Path) -> list[ast.stmt]:
    try:
        return ast.parse(script.read_bytes()).body
    except (SyntaxError, ValueError, OSError):
        return []  # Python will say so


def _drop_outdated_bytecode(source: Path) -> None:
    """Python takes bytecode for current where its file was changed in the same second and is as long as before."""
    if source.suffix != ".py":
        return
    changed = source.stat().st_mtime_ns
    for compiled in source.parent.glob(f"__pycache__/{escape(source.stem)}.*.pyc"):
        with contextlib.suppress(OSError):  # gone, or where nothing may be written
            if compiled.stat().st_mtime_ns <= changed:
                compiled.unlink()


def _hash(files: Iterable[tuple[str, Path]], waits: Callable[[str], None]) -> str:
    hashes, began, told = list[tuple[str, str]](), time.monotonic(), False
    for name, path in files:
        content = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                content.update(chunk)
                if not told and time.monotonic() > began + QUIET_SECONDS:
                    told = True
                    waits("the content of spec.program.inputs to be read")
        hashes.append((name, content.hexdigest()))
    return combined(hashes)
