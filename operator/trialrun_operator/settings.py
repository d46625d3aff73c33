"""What the operator is told by its environment. The only reader of `os.environ` here."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trialrun_operator.backends import BACKENDS
from trialrun_operator.permits import SWITCHES


@dataclass(frozen=True)
class Settings:
    """`namespaces` empty means all of them; `image` is the trainer image of experiments that name none.

    `allowed` are the switches of `permits` that are on, `backends` the kinds of job that may be made, `tracking` is
    whether MLflow is told.
    """

    namespaces: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()
    backends: frozenset[str] = frozenset(BACKENDS)
    image: str = "trialrun-trainer:latest"
    port: int = 8080
    log_level: str = "INFO"
    tracking: bool = False


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force.

    Raises:
        ValueError: a variable has a value that cannot be used; the sentence names it.
    """
    default = Settings()
    allowed = _some_of(SWITCHES, environment, "TRIALRUN_ALLOW")
    backends = _some_of(BACKENDS, environment, "TRIALRUN_BACKENDS")
    port = environment.get("TRIALRUN_METRICS_PORT", str(default.port))
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"TRIALRUN_METRICS_PORT: must be a port number, got {port}")
    level = environment.get("TRIALRUN_LOG_LEVEL", default.log_level).upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError(f"TRIALRUN_LOG_LEVEL: must be one of DEBUG, INFO, WARNING, ERROR, got {level}")
    return Settings(
        namespaces=_listed(environment.get("TRIALRUN_NAMESPACES", "")),
        allowed=frozenset(allowed),
        backends=frozenset(backends) or default.backends,
        image=environment.get("TRIALRUN_TRAINER_IMAGE") or default.image,
        port=int(port),
        log_level=level,
        tracking=bool(environment.get("MLFLOW_TRACKING_URI")),
    )


def _some_of(known: Iterable[str], environment: Mapping[str, str], variable: str) -> tuple[str, ...]:
    found = _listed(environment.get(variable, ""))
    for name in found:
        if name not in known:
            raise ValueError(f"{variable}: must be a list of {', '.join(known)}, got {name}")
    return found


def _listed(text: str) -> tuple[str, ...]:
    """The words of a list with commas, each once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def for_one_thread(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process that computes with one thread, where libraries would start one for each CPU."""
    return {**environment, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
