"""What a document's `spec` gives, of whose values any may be missing or of a wrong type, and rules for any of it."""

import json
from collections.abc import Iterator
from typing import Any, TypeGuard

from trainer.experiment.error_messages import Finding, show
from trainer.experiment.spec import MAX_TRIALS

LONGEST = 64  # few lists may be longer; of one that is, the rest is not judged


def at(value: Any, *keys: str) -> Any:
    """What stands below `value` at these keys; None where there is nothing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def listed(value: Any, most: int = LONGEST) -> list[Any]:
    """The entries of a list, those beyond `most` left out; none of what is no list."""
    return value[:most] if isinstance(value, list) else []


def given(spec: dict[str, Any], name: str) -> list[tuple[str, Any]]:
    """The values that a field of `training` takes, and where each stands; null where the default counts."""
    for i, parameter in enumerate(listed(spec.get("parameters"))):
        if at(parameter, "name") == name:
            choices, here = listed(at(parameter, "choices")), f"spec.parameters[{i}]"
            if choices:
                return [(f"{here}.choices[{j}]", choice) for j, choice in enumerate(choices)]
            return [(f"{here}.range.{end}", at(parameter, "range", end)) for end in ("min", "max")]
    return [(f"spec.training.{name}", at(spec, "training", *name.split(".")))]


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether `value` is an int or a float; a bool is neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def bare(name: str) -> str:
    """A name without quotes, unless it needs them."""
    return name if name.isascii() and name.isprintable() and 0 < len(name) <= 80 else show(name)


def twice(here: str, values: Any) -> Iterator[Finding]:
    """The entries of a list that another before them is the same as."""
    seen: dict[str, int] = {}
    for i, value in enumerate(listed(values)):
        text = json.dumps(value, sort_keys=True)
        if text in seen:
            yield Finding(f"{here}[{i}]", f"must stand once, but [{seen[text]}] is the same, got {show(value)}")
        seen.setdefault(text, i)


def too_many_trials(here: str, points: Any, repeats: Any) -> Iterator[Finding]:
    """Whether so many points are more trials than an experiment may have."""
    if type(points) is int and type(repeats) is int and points * repeats > MAX_TRIALS:
        times = f" ({points} points x {repeats} repeats)" if repeats > 1 else ""
        yield Finding(here, f"must make at most {MAX_TRIALS} trials, got {points * repeats}{times}")
