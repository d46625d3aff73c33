"""What a status holds: the fields that the API server keeps of it, with their bounds and sentences. Pure.

`{experiment}` in a sentence stands for what the kind is called: a search, a scale test.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from trainer.experiment.record import Reported
from trainer.experiment.space import Point
from trainer.experiment.summary import Summary

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Word = Annotated[str, Field(max_length=64, pattern="^[A-Z][A-Za-z]*$")]
Short = Annotated[str, Field(max_length=32)]
Phase = Literal["Pending", "Running", "Suspended", "Succeeded", "Failed", "Invalid"]
Holds = Literal["True", "False", "Unknown"]


class Condition(Reported):
    """Something that is so or not, as Kubernetes has it everywhere."""

    type: Word = Field(description="What it is about.")
    status: Holds = Field(description="Whether it holds.")
    observed_generation: int | None = Field(None, description="The metadata.generation that it is about.")
    last_transition_time: Moment = Field(description="When its status last changed.")
    reason: Word = Field(description="Why, in one CamelCase word for programs.")
    message: Annotated[str, Field(max_length=32_768)] = Field(
        description="Why, and what to do about it, in a sentence for people. All mistakes of an invalid "
        "{experiment}, one a line."
    )


class TrialRow(Reported):
    """A row of the table of trials."""

    index: int = Field(description="Its place in the listed order, from 0.")
    id: Annotated[str, Field(max_length=10)] = Field(description="Its identity, which follows from what it trains.")
    state: Short = Field(description="Pending, Running, or the outcome of its latest attempt.")
    parameters: Annotated[Point, Field(max_length=32)] | None = Field(
        None, description="What varies from trial to trial, by path."
    )
    repeat: int | None = Field(None, description="Which repeat of its point, from 0.")
    workers: int | None = Field(None, description="How many ranks train it.")
    attempt: int | None = Field(None, description="Which attempt, from 1.")
    job: Annotated[str, Field(max_length=63)] | None = Field(None, description="The job that runs it, or ran it.")
    seconds: float | None = Field(None, description="How long it ran.")
    peak_memory_bytes: int | None = Field(
        None, description="The most memory that any of its ranks had, as its limit counts it."
    )
    error: Annotated[str, Field(max_length=256)] | None = Field(None, description="Its error, cut short.")


class SearchTrialRow(TrialRow):
    """A row of a search's table."""

    value: float | None = Field(None, description="Its objective, when it succeeded.")


# One of each type: kubectl and other writers find a condition by it.
Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]
_CONDITIONS = (
    "What can be waited for, such as `kubectl wait --for=condition=Finished`. Accepted says whether its fields are "
    "valid, Progressing what happens now, Finished that nothing more will run, Succeeded how it went"
)


class Status(Reported):
    """What the status of both kinds holds. The operator leaves out what is not known yet."""

    observed_generation: int | None = Field(
        None, description="The metadata.generation that the rest of the status is about."
    )
    phase: Phase | None = Field(
        None,
        description="Where the {experiment} stands in one word. Pending has started nothing yet, Suspended starts "
        "nothing new, Invalid has mistakes that its conditions name; Succeeded and Failed are final until rerun is "
        "raised.",
    )
    accepted_at: Moment | None = Field(
        None, description="When the operator took it up; wall time counts from here. After a rerun, when that was."
    )
    finished_at: Moment | None = Field(
        None, description="When the last trial was recorded; absent while any is missing."
    )
    rerun: int | None = Field(None, description="The spec.rerun that has been acted on.")
    code: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="The hash of the code that its trials run, where spec.program.code is a ConfigMap."
    )
    backend: Short | None = Field(
        None, description="The kind of job that its trials run as, settled when it was first taken up."
    )
    done: Short | None = Field(None, description="Trials that are done with, of all trials, such as 12/18.")
    running: int | None = Field(
        None, description="Trials whose job exists and has not ended, those that wait for a node included."
    )
    failed: int | None = Field(None, description="Trials that failed for good.")
    conditions: Conditions = Field((), description=f"{_CONDITIONS}.")
    ledger: Annotated[tuple[Annotated[str, Field(max_length=253)], ...], Field(max_length=64)] = Field(
        (),
        description="The ConfigMaps that hold the records of all trials, one line of JSON each; they are deleted "
        "with the {experiment}.",
    )
    trials: Annotated[tuple[TrialRow, ...], Field(max_length=100)] = Field(
        (),
        description="At most 100 trials, the most telling ones: failed, running, and the best of the others. The "
        "ledger has all.",
    )
    summary: Summary | None = Field(
        None, description="What the records say, in the words of `python -m trainer report --json`."
    )

    def written(self) -> dict[str, Any]:
        """As the API server is sent it: without what is not known, but of the summary, which says that with null."""
        summary = {} if self.summary is None else {"summary": self.summary.document()}
        return self.model_copy(update={"summary": None}).as_written() | summary


class SearchStatus(Status):
    """The status of a HyperparamSearch."""

    best: Short | None = Field(None, description="The best objective so far as text; summary.best has it whole.")
    speedup: Short | None = Field(
        None,
        description="How many times faster than one trial at a time, such as 3.1x; absent unless measured and "
        "comparable.",
    )
    conditions: Conditions = Field((), description=f"{_CONDITIONS}, Comparable why there is a speedup or not.")
    trials: Annotated[tuple[SearchTrialRow, ...], Field(max_length=100)] = Field(
        (), description=str(Status.model_fields["trials"].description)
    )


class ScaleTestStatus(Status):
    """The status of a ScaleTest."""

    largest: Short | None = Field(
        None, description="The largest training set that was trained, as a multiple of the base set, such as 50x."
    )
    oom: int | None = Field(None, description="Cells that ran out of memory, the host's or a device's.")
