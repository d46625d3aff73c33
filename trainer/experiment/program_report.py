"""What a program has told and how it ended, in the words of a rank's report: alike here and in a pod. Pure."""

import hashlib
from collections.abc import Iterable, Mapping

from trainer.experiment.outcome import EXIT_CODES, Outcome
from trainer.experiment.progress import ProgressReport, decode
from trainer.experiment.record import DATA, INPUTS, STEP, VALIDATION, Environment, Memory, RankReport, naive_name
from trainer.experiment.spec import Scalar

TOLD_BY_CODE = {number: outcome for outcome, number in EXIT_CODES.items() if outcome is not Outcome.CRASHED}


SILENT = "it ended without a report: none by trialrun.py, and no line in the file that TRIALRUN_REPORTS names"


class Told:
    """What a program's reports come to: the last one, and what stood in any of them.

    `wrong` is why they count for nothing, empty where they do count; `error` is what ended the program, as it told.
    """

    def __init__(self, where: str) -> None:
        """`where` is what the reports stand in, as a sentence names it."""
        self.last: ProgressReport | None = None
        self.naive: Mapping[str, float] = {}
        self.read: set[str] | None = None
        self.wrong = ""
        self.error = ""
        self.count = 0
        self._rests_on: dict[str, str] = {}
        self._where = where
        self._processes: set[int] = set()

    def take(self, line: bytes) -> ProgressReport | None:
        """Takes a line in; gives its report, None where it holds none that counts."""
        if not line.strip() or self.wrong:
            return None
        self.count += 1
        try:
            report = decode(line)
        except ValueError as error:
            self.wrong = f"{self._where}, line {self.count}: {error}"
            return None
        self.error = report.error or self.error
        if report.error and not report.metrics:
            return None  # of whatever process
        if report.process is not None:
            self._processes.add(report.process)
        if len(self._processes) > 1:
            both = " and ".join(map(str, sorted(self._processes)))
            self.wrong = f"processes {both} reported for one trial; one process must, under DDP rank 0"
            return None
        self.last = report
        self.naive = report.naive or self.naive
        self._rests_on |= {
            key: text for key in (DATA, VALIDATION) if (text := getattr(report.rests_on, key)) is not None
        }
        if report.read is not None:
            self.read = (self.read or set()) | set(report.read)
        return report

    def beside(self) -> dict[str, Scalar]:
        """What stands in a record's evidence: the last step, and hashes of what the result rests on."""
        found: dict[str, Scalar] = {}
        if self.last is not None:
            found[STEP] = self.last.step
            if self.last.inputs is not None:
                found[INPUTS] = self.last.inputs
        return found | {key: hashlib.sha256(text.encode()).hexdigest()[:12] for key, text in self._rests_on.items()}


def told(lines: Iterable[bytes], where: str) -> Told:
    """What some lines of reports come to."""
    found = Told(where)
    for line in lines:
        found.take(line)
    return found


def outcome_of(exit_code: int) -> Outcome | None:
    """The outcome that a program tells by an exit code; None where a code tells nothing but that it failed."""
    return TOLD_BY_CODE.get(exit_code)


def rank_report(
    told: Told,
    rank: int,
    ended: Outcome | None,
    *,
    error: str = "",
    memory: Memory | None = None,
    environment: Environment | None = None,
    clock: int = 0,
) -> RankReport | None:
    """What the rank would have said in our trainer's words; only figures where it is not said how it `ended`.

    None where rank 0 ended well and has told nothing.
    """
    metrics = dict[str, float]()
    if rank == 0 and told.last is not None:
        metrics = dict(told.last.metrics) | {naive_name(name): value for name, value in told.naive.items()}
    elif rank == 0 and ended is Outcome.SUCCEEDED:
        return None
    return RankReport(
        rank=rank,
        outcome=ended or Outcome.SUCCEEDED,
        provisional=ended is None,
        error=error if ended is not None else "",
        metrics=metrics,
        memory=memory,
        clock=clock,
        environment=environment,
    )
