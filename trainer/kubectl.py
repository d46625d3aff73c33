"""Reads experiments and their ledgers from a cluster, with the user's own kubectl and the user's own rights."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainer.experiment.errors import InvalidExperiment, UserError
from trainer.experiment.expand import expand
from trainer.experiment.load import load
from trainer.experiment.record import Record, decode
from trainer.experiment.section import NAME
from trainer.experiment.spec import Experiment

_GROUP = "trialrun.dev"
_PLURALS = {
    **dict.fromkeys(("hps", "hyperparamsearch", "hyperparamsearches"), "hyperparamsearches"),
    **dict.fromkeys(("sct", "scaletest", "scaletests"), "scaletests"),
}
_TIMEOUT_SECONDS = 300  # an API server that does not answer has been given up by kubectl itself before


@dataclass(frozen=True)
class Reference:
    """An experiment on a cluster; without a namespace, in the one that kubectl uses."""

    text: str
    plural: str
    name: str
    namespace: str | None

    @property
    def place(self) -> str:
        """Where it is looked for, as a sentence says it."""
        return f"in namespace {self.namespace}" if self.namespace else "in the namespace that kubectl uses"


def reference(text: str, namespace: str | None) -> Reference | None:
    """The experiment that `hps/NAME` or `sct/NAME` names; None for text of any other form, such as a path."""
    kind, _, name = text.partition("/")
    if kind not in _PLURALS or not re.fullmatch(NAME, name):
        return None
    return Reference(text, _PLURALS[kind], name, namespace)


def read_experiment(wanted: Reference) -> tuple[Experiment, list[Record]]:
    """An experiment and all records of its trials, oldest first.

    Raises:
        UserError: it isn't there, may not be read, or kubectl can't tell.
    """
    found = _get(wanted, f"{wanted.plural}.{_GROUP}", wanted.name)
    metadata = found["metadata"]
    try:
        experiment = load(found)
    except InvalidExperiment as error:
        raise InvalidExperiment([f"{wanted.text}: {mistake}" for mistake in error.mistakes]) from error
    # By its UID: an older experiment of the same name has a ledger of its own until it is collected.
    selector = f"--selector={_GROUP}/ledger,{_GROUP}/uid={metadata['uid']}"
    here = Reference(wanted.text, wanted.plural, wanted.name, metadata["namespace"])
    trials = {trial.id for trial in expand(experiment)}  # what measures a scale test's floor is none of them
    ledger = _records(wanted.text, _get(here, "configmaps", selector)["items"])
    records = [record for record in ledger if record.id in trials]
    return experiment, sorted(records, key=lambda record: (record.finished_at, record.index, record.attempt))


def _records(text: str, config_maps: list[dict[str, Any]]) -> Iterator[Record]:
    for each in config_maps:
        if not each["metadata"]["labels"][f"{_GROUP}/ledger"].isdigit():
            continue  # it holds no range of trials
        for key, line in each.get("data", {}).items():
            try:
                yield decode(line)
            except ValueError as error:
                place = f"ConfigMap {each['metadata']['name']}, key {key}"
                raise UserError(
                    f"{text}: {place} is {error}; the operator there may be of another version than this program"
                ) from error


def _get(wanted: Reference, *what: str) -> dict[str, Any]:
    namespace = [f"--namespace={wanted.namespace}"] if wanted.namespace else []
    command = ["kubectl", "get", *what, *namespace, "--output=json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except FileNotFoundError as error:
        raise UserError(
            f"{wanted.text}: is read with kubectl, which is not on the PATH; install it, or name a run's folder"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{wanted.text}: kubectl did not answer within {_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        raise UserError(f"{wanted.text}: {_complaint(wanted, done.stderr)}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _complaint(wanted: Reference, said: str) -> str:
    """What kubectl's complaint means here, and what to do."""
    said = " ".join(said.split()) or "it said nothing"
    if "the server doesn't have a resource type" in said:
        return (
            f"this cluster has no {wanted.plural}: Trialrun is not installed there, or kubectl uses another cluster"
        )
    if "(NotFound)" in said:
        return (
            f"there is no such experiment {wanted.place}; "
            f"`kubectl get {wanted.plural} --all-namespaces` lists them, --namespace chooses"
        )
    if "(Forbidden)" in said:
        return f"your account may not read it: {said}; it needs `get` on {wanted.plural} and `list` on configmaps"
    return f"kubectl could not read it: {said}"
