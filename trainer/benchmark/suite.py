"""Collects the results of treatments, and analyses, compares, shows, draws, exports and imports them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from trainer.atomic import write_text
from trainer.benchmark import drawing, findings, text
from trainer.benchmark.box_plot import finite
from trainer.benchmark.findings import Comparison, Findings, LeftOut, Quantity, Sample, Treatment
from trainer.experiment.error_messages import sentences
from trainer.experiment.errors import UserError
from trainer.experiment.metrics import Direction
from trainer.experiment.record import Reported
from trainer.experiment.spec import Scalar

_MOST_MISTAKES = 3


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
    print(suite.text())
    suite.export("loading.json")
    """

    name: str
    unit: str = ""
    better: Direction = "Minimize"
    samples: dict[str, Sample] = field(default_factory=dict)

    def add(self, treatment: str, *values: float, parameters: Mapping[str, Scalar] | None = None) -> None:
        """Adds results of a treatment, of which the first call may say its parameters.

        Raises:
            ValueError: a value is not a finite number.
        """
        found = [finite(value, f"{treatment}: a result must be a finite number") for value in values]
        known = self.samples.get(treatment) or Sample(treatment=treatment, parameters=dict(parameters or {}))
        self.samples[treatment] = _with(known, values=(*known.values, *found))

    def leave_out(self, treatment: str, run: str, reason: str) -> None:
        """Says that a run of a treatment left no result, and why."""
        known = self.samples.get(treatment) or Sample(treatment=treatment)
        self.samples[treatment] = _with(known, left_out=(*known.left_out, LeftOut(run=run, reason=reason)))

    @property
    def quantity(self) -> Quantity:
        """What the results measure."""
        return Quantity(name=self.name, unit=self.unit, better=self.better)

    def analyse(self) -> tuple[Treatment, ...]:
        """Each treatment by itself, the best first.

        Raises:
            PackageMissing: scipy is not installed.
        """
        return findings.analyse(self.quantity, tuple(self.samples.values()))

    def compare(self) -> Comparison:
        """The treatments two at a time.

        Raises:
            PackageMissing: scipy or statsmodels is not installed.
        """
        return self.findings().comparison

    def findings(self) -> Findings:
        """Both in one.

        Raises:
            PackageMissing: scipy or statsmodels is not installed.
        """
        return findings.find(self.quantity, tuple(self.samples.values()))

    def text(self) -> str:
        """Ranking, box plots and pairs as tables for a terminal.

        Raises:
            PackageMissing: scipy or statsmodels is not installed.
        """
        return text.written(self.findings())

    def draw(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Leaves PNG files in `folder` and returns their paths.

        Raises:
            UserError: the folder can't be written.
            PackageMissing: scipy, statsmodels or matplotlib is not installed.
        """
        return drawing.draw(self.findings(), folder)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Writes results and findings as JSON.

        Raises:
            UserError: the file can't be written.
            PackageMissing: scipy or statsmodels is not installed.
        """
        exported = Exported(findings=self.findings()).model_dump_json(by_alias=True, indent=2) + "\n"
        try:
            write_text(Path(path), exported)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error

    @classmethod
    def imported(cls, path: str | os.PathLike[str]) -> "Suite":
        """The suite that a file was exported from; of a run's statistics.json, the objective's.

        Raises:
            UserError: the file can't be read, or is none of these.
        """
        try:
            found = Exported.model_validate_json(Path(path).read_bytes()).findings
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            mistakes = "; ".join(islice(sentences(Exported, error), _MOST_MISTAKES))
            raise UserError(f"{path}: must be an exported suite or a statistics.json: {mistakes}") from error
        quantity = found.quantity
        samples = {treatment.name: treatment.sample for treatment in found.treatments}
        return cls(quantity.name, quantity.unit, quantity.better, samples)


def _with(sample: Sample, **changed: object) -> Sample:
    """The sample with some fields changed, and judged anew."""
    return Sample.model_validate({**dict(sample), **changed})
