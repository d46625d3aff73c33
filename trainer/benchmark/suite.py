"""Collects the results of treatments, and analyses, compares, draws, exports and imports them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from trainer.atomic import write_text
from trainer.benchmark import findings, pairs
from trainer.benchmark.findings import Findings, Treatment
from trainer.benchmark.sample import LeftOut, Quantity, Sample
from trainer.experiment.errors import UserError
from trainer.experiment.metrics import Direction
from trainer.experiment.record import Reported
from trainer.experiment.spec import Scalar


class Exported(Reported):
    """A file of findings: a suite's, or a run's statistics.json, which says more."""

    model_config = ConfigDict(extra="ignore")
    schema_version: Literal[1] = Field(1, alias="schema")
    findings: Findings


@dataclass
class Suite:
    """Results of one quantity, by treatment. A result is a run's: ranks that ran together make one result.

    suite = Suite("loadSeconds", unit="s")
    suite.add("avro lz4", 1.31)
    ...
    suite.export(Path("loading.json"))
    """

    name: str
    unit: str = ""
    better: Direction = "Minimize"
    samples: dict[str, Sample] = field(default_factory=dict)

    def add(self, treatment: str, *values: float, parameters: Mapping[str, Scalar] | None = None) -> None:
        """Adds results of a treatment, of which the first call may say its parameters.

        Raises:
            ValueError: a value is not finite.
        """
        known = self.samples.get(treatment) or Sample(treatment=treatment, parameters=dict(parameters or {}))
        self.samples[treatment] = _with(known, values=(*known.values, *values))

    def leave_out(self, treatment: str, run: str, reason: str) -> None:
        """Says that a run of a treatment left no result, and why."""
        known = self.samples.get(treatment) or Sample(treatment=treatment)
        self.samples[treatment] = _with(known, left_out=(*known.left_out, LeftOut(run=run, reason=reason)))

    @property
    def quantity(self) -> Quantity:
        """What the results measure."""
        return Quantity(name=self.name, unit=self.unit, better=self.better)

    def analyse(self) -> tuple[Treatment, ...]:
        """Each treatment by itself, the best first."""
        return findings.analyse(self.quantity, tuple(self.samples.values()))

    def compare(self) -> pairs.Comparison:
        """The treatments two at a time."""
        return self.findings().comparison

    def findings(self) -> Findings:
        """Both in one."""
        return findings.find(self.quantity, tuple(self.samples.values()))

    def draw(self, folder: Path) -> list[Path]:
        """Leaves PNG files in `folder` and returns their paths.

        Raises:
            UserError: the folder can't be written.
        """
        from trainer.benchmark import pictures

        return pictures.draw(self.findings(), folder)

    def export(self, path: Path) -> None:
        """Writes results and findings as JSON.

        Raises:
            OSError: the file can't be written.
        """
        write_text(path, Exported(findings=self.findings()).model_dump_json(by_alias=True, indent=2) + "\n")

    @classmethod
    def imported(cls, path: Path) -> "Suite":
        """The suite that a file was exported from; of a run's statistics.json, the objective's.

        Raises:
            UserError: the file can't be read, or is none of these.
        """
        try:
            found = Exported.model_validate_json(path.read_bytes()).findings
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise UserError(f"{path}: must be an exported suite or a statistics.json, got: {error}") from error
        quantity = found.quantity
        samples = {treatment.name: treatment.sample for treatment in found.treatments}
        return cls(quantity.name, quantity.unit, quantity.better, samples)


def _with(sample: Sample, **changed: object) -> Sample:
    """The sample with some fields changed, and judged anew."""
    return Sample.model_validate({**dict(sample), **changed})
