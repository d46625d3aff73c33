"""Asks a cluster with the user's own kubectl and rights: for experiments, ledgers, pods, and whatever else is wanted.

What kubectl says when it fails, up to seven times over, becomes one sentence: what failed, where, what to do.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from trainer.experiment import suggestion
from trainer.experiment.entries import Entries
from trainer.experiment.errors import InvalidExperiment, UserError
from trainer.experiment.load import load
from trainer.experiment.record import cut_error, decode
from trainer.experiment.redact import redacted
from trainer.experiment.section import NAME
from trainer.experiment.spec import Experiment

Entry = TypeVar("Entry")

_GROUP = "trialrun.dev"
SHORT_NAMES = {"hyperparamsearches": "hps", "scaletests": "sct"}
_PLURALS = {
    **dict.fromkeys(("hps", "hyperparamsearch", "hyperparamsearches"), "hyperparamsearches"),
    **dict.fromkeys(("sct", "scaletest", "scaletests"), "scaletests"),
}
UID_LABEL = f"{_GROUP}/uid"
QUIET_SECONDS = 2.0  # of waiting, after which it is said what is waited for
_TIMEOUT_SECONDS = 60.0
# Lines of kubectl's own log: those that say more than one line end in ` >`.
_LOG = re.compile(r"^[IWEF]\d{4} [^\n]*?(?:err=<\n(?:\t[^\n]*\n)*+ >)?$\n?", re.MULTILINE)
_NO_ANSWER = re.compile(r"connection to the server .* was refused|^Unable to connect to the server|timed out|timeout")
_CONFIGURATION = re.compile(
    r"^error: (error loading config file|invalid configuration|stat )|^Error in configuration"
)
_NO_CONTEXT = re.compile(r'^error: context "[^"]*" does not exist')
_NO_NAMESPACE = re.compile(r'namespaces "([^"]+)" not found')
_NO_CLUSTER = "localhost:8080"  # whom kubectl asks where no context is chosen
_CHOOSE = "choose another with `kubectl config use-context NAME`, or by KUBECONFIG"
_CHANGES = (
    10  # tries at a change that others get in the way of: the operator writes the status several times a second
)
_flags: list[str] = []  # by which every kubectl of this process is told its cluster


def choose(context: str | None, kubeconfig: Path | None) -> None:
    """Says which cluster this process asks, in place of kubectl's own choice.

    Raises:
        UserError: there is no such file.
    """
    if kubeconfig is not None and not kubeconfig.is_file():
        raise UserError(f"--kubeconfig: must be a file with kubectl's configuration, got {kubeconfig}, which is none")
    flags = {"--context": context, "--kubeconfig": kubeconfig}
    _flags[:] = [f"{flag}={value}" for flag, value in flags.items() if value is not None]


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
    kind = kind.removesuffix(f".{_GROUP}")  # as `kubectl get --output=name` prints it
    if kind not in _PLURALS or not re.fullmatch(NAME, name):
        return None
    return Reference(text, _PLURALS[kind], name, namespace)


def find(text: str, namespace: str | None) -> tuple[Reference, dict[str, Any]]:
    """The experiment that a command names, and what the API server has of it; a bare name is the one of that name.

    The reference has the namespace that it was found in.

    Raises:
        UserError: it names none, or both kinds have one of that name; it isn't there, may not be read.
    """
    wanted = reference(text, namespace)
    if wanted is None:
        return _find_by_name(text, namespace)
    found = _get(wanted, f"{wanted.plural}.{_GROUP}", wanted.name)
    return replace(wanted, namespace=found["metadata"]["namespace"]), found


def _find_by_name(name: str, namespace: str | None) -> tuple[Reference, dict[str, Any]]:
    if not re.fullmatch(NAME, name):
        raise UserError(f"{name}: must be hps/NAME, sct/NAME or NAME, an experiment on a cluster")
    of_kind = {plural: Reference(name, plural, name, namespace) for plural in SHORT_NAMES}
    found = {plural: find_experiment(each) for plural, each in of_kind.items()}
    there = [plural for plural, document in found.items() if document]
    if len(there) > 1:
        raise UserError(f"{name}: there is a search and a scale test of that name; write hps/{name} or sct/{name}")
    if not there:
        wanted = of_kind["hyperparamsearches"]
        if namespace and not _has_namespace(namespace):
            raise UserError(f"{name}: {_no_namespace(namespace)}")
        raise UserError(
            f"{name}: there is neither a search nor a scale test of that name {wanted.place}; "
            "`kubectl get hps,sct --all-namespaces` lists them, --namespace chooses"
        )
    (plural,) = there
    there_in = found[plural]["metadata"]["namespace"]
    return Reference(f"{SHORT_NAMES[plural]}/{name}", plural, name, there_in), found[plural]


def read_experiment(wanted: Reference) -> tuple[Experiment, Entries]:
    """An experiment and all that its ledger holds of its trials, records with the oldest first.

    Raises:
        UserError: it isn't there, may not be read, or kubectl can't tell.
    """
    return with_ledger(wanted, _get(wanted, f"{wanted.plural}.{_GROUP}", wanted.name))


def with_ledger(wanted: Reference, found: dict[str, Any]) -> tuple[Experiment, Entries]:
    """The experiment that was `found`, and what its ledger holds, as `read_experiment` has them.

    Raises:
        UserError: as `read_experiment`.
    """
    metadata = found["metadata"]
    try:
        experiment = load(found)
    except InvalidExperiment as error:
        raise InvalidExperiment([f"{wanted.text}: {mistake}" for mistake in error.mistakes]) from error
    here = replace(wanted, namespace=metadata["namespace"])
    config_maps = _get(here, "configmaps", _owned_by(found))["items"]
    suggestions = tuple(_entries(wanted.text, config_maps, "suggestions", suggestion.decode))
    records = list(_entries(wanted.text, config_maps, "ledger", decode))
    # What measures a scale test's floor is no trial.
    trials = {trial.id for trial in Entries(suggestions=suggestions).trials(experiment)}
    records = [record for record in records if record.id in trials]
    records.sort(key=lambda record: (record.finished_at, record.index, record.attempt))
    return experiment, Entries(records, suggestions)


def _owned_by(found: dict[str, Any]) -> str:
    """By its UID: an older experiment of the same name has a ledger and pods of its own until they are collected."""
    return f"--selector={UID_LABEL}={found['metadata']['uid']}"


def find_experiment(wanted: Reference) -> dict[str, Any]:
    """An experiment as the API server has it; empty where there is none of that name.

    Raises:
        UserError: it may not be read, or kubectl can't tell.
    """
    return _get(wanted, f"{wanted.plural}.{_GROUP}", wanted.name, "--ignore-not-found")


def pods_of(wanted: Reference, found: dict[str, Any], *chosen: str) -> list[dict[str, Any]]:
    """The pods of an experiment that was `found`, or those that further arguments choose.

    Raises:
        UserError: they may not be listed, or kubectl can't tell.
    """
    namespace = found["metadata"]["namespace"]
    told = ask(namespace, "get", "pods", _owned_by(found), *chosen, "--output=json", what=f"pods of {wanted.text}")
    pods: list[dict[str, Any]] = json.loads(told)["items"]
    return pods


def change(
    wanted: Reference, found: dict[str, Any], make: Callable[[dict[str, Any]], dict[str, Any] | None]
) -> dict[str, Any]:
    """Changes the spec of an experiment that was `found` by what `make` gives for it, nothing if it gives None.

    It changes just what was read: where somebody was faster it is read again and asked for again.

    Returns the experiment as it is then.

    Raises:
        UserError: it is gone, may not be changed, or others keep changing it.
    """
    for _ in range(_CHANGES):
        spec = make(found)
        if spec is None:
            return found
        metadata = found["metadata"]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"]}, "spec": spec}
        what = (f"{wanted.plural}.{_GROUP}", wanted.name, "--type=merge", f"--patch={json.dumps(patch)}")
        done = done_by_kubectl(metadata["namespace"], "patch", *what, "--output=json", what=wanted.text)
        if not done.returncode:
            changed: dict[str, Any] = json.loads(done.stdout)
            return changed
        if "(Conflict)" not in done.stderr:
            raise UserError(f"{wanted.text}: {_refusal(wanted, done.stderr)}")
        again = _get(wanted, f"{wanted.plural}.{_GROUP}", wanted.name)
        if again["metadata"]["uid"] != metadata["uid"]:
            raise UserError(f"{wanted.text}: was deleted meanwhile, and made anew; see whether you mean that one")
        found = again
    raise UserError(f"{wanted.text}: others changed it {_CHANGES} times while it was to be changed; try again")


def _entries(
    text: str, config_maps: list[dict[str, Any]], label: str, decode: Callable[[str], Entry]
) -> Iterator[Entry]:
    """The entries of one kind; other kinds have no number under the label."""
    for each in config_maps:
        if not each["metadata"]["labels"].get(f"{_GROUP}/{label}", "").isdigit():
            continue
        for key, line in each.get("data", {}).items():
            try:
                yield decode(line)
            except ValueError as error:
                place = f"ConfigMap {each['metadata']['name']}, key {key}"
                raise UserError(
                    f"{text}: {place} is {error}; the operator there may be of another version than this program"
                ) from error


def _get(wanted: Reference, *what: str) -> dict[str, Any]:
    done = done_by_kubectl(wanted.namespace, "get", *what, "--output=json", what=wanted.text)
    if done.returncode:
        raise UserError(f"{wanted.text}: {_refusal(wanted, done.stderr)}")
    document: dict[str, Any] = json.loads(done.stdout or "{}")
    return document


def _refusal(wanted: Reference, stderr: str) -> str:
    """What kubectl's complaint means where an experiment was to be read, and what to do."""
    said = spoken(stderr)
    if "the server doesn't have a resource type" in said:
        return (
            f"the cluster ({_where()}) has no {wanted.plural}; install Trialrun there (docs/cluster.md), or {_CHOOSE}"
        )
    if "(NotFound)" in said:
        if wanted.namespace and not _has_namespace(wanted.namespace):
            return _no_namespace(wanted.namespace)
        return (
            f"there is no such experiment {wanted.place}; "
            f"`kubectl get {wanted.plural} --all-namespaces` lists them, --namespace chooses"
        )
    if "(Forbidden)" in said and " patch " in said:
        return f"your account may not change it: {said}; it needs `patch` on {wanted.plural}"
    if "(Forbidden)" in said:
        return f"your account may not read it: {said}; it needs `get` on {wanted.plural} and `list` on configmaps"
    return meaning(stderr)


def _no_namespace(name: str) -> str:
    return (
        f"the cluster ({_where()}) has no namespace {name}; `kubectl get namespaces` lists them, --namespace chooses"
    )


def _has_namespace(namespace: str) -> bool:
    """Whether there is one of that name, as far as the user may know."""
    said = done_by_kubectl(None, "get", "namespace", namespace, what=f"namespace {namespace}").stderr
    return "(NotFound)" not in said


def kubectl(namespace: str | None, *arguments: str) -> list[str]:
    """A kubectl command; without a namespace, in the one that kubectl uses."""
    verb, *rest = arguments
    return ["kubectl", verb, *_flags, *([f"--namespace={namespace}"] if namespace else []), *rest]


def ask(namespace: str | None, *arguments: str, what: str, stdin: str | None = None) -> str:
    """What a kubectl command prints.

    Raises:
        UserError: it failed; the sentence begins with `what`.
    """
    done = done_by_kubectl(namespace, *arguments, what=what, stdin=stdin)
    if done.returncode:
        raise UserError(f"{what}: {meaning(done.stderr)}")
    return done.stdout


def done_by_kubectl(
    namespace: str | None, *arguments: str, what: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """A kubectl command that has ended, well or not. What it waits for is said after two seconds.

    Raises:
        UserError: there is no kubectl, or it does not end; the sentence begins with `what`.
    """
    command = kubectl(namespace, *arguments)
    process = _started(command, what, subprocess.DEVNULL if stdin is None else subprocess.PIPE, subprocess.PIPE)
    with process:
        try:
            said, complained = _answer(process, stdin, what)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


def show(namespace: str | None, *arguments: str, what: str) -> None:
    """Has a kubectl command print where this process prints, until it ends or nobody reads on.

    Raises:
        UserError: there is no kubectl, or it failed; the sentence begins with `what`.
    """
    sys.stdout.flush()
    with _started(kubectl(namespace, *arguments), what, subprocess.DEVNULL, None) as process:
        try:
            complained = process.communicate()[1]
        except BaseException:
            process.kill()
            raise
    if process.returncode > 0:
        raise UserError(f"{what}: {meaning(complained)}")


def _started(command: list[str], what: str, stdin: int, stdout: int | None) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        raise UserError(
            f"{what}: is asked for with kubectl, which cannot be started ({error.strerror}); install it, or put it "
            "on the PATH"
        ) from error


def _answer(process: subprocess.Popen[str], stdin: str | None, what: str) -> tuple[str, str]:
    """What it prints, and what it complains of."""
    try:
        return process.communicate(stdin, timeout=QUIET_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"{what}: waiting for the cluster's answer ({_where()})", file=sys.stderr)
    try:
        return process.communicate(timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{what}: the cluster did not answer within {_TIMEOUT_SECONDS:.0f} s ({_where()}); see that it runs and "
            f"can be reached, or {_CHOOSE}"
        ) from error


def meaning(stderr: str) -> str:
    """What kubectl's complaint means, as the rest of a sentence, and what to do."""
    said = spoken(stderr)
    if _NO_CLUSTER in said and _context() is None:
        return (
            "kubectl knows no cluster, because no context is chosen in its configuration; choose one with "
            "`kubectl config use-context NAME`, or set KUBECONFIG to a file that has one"
        )
    if _NO_CONTEXT.search(said):
        return f"{said.removeprefix('error: ')} in kubectl's configuration; `kubectl config get-contexts` lists them"
    if _CONFIGURATION.search(said):
        return f"kubectl's configuration cannot be used: {said}; mend it, or set KUBECONFIG to another file"
    if "(Unauthorized)" in said or "(Forbidden)" in said:
        return f"the cluster ({_where()}) does not let you: {said}; log in as somebody who may, or {_CHOOSE}"
    if found := _NO_NAMESPACE.search(said):
        return _no_namespace(found[1])
    if _NO_ANSWER.search(said):
        return f"the cluster cannot be reached ({_where()}): {said}; see that it runs, or {_CHOOSE}"
    return said or "kubectl failed, and said nothing"


def spoken(stderr: str) -> str:
    """What kubectl says to people, in one line: not its log, nor what follows a blank line, nor secrets."""
    paragraphs = [" ".join(each.split()) for each in _LOG.sub("", stderr).split("\n\n")]
    said = next(filter(None, paragraphs), "") or " ".join(stderr.split())
    return cut_error(said.removesuffix(" - did you specify the right host or port?"))


def _where() -> str:
    """Which cluster kubectl asks, as its own configuration has it."""
    context = _context()
    return "no context is chosen" if context is None else context


def _context() -> str | None:
    """Context and server; None where none is chosen."""
    try:
        told = subprocess.run(
            ["kubectl", "config", "view", *_flags, "--minify", "--output=json"],  # noqa: S607 - the user's own
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        ).stdout
        document = json.loads(told)
        server = document["clusters"][0]["cluster"]["server"]
        return f"context {document['current-context']}, server {redacted(server)}"
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, IndexError, TypeError):
        return None
