"""The API server's audit log of what service accounts asked for: who, what, and whether a role allowed it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# (group, resource with its subresource, verb), as in the rules of a role.
Right = tuple[str, str, str]


@dataclass(frozen=True)
class Asked:
    """One request. `right` is None where it asked for no resource, as for `/apis`."""

    user: str
    right: Right | None
    path: str
    allowed: bool

    @property
    def misses_a_right(self) -> bool:
        """Whether the chart's service account, `trialrun` or `trialrun-...`, asked for what its roles don't allow."""
        return not self.allowed and self.user.rpartition(":")[2].partition("-")[0] == "trialrun"


def options(workdir: Path, log: Path, silent: Iterable[str]) -> list[str]:
    """What makes the API server keep the log. `silent` are service accounts that are left out."""
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "users": list(silent)},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        ],
    }
    file = workdir / "audit-policy.yaml"
    file.write_text(yaml.safe_dump(policy))
    return [f"--audit-policy-file={file}", f"--audit-log-path={log}"]


def read(log: Path) -> Iterator[Asked]:
    """The requests in the order of the log; a watch stands there twice, when it begins and when it ends."""
    with log.open() as lines:
        for line in lines:
            if line.endswith("\n"):  # the last one may be on its way
                yield _asked(json.loads(line))


def _asked(event: dict[str, Any]) -> Asked:
    about = event.get("objectRef", {})
    right = None
    if about.get("resource"):
        parts = (about["resource"], about.get("subresource", ""))
        right = (about.get("apiGroup", ""), "/".join(part for part in parts if part), event["verb"])
    allowed = event.get("annotations", {}).get("authorization.k8s.io/decision") == "allow"
    return Asked(event["user"]["username"], right, event["requestURI"], allowed)
