"""`program`: what a trial runs in place of our trainer: a command, and settings that parameters reach into. Pure."""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue

from trainer.experiment.pod import EnvironmentVariable
from trainer.experiment.section import OBJECT, Rule, Section, on_cluster

# `${parameters.NAME}` and `${settings.NAME}`. Whatever else has a $ in it is the program's own.
_PLACEHOLDER = re.compile(r"\$\{(parameters|settings)\.([^}]*)\}")
# The variables that a program is told its trial by; its `env` gives others.
TOLD = (
    "TRIALRUN_TRIAL", "TRIALRUN_REPORTS", "TRIALRUN_ATTEMPT",
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    "PET_NNODES", "PET_NODE_RANK", "PET_NPROC_PER_NODE", "PET_MASTER_ADDR", "PET_MASTER_PORT",
)  # fmt: skip
MULTIPLIER = "multiplier"  # the name by which a program of a scale test has it
MAX_DEPTH = 4  # of mappings and lists in the settings: what is nested without end no JSON reader takes
MAX_SETTINGS_BYTES = 16 * 1024  # they travel in one environment variable


class Program(Section):
    """A command of the user's own, run once for each trial."""

    model_config = ConfigDict(
        json_schema_extra=on_cluster(
            Rule(
                "!has(self.code) || self.code.matches('^configmap/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
                "must be configmap/NAME, of the same namespace; `python -m trainer apply FILE` makes it of a folder",
                "code",
            ),
        )
    )

    command: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=8192)], ...], Field(min_length=1, max_length=256)
    ] = Field(
        description="What to run, word by word; no shell is started. ${parameters.NAME} and ${settings.NAME} stand "
        "for values."
    )
    settings: dict[str, JsonValue] = Field(
        default_factory=dict,
        max_length=256,
        description="What the program is told and does not vary. A parameter takes the place of the one of its name.",
        json_schema_extra={"x-trialrun-depth": MAX_DEPTH},
    )
    env: Annotated[tuple[EnvironmentVariable, ...], Field(max_length=64)] = Field(
        (), description="Plain environment variables; their values may hold placeholders."
    )
    code: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None,
        description="The folder of its files, such as ./src, in which it is started. On a cluster configmap/NAME, "
        "which `python -m trainer apply` makes of the folder.",
    )
    working_directory: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="The folder that it is started in, relative to `code` or, without one, to the file."
    )
    processes_per_worker: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="How many processes the command starts in each worker, as torchrun does: it is told by PET_*."
    )
    inputs: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...], Field(max_length=64)] = Field(
        (), description="Files and folders whose content its results rest on; relative to the working directory."
    )

    @property
    def config_map(self) -> str | None:
        """The name of the ConfigMap that holds its code; None where that is a folder, or it has none."""
        kind, _, name = (self.code or "").partition("/")
        return name if kind == "configmap" and re.fullmatch(OBJECT, name) else None

    def disagreement(self) -> str | None:
        """Settings fit in an order."""
        if _depth(self.settings) > MAX_DEPTH + 1:
            return f"settings must be nested at most {MAX_DEPTH} deep, got more"
        size = len(json.dumps(self.settings))
        if size > MAX_SETTINGS_BYTES:
            return f"settings must have at most {MAX_SETTINGS_BYTES} bytes as JSON, got {size}"
        return None


@dataclass(frozen=True)
class Invocation:
    """A program as one trial runs it. `settings` have the point put in, and so do `command` and `env`.

    `placed` are the parameters that it is given in placeholders: it need not ask for them.
    """

    command: tuple[str, ...]
    env: Mapping[str, str]
    settings: Mapping[str, Any]
    placed: frozenset[str] = frozenset()


def invocation(program: Program, point: Mapping[str, Any]) -> Invocation:
    """The program with a point's values put in; `agreement` has seen to it that every placeholder has one."""
    settings = copy.deepcopy(program.settings)
    for name, value in point.items():
        put(settings, name, value)

    def filled(text: str) -> str:
        return _PLACEHOLDER.sub(lambda found: _text(_value(found, point, settings)), text)

    texts = (*program.command, *(variable.value for variable in program.env))
    return Invocation(
        command=tuple(map(filled, program.command)),
        env={variable.name: filled(variable.value) for variable in program.env},
        settings=settings,
        placed=frozenset(name for text in texts for part, name in placeholders(text) if part == "parameters"),
    )


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


def placeholders(text: str) -> Iterator[tuple[str, str]]:
    """What a text has placeholders for: `parameters` or `settings`, and the name."""
    for found in _PLACEHOLDER.finditer(text):
        yield found[1], found[2]


def find(settings: Mapping[str, Any], name: str) -> Any:
    """The setting of a name, whose dots lead into mappings.

    Raises:
        KeyError: there is none.
    """
    found: Any = settings
    for part in name.split("."):
        if not isinstance(found, Mapping):
            raise KeyError(name)
        found = found[part]
    return found


def put(settings: dict[str, Any], name: str, value: Any) -> None:
    """Sets the setting of a name, making the mappings on the way to it.

    Raises:
        KeyError: something on the way is no mapping.
    """
    *way, last = name.split(".")
    for part in way:
        settings = settings.setdefault(part, {})
        if not isinstance(settings, dict):
            raise KeyError(name)
    settings[last] = value


def _value(found: re.Match[str], point: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    kind, name = found.groups()
    # Where `when` leaves a parameter out, settings counts.
    return point[name] if kind == "parameters" and name in point else find(settings, name)


def _text(value: Any) -> str:
    """A value as a command line has it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
