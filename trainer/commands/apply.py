"""`apply FILE`: an experiment on the cluster as the file says, and a ConfigMap of its program's code folder."""

import argparse
import json
import sys
from collections.abc import Mapping
from subprocess import CompletedProcess
from typing import Any

from trainer.experiment import code
from trainer.experiment.errors import UserError
from trainer.experiment.load import read_whole
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.kubectl import Reference, ask, done_by_kubectl, find_experiment, meaning
from trainer.local.program_files import ProgramFiles, code_files

Document = Mapping[str, Any]

_MADE_FOR = ("app.kubernetes.io/managed-by", "trialrun.dev/experiment", "trialrun.dev/kind")


def main(options: argparse.Namespace) -> int:
    """Applies what `kubectl apply` would. Nothing there changes before the file, its code and the cluster agree."""
    document, experiment = read_whole(options.path)
    short, plural = (
        ("hps", "hyperparamsearches") if isinstance(experiment, HyperparamSearch) else ("sct", "scaletests")
    )
    namespace = options.namespace or experiment.metadata.namespace
    wanted = Reference(f"{short}/{experiment.name}", plural, experiment.name, namespace)
    config_map = _config_map(options, experiment)
    before = find_experiment(wanted)
    if config_map is not None:
        spec, name = document["spec"], config_map["metadata"]["name"]
        document |= {"spec": spec | {"program": spec["program"] | {"code": f"configmap/{name}"}}}
        _apply(wanted, document, "--dry-run=server")
        _put(namespace, config_map)
    done = _apply(wanted, document)
    print(done.stdout, end="")
    for line in done.stderr.splitlines():
        if line.startswith("Warning: "):
            print(line, file=sys.stderr)
    if config_map is not None:
        _tell_of_other_code(wanted, before.get("status", {}).get("code"), code.digest(code.files(config_map)))
    there = f" --namespace={namespace}" if namespace else ""
    print(f"`kubectl get {short} {experiment.name}{there}` shows how it goes")
    return 0


def _config_map(options: argparse.Namespace, experiment: Experiment) -> dict[str, Any] | None:
    """The ConfigMap of the program's code; None where the file names no folder.

    Raises:
        UserError: there is no such folder, or no ConfigMap can hold it.
    """
    program = experiment.spec.program
    if program is None or program.code is None or program.config_map is not None:
        return None
    ProgramFiles(program, options.path).require_folders()
    folder = options.path.parent / program.code
    found = dict(code_files(folder, options.path))
    if not found:
        raise UserError(f"spec.program.code: must be a folder with files that are not hidden, got {folder}")
    try:
        code.require_room({name: path.stat().st_size for name, path in found.items()})
        parts = code.config_map({name: path.read_bytes() for name, path in found.items()})
    except ValueError as error:
        raise UserError(f"spec.program.code: {error}") from error
    labels = dict(zip(_MADE_FOR, ("trialrun", experiment.name, experiment.kind), strict=True))
    metadata = {"name": f"{experiment.name}-code", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **parts}


def _put(namespace: str | None, config_map: Document) -> None:
    """Has the cluster hold just this under its name. Not by `apply`, which would keep all of it in an annotation too.

    Raises:
        UserError: what has its name there was made for something else, or the cluster refuses it.
    """
    name, labels = config_map["metadata"]["name"], config_map["metadata"]["labels"]
    what = f"configmap/{name}"
    found = ask(namespace, "get", "configmap", name, "--ignore-not-found", "--output=json", what=what)
    there = json.loads(found) if found.strip() else None
    if there is not None and {key: (there["metadata"].get("labels") or {}).get(key) for key in _MADE_FOR} != labels:
        raise UserError(
            f"{what}: was not made of the code of this experiment, and stays as it is; delete it, or give the "
            f"experiment another name, or say `code: {what}` to have the experiment run what it holds"
        )
    if there is not None and code.files(there) == code.files(config_map):
        print(f"{what} unchanged")
        return
    verb = "create" if there is None else "replace"
    print(ask(namespace, verb, "--filename=-", what=what, stdin=json.dumps(config_map)), end="")


def _apply(wanted: Reference, document: Document, *more: str) -> CompletedProcess[str]:
    """What kubectl says as it applies an experiment.

    Raises:
        UserError: the cluster doesn't take it.
    """
    text = json.dumps(document)
    done = done_by_kubectl(wanted.namespace, "apply", "--filename=-", *more, what=wanted.text, stdin=text)
    if done.returncode:
        raise UserError(f"{wanted.text}: {meaning(done.stderr)}")
    return done


def _tell_of_other_code(wanted: Reference, runs: str | None, now: str) -> None:
    """Says so where an experiment was taken up with other code before."""
    if runs not in (None, now):
        print(
            f"{wanted.text}: its trials run the code that they began with ({runs}), not this ({now}). Raising "
            "spec.rerun takes this one while no trial has succeeded; later, apply it under another name",
            file=sys.stderr,
        )
