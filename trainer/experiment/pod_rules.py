"""What Kubernetes refuses in a pod though its fields have the right types: none of its trials would start. Pure.

Rules and their limits are those of Kubernetes 1.34 (pkg/apis/core/validation); a test holds them to an API server.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from trainer.experiment.cost import quantity
from trainer.experiment.error_messages import show
from trainer.experiment.placement import (
    LabelSelector,
    NodeCondition,
    NodeFieldCondition,
    NodeTerm,
    PodCondition,
    PodTerm,
    Toleration,
)
from trainer.experiment.pod import Pod
from trainer.experiment.spec import Experiment, ScaleTest

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_OWN = ("cpu", "memory", "ephemeral-storage")
_BYTES = ("memory", "ephemeral-storage")


def refusals(experiment: Experiment) -> Iterator[str]:
    """A sentence for each thing in `spec.pod` by which an API server would refuse the pods."""
    pod = experiment.spec.pod
    yield from _resources(experiment)
    yield from _labels(pod)
    for i, toleration in enumerate(pod.tolerations):
        yield from _toleration(f"spec.pod.tolerations[{i}]", toleration)
    yield from _affinity(pod)
    for where, kind, name in pod.references():
        if not _DOMAIN.fullmatch(name):
            yield f"spec.pod.{where}: must name a {kind}, with letters or digits around each '.', got {show(name)}"
    for i, volume in enumerate(pod.volumes):
        size = None if volume.empty_dir is None else volume.empty_dir.size_limit
        if size is not None and (quantity(size) % 1 or not quantity(size)):
            yield f"spec.pod.volumes[{i}].emptyDir.sizeLimit: must be a whole number of bytes above 0, got {size}"


def _resources(experiment: Experiment) -> Iterator[str]:
    resources = experiment.spec.pod.resources
    requests, limits = dict(resources.requests), dict(resources.limits)
    for part, given in (("requests", requests), ("limits", limits)):
        for name, text in given.items():
            where = f"spec.pod.resources.{part}.{name}"
            if not (name in _OWN or _is_huge(name) or _is_qualified(name, "/")):
                yield f"{where}: must be cpu, memory, ephemeral-storage or have a domain, such as nvidia.com/gpu"
            elif name != "cpu" and quantity(text) % 1:
                unit = " of bytes" if name in _BYTES else ""
                mend = "; m is a thousandth, Mi a mebibyte" if unit and text.endswith("m") else ""
                yield f"{where}: must be a whole number{unit}, got {text}{mend}"
    if isinstance(experiment, ScaleTest) and _limits_memory(experiment):
        limits.pop("memory", None)  # the cells' own limit takes its place, and the request follows
    for name, text in requests.items():
        if name in limits and quantity(text) > quantity(limits[name]):
            yield (
                f"spec.pod.resources.requests.{name}: must be at most the limit, {limits[name]}, got {text}; raise "
                "the limit, or leave the request out"
            )
        elif name not in _OWN and (name not in limits or quantity(text) != quantity(limits[name])):
            yield f"spec.pod.resources.requests.{name}: must be the limit too, got {text}; give it under limits alone"


def _limits_memory(test: ScaleTest) -> bool:
    return test.spec.cell.memory_limit is not None or test.spec.cell.memory_above_floor is not None


def _labels(pod: Pod) -> Iterator[str]:
    for field, given in (("labels", pod.labels), ("nodeSelector", pod.node_selector)):
        yield from _label_map(f"spec.pod.{field}", given)
    for name in pod.annotations:
        yield from _key("spec.pod.annotations", name)


def _label_map(where: str, given: Mapping[str, str]) -> Iterator[str]:
    for name, value in given.items():
        yield from _key(where, name)
        yield from _value(f"{where}.{name}", value)


def _key(where: str, name: str) -> Iterator[str]:
    if not _is_qualified(name):
        yield (
            f"{where}: must have names of at most 63 letters, digits, '-', '_' and '.', after a domain and '/' where "
            f"there is one, got {show(name)}"
        )


def _value(where: str, value: str) -> Iterator[str]:
    if not _VALUE.fullmatch(value):
        yield f"{where}: must be at most 63 letters, digits, '-', '_' and '.', got {show(value)}"


def _toleration(where: str, given: Toleration) -> Iterator[str]:
    if given.key:
        yield from _key(f"{where}.key", given.key)
    elif given.operator != "Exists":
        yield f"{where}.operator: must be Exists where there is no key, got {given.operator or 'Equal, the default'}"
    if given.operator == "Exists" and given.value:
        yield f"{where}.value: must be left out where the operator is Exists, got {show(given.value)}"
    elif given.value:
        yield from _value(f"{where}.value", given.value)
    if given.toleration_seconds is not None and given.effect != "NoExecute":
        yield f"{where}.effect: must be NoExecute where tolerationSeconds is given, got {given.effect or 'none'}"


def _affinity(pod: Pod) -> Iterator[str]:
    affinity, where = pod.affinity, "spec.pod.affinity"
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    if (node := affinity.node_affinity) is not None:
        here = f"{where}.nodeAffinity"
        if (terms := node.required_during_scheduling_ignored_during_execution) is not None:
            for i, term in enumerate(terms.node_selector_terms):
                yield from _node_term(f"{here}.{required}.nodeSelectorTerms[{i}]", term)
        for i, weighed in enumerate(node.preferred_during_scheduling_ignored_during_execution):
            yield from _node_term(f"{here}.{preferred}[{i}].preference", weighed.preference)
    for name, given in (("podAffinity", affinity.pod_affinity), ("podAntiAffinity", affinity.pod_anti_affinity)):
        if given is not None:
            for i, near in enumerate(given.required_during_scheduling_ignored_during_execution):
                yield from _pod_term(f"{where}.{name}.{required}[{i}]", near)
            for i, wished in enumerate(given.preferred_during_scheduling_ignored_during_execution):
                yield from _pod_term(f"{where}.{name}.{preferred}[{i}].podAffinityTerm", wished.pod_affinity_term)


def _node_term(where: str, term: NodeTerm) -> Iterator[str]:
    yield from _conditions(f"{where}.matchExpressions", term.match_expressions)
    for i, condition in enumerate(term.match_fields):
        yield from _field(f"{where}.matchFields[{i}]", condition)


def _pod_term(where: str, term: PodTerm) -> Iterator[str]:
    yield from _key(f"{where}.topologyKey", term.topology_key)
    selector: LabelSelector | None = term.label_selector
    if selector is not None:
        yield from _label_map(f"{where}.labelSelector.matchLabels", selector.match_labels)
        yield from _conditions(f"{where}.labelSelector.matchExpressions", selector.match_expressions)


def _conditions(where: str, conditions: Sequence[NodeCondition | PodCondition]) -> Iterator[str]:
    for i, condition in enumerate(conditions):
        here, operator, values = f"{where}[{i}]", condition.operator, condition.values
        yield from _key(f"{here}.key", condition.key)
        if operator in ("Exists", "DoesNotExist"):
            if values:
                yield f"{here}.values: must be left out where the operator is {operator}, got {show(list(values))}"
        elif operator in ("Gt", "Lt"):
            if len(values) != 1 or not re.fullmatch(r"[0-9]{1,18}", values[0]):
                given = show(list(values))
                yield f"{here}.values: must be one whole number where the operator is {operator}, got {given}"
        elif not values:
            yield f"{here}.values: must have at least one value where the operator is {operator}"
        else:
            for value in values:
                yield from _value(f"{here}.values", value)


def _field(where: str, condition: NodeFieldCondition) -> Iterator[str]:
    if condition.key != "metadata.name":
        yield f"{where}.key: must be metadata.name, got {show(condition.key)}"
    elif condition.operator not in ("In", "NotIn") or len(condition.values) != 1:
        yield (
            f"{where}: must have operator In or NotIn and one value, got {condition.operator} and "
            f"{show(list(condition.values))}"
        )


def _is_huge(name: str) -> bool:
    return re.fullmatch(r"hugepages-[0-9]+([KMGTPE]i)?", name) is not None


def _is_qualified(name: str, needs: str = "") -> bool:
    domain, slash, rest = name.rpartition("/")
    return (
        needs in name and (not slash or _DOMAIN.fullmatch(domain) is not None) and _NAME.fullmatch(rest) is not None
    )
