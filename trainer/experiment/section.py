"""The base of every part of an experiment file: camelCase in YAML, strict, frozen, closed."""

from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """A mapping in the file. Unknown fields and implicit conversions are mistakes; instances never change."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    def document(self, *, sparse: bool = False) -> dict[str, Any]:
        """As the file would say it; `sparse` leaves out what has its default value."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=sparse)

    def as_written(self) -> dict[str, Any]:
        """What the file says of it: neither defaults nor nulls are added."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)

    def disagreement(self) -> str | None:
        """Which of its fields don't fit each other, though each alone is right: `<rule>, got <values>`."""
        return None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (found := self.disagreement()) is not None:
            raise ValueError(found)
        return self


class Rule(NamedTuple):
    """A rule in CEL that the API server applies to a section: the twin of one that `load` applies, or a part of it.

    `field` is the one that a mistake is put down to; without it, the section.
    """

    cel: str
    message: str
    field: str | None = None


def on_cluster(*rules: Rule) -> dict[str, JsonValue]:
    """The `json_schema_extra` of a section that the API server judges by these rules."""
    written: list[JsonValue] = []
    for rule in rules:
        place: dict[str, JsonValue] = {} if rule.field is None else {"fieldPath": f".{rule.field}"}
        written.append({"rule": rule.cel, "message": rule.message, **place})
    return {"x-kubernetes-validations": written}


# The `json_schema_extra` of a field of `spec` that the API server lets nobody change, and of one that may only grow.
FIXED: dict[str, JsonValue] = {"x-trialrun-change": "Never"}
GROWS: dict[str, JsonValue] = {"x-trialrun-change": "Upwards"}

# What the models' patterns ask for; an error shows the words, never the pattern.
NAME = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
PERIOD = r"^([1-9][0-9]{0,3}(d|wk|mo|y)|ytd|max)$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|[MGTPE]|[KMGTPE]i)?$"
OBJECT = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
OFFSETS = r"^[0-9]{1,6}:[0-9]{1,15}:[0-9]{1,15}$"
ELSEWHERE = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"
ABSOLUTE = r"^/"
# Steps of a path that are neither "." nor "..": one that is not normal would be another spelling of the same path.
_STEP = r"([^/:.]|\.[^/:.]|\.\.[^/:])[^/:]*"
MOUNT = rf"^(/{_STEP})+$"
BELOW = rf"^{_STEP}(/{_STEP})*$"
FILE_KEY = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"
URL = r"^https?://[^\s]+$"
PARAMETER = r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_][A-Za-z0-9_-]*)*$"
METRIC = r"^[A-Za-z][A-Za-z0-9._/-]*$"
HASH = r"^[0-9a-f]{12}$"
WORDS = {
    NAME: "must be lower-case letters, digits and '-', with a letter first and no '-' last",
    PERIOD: "must be a number of d, wk, mo or y without a space, such as 90d or 5y, or ytd or max",
    OBJECT: "must be the name of a Kubernetes object: lower-case letters, digits, '-' and '.'",
    QUANTITY: "must be a Kubernetes quantity, such as 500m, 2, 1.5 or 1Gi",
    VARIABLE: "must be letters, digits and '_', with no digit first",
    OFFSETS: "must be partition:start:end, such as 0:0:19999",
    ELSEWHERE: "must be env:VARIABLE or file:PATH",
    ABSOLUTE: "must be an absolute path",
    MOUNT: "must be an absolute path such as /models, with no ':', no step '.' or '..' and no '/' too many",
    BELOW: "must be a relative path such as runs/1, with no ':', no step '.' or '..' and no '/' too many",
    FILE_KEY: "must be a key of a Secret or ConfigMap: letters, digits, '-', '_' and '.', with no '..' first",
    URL: "must be an address that begins with http:// or https://",
    PARAMETER: "must be letters, digits, '_' and '-', in parts with dots between them",
    METRIC: "must be letters, digits, '.', '_', '/' and '-', with a letter first",
    HASH: "must be a hash of 12 hex digits",
}


ObjectName = Annotated[str, Field(pattern=OBJECT, max_length=253)]
Text = Annotated[str, Field(min_length=1, max_length=253)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
