"""`pod.tolerations` and `pod.affinity`: where a trial's pods may run, in the fields that Kubernetes has for it.

Every field has a type, though Kubernetes would check them too: the API server takes a free mapping of 10,000 levels,
and reading that would end the operator. Fields that reach into other namespaces are left out.
"""

from typing import Annotated, Literal

from pydantic import Field

from trainer.experiment.section import Section

Key = Annotated[str, Field(max_length=317)]  # of a label: a prefix of 253 characters, a slash and 63 more
Values = Annotated[tuple[Annotated[str, Field(max_length=253)], ...], Field(max_length=256)]
Weight = Annotated[int, Field(ge=1, le=100)]


class AsInAPod(Section):
    """A mapping that stands in a pod as it stands in the file; Kubernetes' own pages describe it."""


class Toleration(AsInAPod):
    """A taint that the pods tolerate."""

    key: Key | None = Field(None, description="The taint's key; without one, all of them.")
    operator: Literal["Equal", "Exists"] | None = Field(
        None, description="Whether the key must have the value (Equal, the default) or only be there (Exists)."
    )
    value: Annotated[str, Field(max_length=63)] | None = Field(None, description="The taint's value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="The taint's effect; without one, all of them."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = Field(
        None, description="How long a pod stays after such a taint appears (NoExecute); without it, for good."
    )


class NodeCondition(AsInAPod):
    """A condition on a label of a node."""

    key: Key = Field(description="The label's name.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        description="How its value is compared with values."
    )
    values: Values = Field((), description="The values; none for Exists and DoesNotExist, one for Gt and Lt.")


class NodeFieldCondition(NodeCondition):
    """A condition on a field of a node."""

    key: Key = Field(description="The field's name.")


class NodeTerm(AsInAPod):
    """What a node must have: all of these."""

    match_expressions: Annotated[tuple[NodeCondition, ...], Field(max_length=32)] = Field(
        (), description="Conditions on a node's labels, all of which must hold."
    )
    match_fields: Annotated[tuple[NodeFieldCondition, ...], Field(max_length=32)] = Field(
        (), description="Conditions on a node's fields, such as metadata.name, all of which must hold."
    )


class NodeTerms(AsInAPod):
    """What a node must have: one of several."""

    node_selector_terms: Annotated[tuple[NodeTerm, ...], Field(min_length=1, max_length=32)] = Field(
        description="Terms of which one must hold."
    )


class WeighedNodeTerm(AsInAPod):
    """What a node should have."""

    weight: Weight = Field(description="How much it counts beside the others.")
    preference: NodeTerm = Field(description="What the node should have.")


class NodeAffinity(AsInAPod):
    """Which nodes the pods want."""

    required_during_scheduling_ignored_during_execution: NodeTerms | None = Field(
        None, description="What a node must have when a pod is placed."
    )
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[WeighedNodeTerm, ...], Field(max_length=32)
    ] = Field((), description="What the scheduler looks for, by weight.")


class PodCondition(AsInAPod):
    """A condition on a label of pods."""

    key: Key = Field(description="The label's name.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="How its value is compared with values."
    )
    values: Values = Field((), description="The values; none for Exists and DoesNotExist.")


class LabelSelector(AsInAPod):
    """Which pods a term is about."""

    match_labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=64)] = Field(
        default_factory=dict, description="Labels that the pods must have."
    )
    match_expressions: Annotated[tuple[PodCondition, ...], Field(max_length=32)] = Field(
        (), description="Conditions on the pods' labels, all of which must hold."
    )


class PodTerm(AsInAPod):
    """Pods to be near to, or far from, and what counts as the same place."""

    topology_key: Annotated[str, Field(min_length=1, max_length=317)] = Field(
        description="The node label that says what counts as the same place, such as kubernetes.io/hostname."
    )
    label_selector: LabelSelector | None = Field(None, description="Which pods it is about.")


class WeighedPodTerm(AsInAPod):
    """A term that need not hold."""

    weight: Weight = Field(description="How much it counts beside the others.")
    pod_affinity_term: PodTerm = Field(description="The term.")


class PodAffinity(AsInAPod):
    """Which pods the pods want to be near to, or far from."""

    required_during_scheduling_ignored_during_execution: Annotated[tuple[PodTerm, ...], Field(max_length=32)] = Field(
        (), description="Terms that must all hold when a pod is placed."
    )
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[WeighedPodTerm, ...], Field(max_length=32)
    ] = Field((), description="Terms that the scheduler tries to keep, by weight.")


class Affinity(AsInAPod):
    """Which nodes, and which other pods, the pods want to be near to."""

    node_affinity: NodeAffinity | None = Field(None, description="Which nodes the pods want.")
    pod_affinity: PodAffinity | None = Field(None, description="Which pods they want to be near.")
    pod_anti_affinity: PodAffinity | None = Field(None, description="Which pods they want to be far from.")
