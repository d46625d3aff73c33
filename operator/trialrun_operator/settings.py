"""What the operator is told by its environment. The only reader of `os.environ` here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """`namespaces` empty means all of them; `image` is the trainer image of experiments that name none."""

    namespaces: tuple[str, ...] = ()
    image: str = "trialrun-trainer:latest"
    port: int = 8080
    log_level: str = "INFO"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force.

    Raises:
        ValueError: a variable has a value that cannot be used; the sentence names it.
    """
    default = Settings()
    names = (name.strip() for name in environment.get("TRIALRUN_NAMESPACES", "").split(","))
    port = environment.get("TRIALRUN_METRICS_PORT", str(default.port))
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"TRIALRUN_METRICS_PORT: must be a port number, got {port}")
    level = environment.get("TRIALRUN_LOG_LEVEL", default.log_level).upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError(f"TRIALRUN_LOG_LEVEL: must be one of DEBUG, INFO, WARNING, ERROR, got {level}")
    return Settings(
        namespaces=tuple(dict.fromkeys(name for name in names if name)),
        image=environment.get("TRIALRUN_TRAINER_IMAGE") or default.image,
        port=int(port),
        log_level=level,
    )


def for_one_thread(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process that computes with one thread, where libraries would start one for each CPU."""
    return {**environment, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
