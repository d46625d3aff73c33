"""What a program tells of its trial: the file that it appends lines to, read as it grows."""

from collections.abc import Mapping
from pathlib import Path

from trainer.experiment.progress import ProgressReport, decode
from trainer.experiment.record import DATA, VALIDATION

REPORTS = "reports.jsonl"
_MOST_BYTES = 64 * 2**20


class Reports:
    """The file that a trial's program reports into: the last report, and what stood in any of them.

    `wrong` is why the file as a whole counts for nothing, empty where it does count.
    """

    def __init__(self, path: Path) -> None:
        self.last: ProgressReport | None = None
        self.naive: Mapping[str, float] = {}
        self.rests_on: dict[str, str] = {}  # as a record's evidence has it
        self.read: set[str] | None = None
        self.wrong = ""
        self.count = 0
        self._path = path
        self._processes: set[int] = set()
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
        found = [report for line in lines if (report := self._take(line)) is not None]
        if self._at > _MOST_BYTES and not self.wrong:
            self.wrong = f"{REPORTS}: must have at most {_MOST_BYTES >> 20} MiB, and has more"
        return found

    def finish(self, *, orderly: bool) -> list[ProgressReport]:
        """Reads the rest, now that the program is over, also a line whose end is missing; the reports in it.

        One that can't be read was being written, unless the program ended by itself and in `orderly` fashion.
        """
        found = self.take()
        rest, self._pending = self._pending, b""
        wrong = self.wrong
        report = self._take(rest)
        if not orderly:
            self.wrong = wrong
        return found if report is None else [*found, report]

    def _take(self, line: bytes) -> ProgressReport | None:
        if not line.strip() or self.wrong:
            return None
        self.count += 1
        try:
            report = decode(line)
        except ValueError as error:
            self.wrong = f"{REPORTS}, line {self.count}: {error}"
            return None
        if report.process is not None:
            self._processes.add(report.process)
        if len(self._processes) > 1:
            both = " and ".join(map(str, sorted(self._processes)))
            self.wrong = f"processes {both} reported for one trial; one process must, under DDP rank 0"
            return None
        self.last = report
        self.naive = report.naive or self.naive
        self.rests_on |= {
            key: text for key in (DATA, VALIDATION) if (text := getattr(report.rests_on, key)) is not None
        }
        if report.read is not None:
            self.read = (self.read or set()) | set(report.read)
        return report
