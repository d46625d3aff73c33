"""`pod`: the only fields of a trial's pod that a user may set. Whatever is not here cannot be asked for."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from trainer.experiment.placement import Affinity, Toleration
from trainer.experiment.section import (
    ABSOLUTE,
    BELOW,
    FILE_KEY,
    MOUNT,
    QUANTITY,
    VARIABLE,
    ObjectName,
    Rule,
    Section,
    Text,
    on_cluster,
)

USER = 65532  # nobody on the machine, and the same in every image

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


VariableName = Annotated[str, Field(pattern=VARIABLE, max_length=253)]


class EnvironmentVariable(Section):
    """A plain environment variable."""

    name: VariableName = Field(description="The variable's name.")
    value: Annotated[str, Field(max_length=4096)] = Field("", description="Its value.")


def _one_of(*names: str) -> Rule:
    """The rule, for the API server, that exactly one of some fields is given."""
    had = ", ".join(f"has(self.{name})" for name in names)
    return Rule(f"[{had}].exists_one(had, had)", f"must have one of {', '.join(names)}")


def _not_one(fields: Mapping[str, object]) -> str | None:
    """The same rule for `load`: what is wrong where not exactly one of the fields has a value."""
    had = [name for name, value in fields.items() if value is not None]
    return None if len(had) == 1 else f"must have one of {', '.join(fields)}, got {' and '.join(had) or 'none'}"


class KeyOf(Section):
    """A key of a Secret or ConfigMap of the experiment's namespace."""

    name: ObjectName = Field(description="The object's name.")
    key: Annotated[str, Field(pattern=FILE_KEY, max_length=253)] = Field(description="The key of the value.")
    optional: bool = Field(
        False, description="Whether pods start without the variable where there is no such object or key."
    )


class ValueSource(Section):
    """Where the value of an environment variable comes from."""

    model_config = ConfigDict(json_schema_extra=on_cluster(_one_of("secretKeyRef", "configMapKeyRef")))

    secret_key_ref: KeyOf | None = Field(None, description="A key of a Secret (allow.secrets of the chart).")
    config_map_key_ref: KeyOf | None = Field(None, description="A key of a ConfigMap (allow.volumes of the chart).")

    def disagreement(self) -> str | None:
        """A value comes from one place."""
        return _not_one({"secretKeyRef": self.secret_key_ref, "configMapKeyRef": self.config_map_key_ref})


class PodVariable(Section):
    """An environment variable of the pods: a plain one, or one whose value only the cluster knows."""

    model_config = ConfigDict(
        json_schema_extra=on_cluster(
            Rule(
                "!has(self.valueFrom) || self.?value.orValue('') == ''",
                "value and valueFrom exclude each other",
            )
        )
    )

    name: VariableName = Field(description="The variable's name.")
    value: Annotated[str, Field(max_length=4096)] = Field("", description="Its value.")
    value_from: ValueSource | None = Field(None, description="In place of value: where it comes from.")

    def disagreement(self) -> str | None:
        """A value is given in one way."""
        if self.value and self.value_from is not None:
            return "value and valueFrom exclude each other, got both"
        return None


class Named(Section):
    """A Secret or ConfigMap of the experiment's namespace."""

    name: ObjectName = Field(description="The object's name.")


class VariablesFrom(Section):
    """A Secret or ConfigMap whose every key becomes an environment variable."""

    model_config = ConfigDict(json_schema_extra=on_cluster(_one_of("secretRef", "configMapRef")))

    prefix: VariableName | None = Field(None, description="What the variables' names begin with, before the key.")
    secret_ref: Named | None = Field(None, description="A Secret (allow.secrets of the chart).")
    config_map_ref: Named | None = Field(None, description="A ConfigMap (allow.volumes of the chart).")

    def disagreement(self) -> str | None:
        """Variables come from one place."""
        return _not_one({"secretRef": self.secret_ref, "configMapRef": self.config_map_ref})


class EmptyDir(Section):
    """A folder that is empty when a pod starts and goes with it."""

    medium: Literal["Memory"] | None = Field(
        None, description="Memory keeps it in memory, which counts against the pod's limit; without it, on the disk."
    )
    size_limit: Quantity | None = Field(None, description="The most that it may hold, such as 2Gi.")


# Where a pod has volumes of ours, and the file that its container leaves its report in.
TAKEN_PATHS = ("/tmp", "/data", "/output", "/code", "/trialrun", "/dev/termination-log")  # noqa: S108 - in the pod
_FREE = f"must be none of {', '.join(TAKEN_PATHS)} and no folder above one, which would hide it"


def _is_free(path: str) -> str:
    if any(f"{taken}/".startswith(f"{path}/") for taken in TAKEN_PATHS):
        raise ValueError(f"{_FREE}, got {path}")
    return path


class Volume(Section):
    """Further files of a pod: where they are mounted, and what they are."""

    model_config = ConfigDict(
        json_schema_extra=on_cluster(
            _one_of("claim", "configMap", "secret", "emptyDir"),
            Rule(
                f"!{[f'{taken}/' for taken in TAKEN_PATHS]}.exists(taken, taken.startsWith(self.mountPath + '/'))",
                _FREE,
                "mountPath",
            ),
        )
    )

    mount_path: Annotated[str, Field(pattern=MOUNT, max_length=512), AfterValidator(_is_free)] = Field(
        description="Where it is mounted, such as /models."
    )
    read_only: bool = Field(
        False, description="Whether nothing can be written there; of a ConfigMap or Secret nothing ever can."
    )
    sub_path: Annotated[str, Field(pattern=BELOW, max_length=512)] | None = Field(
        None, description="The file or folder in it that is mounted; without it, all."
    )
    claim: ObjectName | None = Field(None, description="A PersistentVolumeClaim (allow.volumes of the chart).")
    config_map: ObjectName | None = Field(None, description="A ConfigMap (allow.volumes of the chart).")
    secret: ObjectName | None = Field(None, description="A Secret (allow.secrets of the chart).")
    empty_dir: EmptyDir | None = Field(None, description="An empty folder, such as /dev/shm in memory.")

    def disagreement(self) -> str | None:
        """A volume is one thing."""
        return _not_one({
            "claim": self.claim, "configMap": self.config_map, "secret": self.secret, "emptyDir": self.empty_dir,
        })  # fmt: skip


def _apart(volumes: tuple[Volume, ...]) -> tuple[Volume, ...]:
    first: dict[str, int] = {}
    for i, volume in enumerate(volumes):
        if (before := first.setdefault(volume.mount_path, i)) != i:
            raise ValueError(
                f"must be mounted at paths of their own, got {volume.mount_path} in [{before}] and [{i}]"
            )
    return volumes


Id = Annotated[int, Field(ge=1, le=2**31 - 1)]


class SecurityContext(Section):
    """Who the processes of a pod are, and whether they may write into their image. They are never root."""

    run_as_user: Id = Field(USER, description="The user, who is not root.")
    run_as_group: Id = Field(USER, description="The user's first group.")
    fs_group: Id = Field(USER, description="A further group, to whom a volume is made to belong where it can.")
    read_only_root_filesystem: bool = Field(
        True, description="Whether nothing outside volumes, of which /tmp is one, can be written."
    )


class Reference(NamedTuple):
    """An object of the experiment's namespace that a field of `pod` names."""

    field: str
    kind: str
    name: str


class Pod(Section):
    """How a trial's pods are scheduled. Used on a cluster only; locally it says nothing."""

    model_config = ConfigDict(
        json_schema_extra=on_cluster(
            Rule(
                "!has(self.volumes) || self.volumes.all(a, self.volumes.exists_one(b, b.mountPath == a.mountPath))",
                "must be mounted at paths of their own",
                "volumes",
            )
        )
    )

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
    env: Annotated[tuple[PodVariable, ...], Field(max_length=64)] = Field(
        (), description="Environment variables, such as NCCL_DEBUG."
    )
    env_from: Annotated[tuple[VariablesFrom, ...], Field(max_length=16)] = Field(
        (), description="Secrets and ConfigMaps that are environment variables as a whole; `env` wins over them."
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
    volumes: Annotated[tuple[Volume, ...], Field(max_length=32), AfterValidator(_apart)] = Field(
        (), description="Further volumes: claims, ConfigMaps, Secrets, empty folders."
    )
    security_context: SecurityContext = Field(
        SecurityContext(), description="The user that the pods run as, and whether their image can be written."
    )
    service_account_name: ObjectName | None = Field(
        None, description="The pods' service account, whose token is mounted (allow.serviceAccounts of the chart)."
    )

    def references(self) -> Iterator[Reference]:
        """What the pods take values, files and rights from, but for `data_claim` and `output_claim`."""
        for i, variable in enumerate(self.env):
            if (source := variable.value_from) is not None:
                here = f"env[{i}].valueFrom"
                if source.secret_key_ref is not None:
                    yield Reference(f"{here}.secretKeyRef", "Secret", source.secret_key_ref.name)
                if source.config_map_key_ref is not None:
                    yield Reference(f"{here}.configMapKeyRef", "ConfigMap", source.config_map_key_ref.name)
        for i, variables in enumerate(self.env_from):
            if variables.secret_ref is not None:
                yield Reference(f"envFrom[{i}].secretRef", "Secret", variables.secret_ref.name)
            if variables.config_map_ref is not None:
                yield Reference(f"envFrom[{i}].configMapRef", "ConfigMap", variables.config_map_ref.name)
        for i, volume in enumerate(self.volumes):
            if volume.claim is not None:
                yield Reference(f"volumes[{i}].claim", "PersistentVolumeClaim", volume.claim)
            if volume.config_map is not None:
                yield Reference(f"volumes[{i}].configMap", "ConfigMap", volume.config_map)
            if volume.secret is not None:
                yield Reference(f"volumes[{i}].secret", "Secret", volume.secret)
        if self.service_account_name is not None:
            yield Reference("serviceAccountName", "ServiceAccount", self.service_account_name)
