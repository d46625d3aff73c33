"""What the operator is told by its environment. The only reader of `os.environ` here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from trialrun_operator.permits import SWITCHES


@dataclass(frozen=True)
class Settings:
    """`namespaces` empty means all of them; `image` is the trainer image of experiments that name none.

    `allowed` are the switches of `permits` that are on.
    """

    namespaces: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()
    image: str = "trialrun-trainer:latest"
    port: int = 8080
    log_level: str = "INFO"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force.

    Raises:
        ValueError: a variable has a value that cannot be used; the sentence names it.
    """
    default = Settings()
    allowed = _listed(environment.get("TRIALRUN_ALLOW", ""))
    for name in allowed:
        if name not in SWITCHES:
            raise ValueError(f"TRIALRUN_ALLOW: must be a list of {', '.join(SWITCHES)}, got {name}")
    port = environment.get("TRIALRUN_METRICS_PORT", str(default.port))
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"TRIALRUN_METRICS_PORT: must be a port number, got {port}")
    level = environment.get("TRIALRUN_LOG_LEVEL", default.log_level).upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError(f"TRIALRUN_LOG_LEVEL: must be one of DEBUG, INFO, WARNING, ERROR, got {level}")
    return Settings(
        namespaces=_listed(environment.get("TRIALRUN_NAMESPACES", "")),
        allowed=frozenset(allowed),
        image=environment.get("TRIALRUN_TRAINER_IMAGE") or default.image,
        port=int(port),
        log_level=level,
    )


def _listed(text: str) -> tuple[str, ...]:
    """The words of a list with commas, each once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def for_one_thread(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process that computes with one thread, where libraries would start one for each CPU."""
    return {**environment, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
