"""What an experiment may ask for only where the chart allows it: by it, its author can do what pods can. Pure."""

from collections.abc import Collection, Iterator

from trainer.experiment.pod import Pod
from trainer.experiment.spec import Experiment

SECRETS, SERVICE_ACCOUNTS, VOLUMES = "secrets", "serviceAccounts", "volumes"
SWITCHES = (SECRETS, SERVICE_ACCOUNTS, VOLUMES)


def not_permitted(experiment: Experiment, allowed: Collection[str]) -> list[str]:
    """A sentence for each field of `spec.pod` that asks for what is not among the `allowed` switches."""
    return [
        f"spec.pod.{where}: must be left out where the chart's value allow.{switch} is false, got {what}; leave it "
        f"out, or have an administrator set allow.{switch} to true"
        for where, switch, what in _asked(experiment.spec.pod)
        if switch not in allowed
    ]


def _asked(pod: Pod) -> Iterator[tuple[str, str, str]]:
    """What is asked for: the field, the switch that allows it, and what it names."""
    for i, variable in enumerate(pod.env):
        if (source := variable.value_from) is None:
            continue
        here = f"env[{i}].valueFrom"
        if source.secret_key_ref is not None:
            yield f"{here}.secretKeyRef", SECRETS, f"Secret {source.secret_key_ref.name}"
        if source.config_map_key_ref is not None:
            yield f"{here}.configMapKeyRef", VOLUMES, f"ConfigMap {source.config_map_key_ref.name}"
    for i, variables in enumerate(pod.env_from):
        if variables.secret_ref is not None:
            yield f"envFrom[{i}].secretRef", SECRETS, f"Secret {variables.secret_ref.name}"
        if variables.config_map_ref is not None:
            yield f"envFrom[{i}].configMapRef", VOLUMES, f"ConfigMap {variables.config_map_ref.name}"
    for i, volume in enumerate(pod.volumes):
        if volume.secret is not None:
            yield f"volumes[{i}].secret", SECRETS, f"Secret {volume.secret}"
        if volume.config_map is not None:
            yield f"volumes[{i}].configMap", VOLUMES, f"ConfigMap {volume.config_map}"
        if volume.claim is not None:
            yield f"volumes[{i}].claim", VOLUMES, f"PersistentVolumeClaim {volume.claim}"
    if pod.service_account_name is not None:
        yield "serviceAccountName", SERVICE_ACCOUNTS, f"ServiceAccount {pod.service_account_name}"
