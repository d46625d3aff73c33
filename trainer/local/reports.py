"""What a program tells of its trial: the file that it appends lines to, read as it grows."""

from pathlib import Path

from trainer.experiment.program_report import Told
from trainer.experiment.progress import REPORTS, ProgressReport

_MOST_BYTES = 64 * 2**20


class Reports:
    """The file that a trial's program reports into; `told` is what it comes to."""

    def __init__(self, path: Path) -> None:
        self.told = Told(REPORTS)
        self._path = path
        self._at = 0
        self._pending = b""

    def take(self) -> list[ProgressReport]:
        """Reads what is new; the reports in it."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                received = file.read(_MOST_BYTES + 1)
        except OSError:
            return []
        self._at += len(received)
        *lines, self._pending = (self._pending + received).split(b"\n")
        found = [report for line in lines if (report := self.told.take(line)) is not None]
        if self._at > _MOST_BYTES and not self.told.wrong:
            self.told.wrong = f"{REPORTS}: must have at most {_MOST_BYTES >> 20} MiB, and has more"
        return found

    def finish(self, *, orderly: bool) -> list[ProgressReport]:
        """Reads the rest, now that the program is over, also a line whose end is missing; the reports in it.

        One that can't be read was being written, unless the program ended by itself and in `orderly` fashion.
        """
        found = self.take()
        rest, self._pending = self._pending, b""
        wrong = self.told.wrong
        report = self.told.take(rest)
        if not orderly:
            self.told.wrong = wrong
        return found if report is None else [*found, report]
