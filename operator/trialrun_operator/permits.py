"""What an experiment may ask for only where the chart allows it: by it, its author can do what pods can. Pure."""

from collections.abc import Collection

from trainer.experiment.spec import Experiment

# By what a field names, the switch that allows it.
_SWITCH = {
    "Secret": "secrets",
    "ServiceAccount": "serviceAccounts",
    "PersistentVolumeClaim": "volumes",
    "ConfigMap": "volumes",
}
SWITCHES = tuple(dict.fromkeys(_SWITCH.values()))


def not_permitted(experiment: Experiment, allowed: Collection[str]) -> list[str]:
    """A sentence for each field of `spec.pod` that asks for what is not among the `allowed` switches."""
    return [
        f"spec.pod.{field}: must be left out where the chart's value allow.{switch} is false, got {kind} {name}; "
        "have an administrator set it to true, or leave the field out"
        for field, kind, name in experiment.spec.pod.references()
        if (switch := _SWITCH[kind]) not in allowed
    ]
