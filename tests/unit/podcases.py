"""Pods that an API server takes, and pods that it refuses, as `spec.pod` gives them."""

from typing import Any

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def _resources(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"resources": {"requests": requests or {}, "limits": limits or {}}}


def _toleration(**fields: Any) -> dict[str, Any]:
    return {"tolerations": [fields]}


def _node(*expressions: dict[str, Any], fields: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    term = {"matchExpressions": list(expressions), "matchFields": fields or []}
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}}


def _expression(operator: str, *values: str, key: str = "zone") -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


def _near(**term: Any) -> dict[str, Any]:
    return {"affinity": {"podAntiAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": term}]}}}


def _volume(source: dict[str, Any], path: str = "/models") -> dict[str, Any]:
    return {"volumes": [{"mountPath": path, **source}]}


def _variable(**source: Any) -> dict[str, Any]:
    return {"env": [{"name": "TOKEN", "valueFrom": source}]}


# By what is wrong: the pod, and the path that the sentence begins with.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a request beyond the limit": (_resources({"memory": "2Gi"}, {"memory": "1Gi"}), "resources.requests.memory"),
    "cpu beyond the limit": (_resources({"cpu": "1500m"}, {"cpu": "1"}), "resources.requests.cpu"),
    "a GPU request without limit": (_resources({"nvidia.com/gpu": "1"}), "resources.requests.nvidia.com/gpu"),
    "a GPU request below the limit": (
        _resources({"nvidia.com/gpu": "1"}, {"nvidia.com/gpu": "2"}), "resources.requests.nvidia.com/gpu",
    ),
    "half a GPU": (_resources(limits={"nvidia.com/gpu": "0.5"}), "resources.limits.nvidia.com/gpu"),
    "a resource without domain": (_resources(limits={"gpu": "1"}), "resources.limits.gpu"),
    "a resource of no name": (_resources(limits={"nvidia.com/": "1"}), "resources.limits.nvidia.com/"),
    "a label's value too long": ({"labels": {"a": "x" * 64}}, "labels.a"),
    "a label's value with a space": ({"labels": {"a": "b c"}}, "labels.a"),
    "a label's name with a space": ({"labels": {"a b": "c"}}, "labels"),
    "a label's name too long": ({"labels": {"x" * 64: "c"}}, "labels"),
    "a label's domain in capitals": ({"labels": {"Example.com/a": "c"}}, "labels"),
    "an annotation's name": ({"annotations": {"-a": "c"}}, "annotations"),
    "a node selector's value": ({"nodeSelector": {"a": "-"}}, "nodeSelector.a"),
    "no key and Equal": (_toleration(operator="Equal", value="x"), "tolerations[0].operator"),
    "no key and no operator": (_toleration(effect="NoSchedule"), "tolerations[0].operator"),
    "Exists and a value": (_toleration(key="a", operator="Exists", value="x"), "tolerations[0].value"),
    "a toleration's value": (_toleration(key="a", value="x y"), "tolerations[0].value"),
    "a toleration's key": (_toleration(key="a b", operator="Exists"), "tolerations[0].key"),
    "seconds for NoSchedule": (
        _toleration(key="a", operator="Exists", effect="NoSchedule", tolerationSeconds=5), "tolerations[0].effect",
    ),
    "seconds for every effect": (
        _toleration(key="a", operator="Exists", tolerationSeconds=5), "tolerations[0].effect",
    ),
    "In without values": (_node(_expression("In")), f"affinity.nodeAffinity.{REQUIRED}"),
    "Exists with values": (_node(_expression("Exists", "a")), f"affinity.nodeAffinity.{REQUIRED}"),
    "Lt with two": (_node(_expression("Lt", "1", "2")), f"affinity.nodeAffinity.{REQUIRED}"),
    "a condition's key": (_node(_expression("Exists", key="a b")), f"affinity.nodeAffinity.{REQUIRED}"),
    "a condition's value": (_node(_expression("In", "a b")), f"affinity.nodeAffinity.{REQUIRED}"),
    "a field that is none": (
        _node(fields=[_expression("In", "n", key="metadata.uid")]), f"affinity.nodeAffinity.{REQUIRED}",
    ),
    "a field with two values": (
        _node(fields=[_expression("In", "a", "b", key="metadata.name")]), f"affinity.nodeAffinity.{REQUIRED}",
    ),
    "a field that exists": (
        _node(fields=[_expression("Exists", key="metadata.name")]), f"affinity.nodeAffinity.{REQUIRED}",
    ),
    "a topology's key": (_near(topologyKey="a b"), "affinity.podAntiAffinity"),
    "a selector's value": (
        _near(topologyKey="zone", labelSelector={"matchLabels": {"a": "b c"}}), "affinity.podAntiAffinity",
    ),
    "a selector's condition": (
        _near(topologyKey="zone", labelSelector={"matchExpressions": [_expression("NotIn")]}),
        "affinity.podAntiAffinity",
    ),
    "an account of no name": ({"serviceAccountName": "a..b"}, "serviceAccountName"),
    "a key of no Secret": (_variable(secretKeyRef={"name": "a..b", "key": "k"}), "env[0].valueFrom.secretKeyRef"),
    "variables of no Secret": ({"envFrom": [{"secretRef": {"name": "a.-b"}}]}, "envFrom[0].secretRef"),
    "variables of no ConfigMap": ({"envFrom": [{"configMapRef": {"name": "a-.b"}}]}, "envFrom[0].configMapRef"),
}  # fmt: skip

TAKEN: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a request below the limit": _resources({"cpu": "500m", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}),
    "a limit alone": _resources(limits={"nvidia.com/gpu": "2", "memory": "1.5Gi"}),
    "a request alone": _resources({"cpu": "0.1", "ephemeral-storage": "1G"}),
    "a GPU twice the same": _resources({"nvidia.com/gpu": "2"}, {"nvidia.com/gpu": "2"}),
    "labels": {"labels": {"a": "", "b.example/c_D-1.e": "x" * 63, "9": "A"}},
    "a node": {"nodeSelector": {"kubernetes.io/arch": "arm64"}},
    "annotations": {"annotations": {"example.com/a": "any text $$ at all"}},
    "all taints": _toleration(operator="Exists"),
    "a taint": _toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),
    "a value": _toleration(key="a", value="b"),
    "seconds": _toleration(key="a", operator="Exists", effect="NoExecute", tolerationSeconds=5),
    "nodes": _node(
        _expression("In", "a", ""), _expression("Gt", "5"), _expression("DoesNotExist"),
        fields=[_expression("NotIn", "node-1", key="metadata.name")],
    ),
    "far from others": _near(topologyKey="kubernetes.io/hostname", labelSelector={"matchLabels": {"a": "b"}}),
    "a key of a Secret": _variable(secretKeyRef={"name": "a.b-c", "key": "._-A9", "optional": True}),
    "a key of a ConfigMap": _variable(configMapKeyRef={"name": "a", "key": "x" * 253}),
    "all of a Secret and of a ConfigMap": {
        "envFrom": [{"prefix": "_A", "secretRef": {"name": "a"}}, {"configMapRef": {"name": "a"}}],
    },
    "a claim twice": {
        "volumes": [
            {"mountPath": "/a", "claim": "a", "readOnly": True}, {"mountPath": "/a/b", "claim": "a", "subPath": "b"},
        ],
    },
    "a claim in three places": {"dataClaim": "a", "outputClaim": "a", **_volume({"claim": "a", "subPath": "..a/b."})},
    "a ConfigMap": _volume({"configMap": "a", "subPath": "key"}),
    "a Secret": _volume({"secret": "a"}),
    "shared memory": _volume({"emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}}, "/dev/shm"),  # noqa: S108
    "a cache within ours": _volume({"emptyDir": {"sizeLimit": 1}}, "/tmp/.cache"),  # noqa: S108
    "strange paths": {"volumes": [{"mountPath": path, "emptyDir": {}} for path in ("/...", "/ ", "/tm", "/é/~")]},
    "the first user": {"securityContext": {"runAsUser": 1, "runAsGroup": 1, "fsGroup": 1}},
    "the last user": {"securityContext": dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), 2**31 - 1)},
    "an image that can be written": {"securityContext": {"readOnlyRootFilesystem": False}},
}  # fmt: skip

# What an API server takes and no kubelet starts, or not as it is meant.
SENSELESS: dict[str, tuple[dict[str, Any], str]] = {
    "millibytes of memory": (_resources(limits={"memory": "512m"}), "resources.limits.memory"),
    "Gt with a word": (_node(_expression("Gt", "many")), f"affinity.nodeAffinity.{REQUIRED}"),
    "half a byte of disk": (_resources({"ephemeral-storage": "1.5"}), "resources.requests.ephemeral-storage"),
    "half a byte of memory": (_volume({"emptyDir": {"sizeLimit": "1500m"}}), "volumes[0].emptyDir.sizeLimit"),
    "no byte at all": (
        _volume({"emptyDir": {"medium": "Memory", "sizeLimit": "0"}}),
        "volumes[0].emptyDir.sizeLimit",
    ),
    "a claim of no name": (_volume({"claim": "a..b"}), "volumes[0].claim"),
    "a ConfigMap of no name": (_volume({"configMap": "a..b"}), "volumes[0].configMap"),
    "a Secret of no name": (_volume({"secret": "a..b"}), "volumes[0].secret"),
}
