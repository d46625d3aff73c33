"""`pod`: the only fields of a trial's pod that a user may set. Whatever is not here cannot be asked for."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from trainer.experiment.placement import Affinity, Toleration
from trainer.experiment.section import ABSOLUTE, QUANTITY, VARIABLE, ObjectName, Section, Text

Labels = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=317)], Annotated[str, Field(max_length=1024)]],
    Field(max_length=64),
]
# Kubernetes takes a whole number without quotes; it means the same text.
Quantity = Annotated[
    str,
    Field(pattern=QUANTITY, max_length=32, json_schema_extra={"type": ["string", "integer"], "minimum": 0}),
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
]


def _quantities(description: str) -> "dict[str, Quantity]":
    return Field(default_factory=dict, max_length=16, description=description)


class Resources(Section):
    """What Kubernetes reserves for a worker and the most it may use."""

    requests: dict[Text, Quantity] = _quantities("What the scheduler reserves: cpu, memory, nvidia.com/gpu.")
    limits: dict[Text, Quantity] = _quantities("The most a worker may use; memory beyond it ends as HostOOM.")


class ImagePullSecret(Section):
    """A secret of the experiment's namespace that opens an image registry."""

    name: ObjectName = Field(description="The secret's name.")


class EnvironmentVariable(Section):
    """A plain environment variable; values from secrets are not taken."""

    name: Annotated[str, Field(pattern=VARIABLE, max_length=253)] = Field(description="The variable's name.")
    value: Annotated[str, Field(max_length=4096)] = Field("", description="Its value.")


class Pod(Section):
    """How a trial's pods are scheduled. Used on a cluster only; locally it says nothing."""

    image: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="The trainer image; the chart's `trainer.image` by default."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When the image is pulled."
    )
    image_pull_secrets: Annotated[tuple[ImagePullSecret, ...], Field(max_length=16)] = Field(
        (), description="Secrets that open the image's registry."
    )
    resources: Resources = Field(Resources(), description="Requests and limits of each worker.")
    node_selector: Labels = Field(default_factory=dict, description="Labels a node must have.")
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = Field(
        (), description="Taints the pods tolerate, as in a pod."
    )
    affinity: Affinity = Field(
        Affinity(), description="Node and pod affinity, as in a pod. Only pods of the same namespace count."
    )
    priority_class_name: ObjectName | None = Field(None, description="The pods' priority class.")
    runtime_class_name: ObjectName | None = Field(None, description="The pods' runtime class.")
    labels: Labels = Field(default_factory=dict, description="Further labels, such as Kueue's queue name.")
    annotations: Labels = Field(default_factory=dict, description="Further annotations.")
    env: Annotated[tuple[EnvironmentVariable, ...], Field(max_length=64)] = Field(
        (), description="Plain environment variables, such as NCCL_DEBUG."
    )
    working_dir: Annotated[str, Field(min_length=1, max_length=1024, pattern=ABSOLUTE)] | None = Field(
        None, description="Where a program starts in its image, in place of program.workingDirectory."
    )
    data_claim: ObjectName | None = Field(
        None, description="A PersistentVolumeClaim with data sets, mounted read-only at /data."
    )
    output_claim: ObjectName | None = Field(
        None, description="A PersistentVolumeClaim for artefacts and checkpoints, mounted at /output."
    )
