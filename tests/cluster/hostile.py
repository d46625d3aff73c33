"""Makes searches from a seed: valid ones, careless ones, and malicious ones."""

import json
import random
import string
from collections.abc import Callable
from typing import Any

from cluster.api import Json
from cluster.operatorprocess import a_search

# Stands in a document for what no JSON encoder would make.
_DEEP = "@deep@"
_PRIVILEGED: dict[str, Any] = {
    "hostNetwork": True,
    "hostPID": True,
    "hostIPC": True,
    "privileged": True,
    "serviceAccountName": "trialrun",
    "automountServiceAccountToken": True,
    "nodeName": "control-plane",
    "securityContext": {"privileged": True, "runAsUser": 0, "runAsNonRoot": False, "capabilities": {"add": ["ALL"]}},
    "volumes": [{"name": "tmp", "hostPath": {"path": "/"}}],
    "containers": [{"name": "pytorch", "image": "x", "securityContext": {"privileged": True}}],
    "initContainers": [{"name": "first", "image": "x", "securityContext": {"privileged": True}}],
    "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["kubernetes.default"]}],
}
_UNICODE = ("é" * 5, "\u202e\u0000x", "🦀", "\ud800", "a\u0301\u200d", "\u2028\ufeff", "名前", "\x1b[31m", "ﷺ" * 100)
_PLACES = (
    "/models", "/dev/shm", "/tmp", "/", "/code/..", "//data", "/dev", "/proc/1/root", "/etc/passwd", "/a:rw"  # noqa: S108
)  # fmt: skip
_IDS = (-1, 0, 1, 1000, 65532, 2**31, 2**63)
_OURS = ("experiment", "kind", "uid", "trial", "index", "attempt", "ledger")


class Hostile:
    """The searches of one seed; `elsewhere` is a namespace that none of them has any business in.

    `backend` is the kind of job that they ask for.
    """

    def __init__(self, seed: int, elsewhere: str, backend: str) -> None:
        self._rng = random.Random(seed)
        self._elsewhere = elsewhere
        self._backend = backend
        self._depth = 0

    def search(self, name: str) -> bytes:
        """The text of a search, spoilt in no, one or several ways."""
        rng = self._rng
        made = a_search(name, trials=rng.randint(1, 4), parallelTrials=rng.randint(1, 4))
        made["spec"]["pendingDeadlineSeconds"] = 5
        made["spec"]["backend"] = self._backend
        ways = [
            self._any, self._space, self._any_size, self._pod, self._asking, self._scheduling, self._elsewhere_too
        ]  # fmt: skip
        if rng.random() < 0.3:
            self._program(made)
        for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
            rng.choice(ways)(made)
        text = json.dumps(made)
        deep = '{"f:a":' * self._depth + "1" + "}" * self._depth
        return text.replace(f'"{_DEEP}"', deep).encode()

    def _any(self, made: Json) -> None:
        """Something else in place of a field."""
        spec = made["spec"]
        spec[self._rng.choice(list(spec))] = self._value()

    def _space(self, made: Json) -> None:
        """A search space that is too large, contradicts itself, or is not one."""
        rng, spec = self._rng, made["spec"]
        name = rng.choice(["data.source", "data.path", "train.seed", "model.layers", self._text()])
        choices = [self._value() for _ in range(rng.choice([1, 3, 64, 65]))]
        self._pick(
            lambda: spec.update(parameters=[{"name": name, "choices": choices}]),
            lambda: spec.update(parameters=[{"name": "data.path", "choices": [self._text() for _ in range(3)]}]),
            lambda: spec.update(parameters=[{"name": "model.layers", "choices": list(range(1, 65))}] * 6),
            lambda: spec.update(algorithm="Random", trials=rng.choice([0, 3, 10**9])),
            lambda: spec.update(parameters=[{"name": "train.learningRate", "range": {"min": 1, "max": 0}}]),
            lambda: spec.update(training={"train": {self._text(): self._value()}}),
            lambda: spec.update(training={"data": {"source": "csv", "path": "../../etc/passwd"}}),
            lambda: spec.update(objective={"metric": self._text()}),
        )

    def _any_size(self, made: Json) -> None:
        """Too much, too little, too long, too deep."""
        rng, spec = self._rng, made["spec"]
        many = rng.choice([33, 65, 1000, 5000])
        self._pick(
            lambda: spec.update(repeats=rng.choice([0, 2, 1000, 1001])),
            lambda: spec.update(workers=rng.choice([-1, 0, 2, 65])),
            lambda: spec.update(deadlineSeconds=rng.choice([-1, 0, 1, 10**12])),
            lambda: spec.update(maxFailedTrials=rng.choice([-1, 0, 10**400])),
            lambda: spec.update(pod={"env": [{"name": f"V{i}", "value": "x" * 4096} for i in range(many)]}),
            lambda: spec.update(pod={"labels": {f"l{i}": "x" for i in range(many)}}),
            lambda: spec.update(pod={"tolerations": [{"operator": "Exists"}] * many}),
            lambda: made["metadata"].update(annotations={"large": "x" * rng.choice([200_000, 300_000])}),
            lambda: spec.update(pod={"affinity": self._deep()}),
            lambda: spec.update(pod={"affinity": {"nodeAffinity": self._deep()}}),
            lambda: spec.update(pod={"tolerations": [self._deep()]}),
            lambda: spec.update(training=self._deep()),
            lambda: spec.update(parameters=[{"name": "train.learningRate", "choices": [self._deep()]}]),
            lambda: made["metadata"].update(managedFields=[self._managed()]),
        )

    def _pod(self, made: Json) -> None:
        """Fields of a pod that nobody may choose, where somebody might hope that they get through."""
        rng, spec = self._rng, made["spec"]
        fields = {name: _PRIVILEGED[name] for name in rng.sample(list(_PRIVILEGED), rng.randint(1, 4))}
        self._pick(
            lambda: spec.update(pod=fields),
            lambda: spec.update(pod={"spec": fields, "securityContext": _PRIVILEGED["securityContext"]}),
            lambda: spec.update(fields),
            lambda: spec.update(training=fields),
            lambda: spec.update(pod={"env": [{"name": "TRIALRUN_TRIAL", "value": self._text()}]}),
            lambda: spec.update(pod={"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": self._text()}}}]}),
            lambda: spec.update(pod={"volumes": [{"mountPath": "/a", "projected": {"sources": fields}}]}),
            lambda: spec.update(pod={"securityContext": {"runAsUser": 1000, **_PRIVILEGED["securityContext"]}}),
            lambda: spec.update(pod={"image": self._text() or "x", "imagePullPolicy": self._text()}),
            lambda: made.update(status={"phase": "Succeeded", "acceptedAt": self._text(), "trials": [fields]}),
        )

    def _asking(self, made: Json) -> None:
        """Secrets, volumes, users and accounts, as they may be chosen and as they may not."""
        rng, spec = self._rng, made["spec"]
        name = rng.choice(["keys", "keys", self._text(), self._elsewhere, f"{self._elsewhere}/keys"])
        source = rng.choice(["secretKeyRef", "configMapKeyRef"])
        volume = {"mountPath": rng.choice([*_PLACES, self._text()])}
        kind = rng.choice(["claim", "configMap", "secret"])
        variable = {"name": rng.choice(["TOKEN", "TRIALRUN_TRIAL", "PATH", self._text()])}
        key = {"name": name, "key": rng.choice(["k", "../k", self._text()])}
        self._pick(
            lambda: spec.update(pod={"env": [variable | {"valueFrom": {source: key}}]}),
            lambda: spec.update(
                pod={"env": [variable | {"valueFrom": {source: key | {"namespace": self._elsewhere}}}]}
            ),
            lambda: spec.update(pod={"envFrom": [{"prefix": self._text(), "secretRef": {"name": name}}]}),
            lambda: spec.update(pod={"envFrom": [{"configMapRef": {"name": name}}] * rng.choice([1, 2, 17])}),
            lambda: spec.update(pod={"volumes": [volume | {kind: name, "subPath": rng.choice(["a", "../a", "/a"])}]}),
            lambda: spec.update(pod={"volumes": [volume | {kind: name}] * rng.choice([1, 1, 2, 33])}),
            lambda: spec.update(pod={"volumes": [volume | {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]}),
            lambda: spec.update(pod={"volumes": [volume | {"emptyDir": {"sizeLimit": self._value()}}]}),
            lambda: spec.update(
                pod={"securityContext": {"runAsUser": rng.choice(_IDS), "fsGroup": rng.choice(_IDS)}}
            ),
            lambda: spec.update(pod={"securityContext": {"readOnlyRootFilesystem": rng.random() < 0.5}}),
            lambda: spec.update(pod={"serviceAccountName": name}),
        )

    def _program(self, made: Json) -> None:
        """A program in place of the trainer, with code of its own, of nobody's, or of another namespace."""
        rng, spec, there = self._rng, made["spec"], self._elsewhere
        program: Json = {"command": ["python", "train.py", "--lr", "${parameters.train.learningRate}"]}
        spec.update(objective={"metric": "loss", "direction": "Minimize"}, program=program)
        if rng.random() < 0.6:
            names = ["code", "code", "code", "theirs", "missing", there, f"{there}/theirs", "../code"]
            program.update(code=f"configmap/{rng.choice(names)}")
        if rng.random() < 0.5:
            return
        self._pick(
            lambda: program.update(workingDirectory=rng.choice(["..", "a", "/", "/work"])),
            lambda: program.update(code=rng.choice(["./src", f"secret/{there}", self._text()])),
            lambda: program.update(command=[self._text() for _ in range(rng.choice([1, 3, 257]))]),
            lambda: program.update(settings={self._text(): self._value()}),
            lambda: program.update(env=[{"name": "TRIALRUN_TRIAL", "value": self._text()}]),
            lambda: program.update(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            lambda: program.update(env=[{"name": "A", "value": "$(TRIALRUN_TRIAL) ${parameters.x}"}]),
            lambda: program.update(processesPerWorker=rng.choice([0, 2, 65])),
            lambda: program.update(inputs=[self._text(), "/etc/passwd"]),
            lambda: program.update(_PRIVILEGED),
        )

    def _scheduling(self, made: Json) -> None:
        """Fields that a user may choose, with values that Kubernetes may not take."""
        rng, spec = self._rng, made["spec"]
        self._pick(
            lambda: spec.update(pod={"labels": {self._text(): self._text()}}),
            lambda: spec.update(pod={"annotations": {self._text(): self._text()}}),
            lambda: spec.update(pod={"nodeSelector": {"a": self._text()}}),
            lambda: spec.update(pod={"tolerations": [self._value()], "affinity": {"nodeAffinity": self._value()}}),
            lambda: spec.update(pod={"resources": {"limits": {self._text(): "1"}, "requests": {"cpu": "-1"}}}),
            lambda: spec.update(pod={"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1000"}}}),
            lambda: spec.update(pod={"priorityClassName": rng.choice(["system-node-critical", self._text()])}),
            lambda: spec.update(pod={"runtimeClassName": rng.choice(["unconfined", self._text()])}),
        )

    def _elsewhere_too(self, made: Json) -> None:
        """Names that point into another namespace, or at what belongs to the operator."""
        spec, there = made["spec"], self._elsewhere
        self._pick(
            lambda: made["metadata"].update(namespace=there),
            lambda: spec.update(namespace=there, pod={"namespace": there}),
            lambda: spec.update(pod={"dataClaim": f"{there}/claim", "outputClaim": "../claim"}),
            lambda: spec.update(pod={"dataClaim": there, "outputClaim": there}),
            lambda: spec.update(pod={"imagePullSecrets": [{"name": f"{there}/secret", "namespace": there}]}),
            lambda: spec.update(pod={"labels": {f"trialrun.dev/{name}": there for name in _OURS}}),
            lambda: spec.update(
                pod={"labels": {"training.kubeflow.org/job-name": there, "app.kubernetes.io/name": ""}}
            ),
            lambda: made["metadata"].update(labels={f"trialrun.dev/{name}": there for name in _OURS}),
            lambda: made["metadata"].update(name=f"{there}/{made['metadata']['name']}"),
            lambda: made["metadata"].update(
                annotations={"kopf.zalando.org/last-handled-configuration": self._text()}
            ),
        )

    def _pick(self, *ways: Callable[[], None]) -> None:
        self._rng.choice(ways)()

    def _text(self) -> str:
        letters = "".join(self._rng.choices(string.printable, k=12))
        plain = ["a" * 2000, "../../etc/passwd", "{{ .Values }}", "$(reboot)", "", "null", f"{self._elsewhere}/x"]
        return self._rng.choice([*plain, *_UNICODE, letters])

    def _value(self, depth: int = 0) -> Any:
        rng = self._rng
        makers: list[Callable[[], Any]] = [
            self._text,
            lambda: rng.randint(-(2**63), 2**63 - 1),
            lambda: rng.uniform(-1e308, 1e308),
            lambda: None,
            lambda: rng.random() < 0.5,
            lambda: [self._text()] * rng.choice([0, 1, 65, 300]),
            self._deep,
        ]
        if depth < 40:
            makers.append(lambda: {self._text(): self._value(depth + rng.randint(1, 20))})
        return rng.choice(makers)()

    def _deep(self) -> str:
        """A mapping in a mapping in a mapping. The API server takes JSON that is up to 10,000 levels deep."""
        self._depth = self._rng.choice([33, 900, 9_000, 11_000])
        return _DEEP

    def _managed(self) -> Json:
        """Who has set which field: the one part of an object that its author may nest as deep as he likes."""
        self._depth = self._rng.choice([900, 9_000])
        return {
            "manager": "hostile", "operation": "Update", "apiVersion": "trialrun.dev/v1alpha1",
            "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": _DEEP},
        }  # fmt: skip
