"""A program's code on the cluster: copied, when an experiment is taken up, into a ConfigMap that never changes.

What the user does to the original afterwards makes no difference to trials, which all run the same code.
"""

from collections.abc import Mapping
from typing import Any

from trainer.experiment import code
from trainer.experiment.code import key
from trainer.experiment.spec import Experiment
from trialrun_operator import conditions
from trialrun_operator.conditions import Problem
from trialrun_operator.kube import Kube, Refused
from trialrun_operator.manifests import unchanging
from trialrun_operator.names import CONFIG_MAPS, Key, code_name
from trialrun_operator.orders import Code


class CodeUnavailable(Exception):
    """There is no code that trials could run; `problem` says why, and what to do."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def is_needed(experiment: Experiment) -> bool:
    """Whether an experiment's trials run code from a ConfigMap."""
    return experiment.spec.program is not None and experiment.spec.program.config_map is not None


async def take(kube: Kube, owner_key: Key, uid: str, name: str, proven: str | None) -> Code:
    """The code that trials are to run from now on: what ConfigMap `name` holds, copied.

    Where a trial has succeeded its results rest on what it ran, `proven` by its hash: then all others run that too.

    Raises:
        CodeUnavailable: there is none.
    """
    if proven is not None and (known := await find(kube, owner_key, uid, proven)) is not None:
        return known
    try:
        source = await kube.get(CONFIG_MAPS.path(owner_key.namespace, name))
    except Refused as refused:
        if refused.code != 404:
            raise
        raise CodeUnavailable(conditions.code_missing(name)) from refused
    files = code.files(source)
    if not files:
        raise CodeUnavailable(conditions.code_empty(name))
    digest = code.digest(files)
    if proven not in (None, digest):
        raise CodeUnavailable(conditions.code_lost(code_name(owner_key, uid, str(proven)), name))
    return await _copy(kube, owner_key, uid, source, digest)


async def find(kube: Kube, owner_key: Key, uid: str, digest: str) -> Code | None:
    """The copy of the code with this hash; None where there is none, or what has its name is another's."""
    try:
        found = await kube.get(CONFIG_MAPS.path(owner_key.namespace, code_name(owner_key, uid, digest)))
    except Refused as refused:
        if refused.code != 404:
            raise
        return None
    return _code(found, uid, digest)


async def _copy(kube: Kube, owner_key: Key, uid: str, source: Mapping[str, Any], digest: str) -> Code:
    name = code_name(owner_key, uid, digest)
    content = {part: source[part] for part in ("data", "binaryData") if source.get(part)}
    try:
        made = await kube.create(CONFIG_MAPS.path(owner_key.namespace), unchanging(owner_key, uid, name, content))
    except Refused as refused:
        if refused.code == 409 and (found := await find(kube, owner_key, uid, digest)) is not None:
            return found  # of another look, or another operator
        if refused.code == 409:
            raise CodeUnavailable(conditions.code_name_taken(name)) from refused
        if refused.final:
            raise CodeUnavailable(conditions.code_refused(name, refused.message)) from refused
        raise
    return Code(name, digest, _keys(made))


def _code(found: Mapping[str, Any], uid: str, digest: str) -> Code | None:
    owners = found["metadata"].get("ownerReferences") or ()
    ours = any(each.get("uid") == uid for each in owners) and code.digest(code.files(found)) == digest
    return Code(found["metadata"]["name"], digest, _keys(found)) if ours else None


def _keys(document: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key(path) for path in sorted(code.files(document)))
