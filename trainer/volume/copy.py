"""Copies files to a volume and folders from it: whole or not at all."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import IO

from trainer.experiment.errors import UserError
from trainer.experiment.pod import Pod
from trainer.kubectl import kubectl, meaning
from trainer.volume.pod import MOUNTED, mounted

# Receives a file of a known size and SHA-256; it appears whole or not at all.
_RECEIVE = """
import hashlib, os, sys
path, size, wanted = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.makedirs(os.path.dirname(path), exist_ok=True)
part, left, found = path + ".part", size, hashlib.sha256()
with open(part, "wb") as file:
    while left:
        block = sys.stdin.buffer.read(min(left, 1 << 20))
        if not block:
            break
        file.write(block)
        found.update(block)
        left -= len(block)
        os.utime("/tmp/alive")
    file.flush()
    os.fsync(file.fileno())
if left or found.hexdigest() != wanted:
    os.unlink(part)
    sys.exit(f"{left} of {size} bytes are missing" if left else "the bytes that arrived are not those that were sent")
os.replace(part, path)
"""
# Sends folders as a tar stream whose last member says that it is whole.
_SEND = """
import io, json, os, sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
    for name, folder in json.loads(sys.stdin.readline()).items():
        folder = os.path.join(sys.argv[1], folder)
        for here, _, files in os.walk(folder):
            for file in sorted(files):
                path = os.path.join(here, file)
                if not file.startswith(".") and not os.path.islink(path):
                    tar.add(path, os.path.join(name, os.path.relpath(path, folder)))
                    os.utime("/tmp/alive")
    tar.addfile(tarfile.TarInfo(".whole"), io.BytesIO())
"""


class Volume:
    """A mounted volume; `opened` makes it."""

    def __init__(self, claim: str, namespace: str | None, pod: str) -> None:
        self._claim = claim
        self._namespace = namespace
        self._pod = pod

    def put(self, path: Path, name: str) -> None:
        """Copies the file at `path` to `name` on the volume; what stands there is replaced when all has arrived.

        Raises:
            UserError: it can't be read, or didn't arrive as it was sent.
        """
        try:
            with path.open("rb") as file:
                digest = file_digest(file, "sha256").hexdigest()
                size = file.tell()
                file.seek(0)
                done = self._run(_RECEIVE, f"{MOUNTED}/{name}", str(size), digest, stdin=file)
        except OSError as error:
            raise UserError(f"{path}: a readable file is needed ({error.strerror or error})") from error
        if done.returncode:
            said = meaning(done.stderr) if done.stderr.strip() else "the connection ended"
            raise UserError(f"{path}: could not be copied to claim {self._claim}: {said}; run the command again")

    def take(self, folders: Mapping[str, str], into: Path) -> None:
        """Copies folders of the volume: from each name here under `into` to the folder there that it stands for.

        A folder that isn't there is left out.

        Raises:
            UserError: they could not be read, or the connection broke off.
        """
        command = kubectl(self._namespace, "exec", "--stdin", self._pod, "--", "python", "-c", _SEND, MOUNTED)
        with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as errors:
            request.write(json.dumps(dict(folders)).encode() + b"\n")
            request.seek(0)
            with subprocess.Popen(command, stdin=request, stdout=subprocess.PIPE, stderr=errors) as process:
                assert process.stdout is not None  # noqa: S101
                try:
                    whole = _unpack(process.stdout, into)
                except tarfile.TarError:
                    whole = False
                except OSError as error:
                    raise UserError(f"{into}: cannot be written ({error.strerror or error})") from error
            errors.seek(0)
            said = errors.read().decode(errors="replace")
        if process.returncode or not whole:
            found = meaning(said) if said.strip() else "the connection ended"
            raise UserError(f"claim {self._claim}: could not be read to the end: {found}; run the command again")

    def _run(self, script: str, *arguments: str, stdin: IO[bytes]) -> subprocess.CompletedProcess[str]:
        command = kubectl(self._namespace, "exec", "--stdin", self._pod, "--", "python", "-c", script, *arguments)
        return subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=False)


@contextmanager
def opened(claim: str, namespace: str | None, chosen: Pod, *, writable: bool = False) -> Iterator[Volume]:
    """The volume of `claim`, for as long as the context lasts; `chosen` says which image copies, and where.

    Raises:
        UserError: there is no such claim, or the pod could not be started; the sentence says why.
    """
    with mounted(claim, namespace, chosen, writable=writable) as pod:
        yield Volume(claim, namespace, pod)


def _unpack(stream: IO[bytes], into: Path) -> bool:
    """Whether the tar stream was whole. Only plain files inside `into` are made, whatever it holds.

    By hand: the filters of `tarfile` came with Python 3.11.4, and Debian 12 has 3.11.2.

    Raises:
        TarError: it ends in the middle of a file, or a name in it leads out of `into`.
    """
    whole, root = False, into.resolve()
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            if member.name == ".whole":
                whole = True
            elif member.isreg():
                path = (root / member.name).resolve()
                content = tar.extractfile(member)
                if content is None or not path.is_relative_to(root):
                    raise tarfile.TarError(f"{member.name} leads out of {into}")
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(content, file)
    stream.read()
    return whole
