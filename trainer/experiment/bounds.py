"""What bounds a search: how much it may spend, when a trial is stopped early, and what a best point must keep to."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from trainer.experiment.section import METRIC, Count, Positive, Rule, Section, on_cluster

# What Trialrun measures of every trial itself, beside what the trial reports.
PEAK_MEMORY, TOTAL_SECONDS = "peakMemoryBytes", "totalSeconds"
MEASURED = (PEAK_MEMORY, TOTAL_SECONDS)


class Constraint(Section):
    """A figure of a trial that must be at most, or at least, a value. Points that break it are never best."""

    model_config = ConfigDict(
        json_schema_extra=on_cluster(
            Rule("has(self.atMost) || has(self.atLeast)", "must have atMost or atLeast"),
            Rule(
                "!has(self.atMost) || !has(self.atLeast) || self.atLeast <= self.atMost",
                "must be at most atMost",
                "atLeast",
            ),
        )
    )

    metric: Annotated[str, Field(pattern=METRIC, max_length=64)] = Field(
        description="A metric that trials report, or what Trialrun measures of each: peakMemoryBytes, the most of "
        "any rank, or totalSeconds."
    )
    at_most: float | None = Field(None, description="The largest value that will do.")
    at_least: float | None = Field(None, description="The smallest value that will do.")

    def disagreement(self) -> str | None:
        """It bounds something, and leaves something."""
        if self.at_most is None and self.at_least is None:
            return "a constraint must have atMost or atLeast, got neither"
        if self.at_most is not None and self.at_least is not None and self.at_most < self.at_least:
            return f"atLeast must be at most atMost, got atLeast {self.at_least:g} and atMost {self.at_most:g}"
        return None


class Budget(Section):
    """When a search ends before all its points are tried. What runs then goes on to its end."""

    max_seconds: Annotated[int, Field(ge=1, le=315_360_000)] | None = Field(
        None, description="The seconds in which trials ran, after which none starts; pauses between don't count."
    )
    max_cost: Positive | None = Field(
        None, description="What trials may cost by spec.prices and spec.pod.resources, after which none starts."
    )
    target: float | None = Field(
        None, description="The objective that is good enough: once a point has it, nothing more starts."
    )
    plateau: Count | None = Field(
        None, description="End when so many points in a row, as they ended, were no better than the best before them."
    )


class EarlyStopping(Section):
    """When a trial that does worse than others did at the same step is stopped.

    Trials are compared at rungs: those of ASHA are minStep, minStep x reduction, minStep x reduction² and so on,
    those of Median every minStep steps. A step is what programs report; of Trialrun's trainer an epoch, from 1.
    """

    model_config = ConfigDict(
        json_schema_extra=on_cluster(
            Rule("self.rule != 'Median' || !has(self.reduction)", "belongs to rule ASHA", "reduction"),
        )
    )

    rule: Literal["ASHA", "Median"] = Field(
        description="ASHA goes on with the best of every `reduction` that reached a rung, Median with those that are "
        "no worse than the median of at least five others."
    )
    min_step: Count = Field(1, description="The first step at which trials are compared.")
    reduction: Annotated[int, Field(ge=2, le=100)] = Field(
        3, description="Of how many one goes on, and how much later the next rung is (ASHA)."
    )
