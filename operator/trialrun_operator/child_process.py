"""A process of the operator's own: started when it is asked, its death told as an error."""

import asyncio
import json
import logging
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from trainer.scheduling.lessons import as_json

_log = logging.getLogger(__name__)
# The longest that one answer may take: telling a process all lessons of a large search takes a few seconds.
ANSWER_SECONDS = 120.0
_END_SECONDS = 5.0
_LAST_LINES = 20
_LINE_BYTES = 2**20


class ProcessEnded(Exception):
    """The process can't be asked any more, and knows nothing when it is started again; a sentence."""


class ChildProcess:
    """Python with the words of `program`; `what` it is stands in the errors that tell of its end.

    `environment` are its variables, None for this process's.
    """

    def __init__(self, program: tuple[str, ...], what: str, environment: Mapping[str, str] | None = None) -> None:
        self.starts = 0
        self._program = program
        self._what = what
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._listening: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Its number; None while there is none."""
        return None if self._process is None else self._process.pid

    async def tell(self, *requests: Mapping[str, Any]) -> None:
        """Gives it something to do; starts it before, if it does not run. Requests may hold lessons.

        Raises:
            ProcessEnded: it died.
        """
        process = self._process or await self._start()
        assert process.stdin is not None, "it is a pipe"  # noqa: S101
        lines = await asyncio.to_thread(encoded, requests)  # thousands of lessons take a while
        try:
            process.stdin.write(lines)
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise await self._ended() from None

    async def hear(self) -> dict[str, Any]:
        """What it tells next.

        Raises:
            ProcessEnded: it died, told what is no answer, or takes too long; then it is ended.
        """
        process = self._process
        assert process is not None and process.stdout is not None, "it was told something"  # noqa: S101, PT018
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                line = await process.stdout.readline()
        except TimeoutError:
            await self.end()
            raise ProcessEnded(f"{self._what} gave no answer for {ANSWER_SECONDS:.0f} s") from None
        if not line.endswith(b"\n"):
            raise await self._ended()
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError:
            await self.end()
            raise ProcessEnded(f"{self._what} told no JSON: {line[:200]!r}") from None
        return told

    async def end(self) -> None:
        """Ends it, if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()  # it keeps nothing
        await self._buried(process)

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._program,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                limit=_LINE_BYTES,
                # A signal to the operator's group is for the operator, which ends its process.
                start_new_session=True,
            )
        except OSError as error:
            raise ProcessEnded(f"{self._what} can't be started: {error.strerror}") from error
        self.starts += 1
        self._process = process
        self._said.clear()
        self._listening = asyncio.create_task(self._listen(process), name=self._what)
        return process

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Reads what it says beside its answers; the last of it may tell why it died."""
        assert process.stderr is not None, "it is a pipe"  # noqa: S101
        while line := await process.stderr.readline():
            said = line.decode(errors="replace").rstrip()
            self._said.append(said)
            _log.debug("%s says: %s", self._what, said)

    async def _ended(self) -> ProcessEnded:
        """It has closed its pipes: what its end says."""
        process, self._process = self._process, None
        assert process is not None, "it ran"  # noqa: S101
        try:
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
        code = await self._buried(process)
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        last = next((line for line in reversed(self._said) if line.strip()), "it said nothing")
        return ProcessEnded(f"{self._what} ended {how}: {last}")

    async def _buried(self, process: asyncio.subprocess.Process) -> int:
        """Its exit code, once all that it has said is read."""
        assert process.stdin is not None and self._listening is not None, "it was started"  # noqa: S101, PT018
        process.stdin.close()
        code = await process.wait()
        await asyncio.wait([self._listening], timeout=_END_SECONDS)
        return code


def encoded(requests: Sequence[Mapping[str, Any]]) -> bytes:
    """Requests as the process reads them, a line each."""
    return b"".join(json.dumps(each, default=as_json).encode() + b"\n" for each in requests)
