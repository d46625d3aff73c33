"""What a program tells while it runs: a line of JSON for each report. The other end of `trialrun.py`. Pure."""

from typing import Annotated

from pydantic import Field, ValidationError

from trainer.experiment.error_messages import sentences
from trainer.experiment.record import MAX_ERROR_CHARACTERS, Environment, Memory, Reported
from trainer.experiment.section import HASH, METRIC, Text

PROTOCOL = 1
# What a trial leaves step by step, in its folder: reports of a program, epochs of our trainer.
REPORTS, HISTORY = "reports.jsonl", "history.jsonl"
MOST_METRICS = 100

Name = Annotated[str, Field(pattern=METRIC, max_length=64)]
Figures = Annotated[dict[Name, Annotated[float, Field(allow_inf_nan=True)]], Field(max_length=MOST_METRICS)]


class RestsOn(Reported):
    """Fingerprints, any text, of what a result rests on."""

    data: Text | None = None
    validation: Text | None = None


class ProgressReport(Reported):
    """The metrics after a step. `naive` are those of a prediction that has learnt nothing.

    `read` are the parameters that the program has asked for, None where it doesn't say, `process` is who reports. The
    rest is what a program in a pod tells of itself, as nobody sees it from outside: a hash of its inputs, the error
    that ended it, when that was (milliseconds since 1970), its memory, and where it runs.
    """

    step: Annotated[int, Field(ge=0)] = 0
    metrics: Figures = Field(default_factory=dict)
    naive: Figures = Field(default_factory=dict)
    rests_on: RestsOn = RestsOn()
    read: tuple[str, ...] | None = None
    process: int | None = None
    inputs: Annotated[str, Field(pattern=HASH)] | None = None
    error: Annotated[str, Field(max_length=MAX_ERROR_CHARACTERS)] = ""
    clock: Annotated[int, Field(ge=0)] = 0
    memory: Memory | None = None
    environment: Environment | None = None


def decode(line: bytes) -> ProgressReport:
    """The report that a line holds. Of its metrics some may be NaN or infinite.

    Raises:
        ValueError: it holds none; says where, the rule and what was found.
    """
    try:
        return ProgressReport.model_validate_json(line)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            shown = line[:80].decode(errors="replace")
            raise ValueError(f"must be a JSON object on one line, got {shown}") from error
        raise ValueError(next(sentences(ProgressReport, error))) from error
