"""What the chart makes, as facts about the objects rather than their text, with Helm 3 and 4."""

import json
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart.conftest import CHART, HELMS, ROOT, Document, Render, RenderingFailed, only, render
from trainer.experiment.load import read
from trialrun_operator import settings
from trialrun_operator.metrics import Metrics
from trialrun_operator.permits import SWITCHES

ALL_ON = ("--set", "metrics.serviceMonitor.enabled=true,metrics.dashboard.enabled=true")
SOME = ("--set", "watch.namespaces={team-a,team-b}")
ALLOWED = ("--set", "allow.secrets=true,allow.serviceAccounts=true,allow.volumes=true")


def pod_specs(documents: list[Document]) -> list[Document]:
    return [only(documents, "Deployment")["spec"]["template"]["spec"], only(documents, "Pod")["spec"]]


def environment(documents: list[Document]) -> dict[str, str]:
    (container,) = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_the_chart_has_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert chart["version"] == chart["appVersion"] == project


def test_the_default_values_make_these_objects(rendered: Render) -> None:
    made = sorted((document["kind"], document["metadata"]["name"]) for document in rendered())
    assert made == [
        ("ClusterRole", "trialrun"),
        ("ClusterRole", "trialrun-edit"),
        ("ClusterRole", "trialrun-view"),
        ("ClusterRoleBinding", "trialrun"),
        ("CustomResourceDefinition", "hyperparamsearches.trialrun.dev"),
        ("CustomResourceDefinition", "scaletests.trialrun.dev"),
        ("Deployment", "trialrun"),
        ("NetworkPolicy", "trialrun"),
        ("Pod", "trialrun-test"),
        ("Service", "trialrun-metrics"),
        ("ServiceAccount", "trialrun"),
    ]


def test_helm_3_and_4_make_the_same() -> None:
    three, four = (render(helm, *ALL_ON) for helm in HELMS)
    assert by_name(three) == by_name(four)


def by_name(documents: list[Document]) -> dict[tuple[str, str], Document]:
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def test_the_crds_are_those_of_the_crds_folder(rendered: Render) -> None:
    files = [yaml.safe_load(file.read_text()) for file in sorted((ROOT / "crds").glob("*.yaml"))]
    assert [document for document in rendered() if document["kind"] == "CustomResourceDefinition"] == files


def test_the_crds_stay_when_the_chart_is_uninstalled(rendered: Render) -> None:
    for document in rendered():
        kept = document["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        assert kept == (document["kind"] == "CustomResourceDefinition")


def test_a_second_release_leaves_out_what_exists_once_in_a_cluster(rendered: Render) -> None:
    kinds = {document["kind"] for document in rendered("--set", "crds.install=false", *SOME)}
    assert not kinds & {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}


def test_pods_pass_pod_security_restricted(rendered: Render) -> None:
    for spec in pod_specs(rendered()):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


def test_only_the_operator_is_given_a_token(rendered: Render) -> None:
    operator, test = pod_specs(rendered())
    assert operator["automountServiceAccountToken"] is True
    assert test["automountServiceAccountToken"] is False
    assert only(rendered(), "ServiceAccount")["automountServiceAccountToken"] is False


def test_probes_and_metrics_are_answered_at_the_port_that_the_operator_is_told(rendered: Render) -> None:
    documents = rendered("--set", "metrics.port=9999")
    (container,) = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "metrics", "containerPort": 9999}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert environment(documents)["TRIALRUN_METRICS_PORT"] == "9999"
    assert only(documents, "Service")["spec"]["ports"] == [{"name": "metrics", "port": 9999, "targetPort": "metrics"}]


def test_the_operator_reads_every_variable_that_it_is_given(rendered: Render) -> None:
    documents = rendered(*SOME, *ALLOWED, "--set", "trainer.image=team/trainer:7,logLevel=DEBUG,metrics.port=9999")
    expected = settings.Settings(
        namespaces=("team-a", "team-b"),
        allowed=frozenset(SWITCHES),
        image="team/trainer:7",
        port=9999,
        log_level="DEBUG",
    )
    assert settings.from_environment(environment(documents)) == expected
    assert environment(documents).keys() == set(re.findall(r"TRIALRUN_\w+", Path(settings.__file__).read_text()))


def test_without_values_all_namespaces_are_watched_and_the_trainer_has_the_version_of_the_chart(
    rendered: Render,
) -> None:
    told = settings.from_environment(environment(rendered()))
    assert told.namespaces == ()
    assert told.image == f"trialrun/trainer:{yaml.safe_load((CHART / 'Chart.yaml').read_text())['appVersion']}"


def test_nothing_beyond_restricted_pods_is_allowed_until_it_is_switched_on(rendered: Render) -> None:
    assert settings.from_environment(environment(rendered())).allowed == frozenset()
    assert yaml.safe_load((CHART / "values.yaml").read_text())["allow"] == dict.fromkeys(SWITCHES, False)
    for name in SWITCHES:
        told = environment(rendered("--set", f"allow.{name}=true"))
        assert told["TRIALRUN_ALLOW"] == name
        assert settings.from_environment(told).allowed == {name}


def test_values_kept_from_before_there_were_switches_allow_nothing(rendered: Render) -> None:
    assert environment(rendered("--set-json", "allow=null"))["TRIALRUN_ALLOW"] == ""


def test_mlflow_is_told_where_and_as_whom_the_values_say_and_by_nothing_else(rendered: Render) -> None:
    assert not [name for name in environment(rendered()) if name.startswith("MLFLOW")]
    kept = ("--set-json", "mlflow=null")  # values of an earlier version
    assert not [name for name in environment(rendered(*kept)) if name.startswith("MLFLOW")]
    at = ("--set", "mlflow.trackingUri=http://mlflow.mlflow:5000")
    told = environment(rendered(*at))
    assert settings.from_environment(told).tracking
    assert [name for name in told if name.startswith("MLFLOW")] == ["MLFLOW_TRACKING_URI"]
    documents = rendered(*at, "--set", "mlflow.secretName=mlflow")
    (container,) = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    secrets = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each}
    assert secrets == {
        f"MLFLOW_TRACKING_{key.upper()}": {"name": "mlflow", "key": key, "optional": True}
        for key in ("username", "password", "token")
    }
    roles = [each for each in rendered() if "Role" in each["kind"]]
    assert [each for each in documents if "Role" in each["kind"]] == roles, "it needs no further rights"


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ("mlflow.trackingUri=http://mlflow.mlflow:5000/base", [5000]),
        ("mlflow.trackingUri=http://mlflow.mlflow", [80]),
        ("mlflow.trackingUri=https://[fd00::1]", [443]),
        ("mlflow.trackingUri=http://mlflow.mlflow,networkPolicy.mlflowPorts={5000,8080}", [5000, 8080]),
        ("networkPolicy.mlflowPorts={5000}", []),
    ],
)
def test_the_network_policy_lets_the_operator_out_to_mlflow(rendered: Render, given: str, ports: list[int]) -> None:
    policy = only(rendered("--set", given), "NetworkPolicy")["spec"]
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53, 443, 6443, 8443, *ports]


@pytest.mark.parametrize("where", [(), SOME], ids=["everywhere", "in some namespaces"])
def test_no_switch_gives_the_operator_a_right(rendered: Render, where: tuple[str, ...]) -> None:
    def rights(*switches: str) -> list[Document]:
        kinds = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount")
        return [document for document in rendered(*where, *switches) if document["kind"] in kinds]

    assert rights(*ALLOWED) == rights()
    assert rights()


def test_the_first_example_needs_no_image() -> None:
    assert read(ROOT / "examples/search.yaml").spec.pod.image is None


def test_listed_namespaces_get_a_role_each_and_nothing_is_allowed_elsewhere(rendered: Render) -> None:
    documents = rendered(*SOME)
    everywhere = only(rendered(), "ClusterRole", "trialrun")["rules"]
    bindings = [document for document in documents if document["kind"].endswith("RoleBinding")]
    roles = [document for document in documents if document["kind"] == "Role"]
    assert [role["metadata"]["namespace"] for role in roles] == ["team-a", "team-b"]
    assert [binding["metadata"]["namespace"] for binding in bindings] == ["team-a", "team-b"]
    for role, binding in zip(roles, bindings, strict=True):
        assert binding["roleRef"]["kind"] == "Role"
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "trialrun", "namespace": "trialrun-system"}]
        assert role["rules"] == everywhere


@pytest.mark.parametrize(
    ("off", "groups", "told"),
    [
        ((), {"kubeflow.org", "trainer.kubeflow.org", "kueue.x-k8s.io"}, "PyTorchJob,TrainJob"),
        (("backends.trainJob", "kueue.enabled"), {"kubeflow.org"}, "PyTorchJob"),
        (("backends.pytorchJob",), {"trainer.kubeflow.org", "kueue.x-k8s.io"}, "TrainJob"),
    ],
)
def test_the_operator_may_do_what_its_backends_need(
    rendered: Render, off: tuple[str, ...], groups: set[str], told: str
) -> None:
    documents = rendered(*(word for switch in off for word in ("--set", f"{switch}=false")))
    ruled = {group for rule in only(documents, "ClusterRole", "trialrun")["rules"] for group in rule["apiGroups"]}
    assert ruled - {"", "trialrun.dev"} == groups
    (container,) = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {each["name"]: each["value"] for each in container["env"]}["TRIALRUN_BACKENDS"] == told


def test_values_of_a_chart_without_backends_turn_all_on(rendered: Render) -> None:
    kept = rendered("--set", "backends=null", "--set", "kueue=null")
    assert only(kept, "ClusterRole", "trialrun") == only(rendered(), "ClusterRole", "trialrun")


def test_no_rule_has_a_wildcard_or_reaches_secrets(rendered: Render) -> None:
    for document in rendered():
        for rule in document.get("rules", []):
            words = [word for part in rule.values() for word in part]
            assert not {"*", "secrets", "impersonate", "escalate", "bind", "pods/exec"} & set(words)


def test_monitoring_is_off_until_it_is_asked_for(rendered: Render) -> None:
    def kinds(*arguments: str) -> set[str]:
        return {document["kind"] for document in rendered(*arguments)}

    assert kinds(*ALL_ON) - kinds() == {"ServiceMonitor", "ConfigMap"}


def test_the_dashboard_shows_figures_that_the_operator_has(rendered: Render) -> None:
    (text,) = only(rendered(*ALL_ON), "ConfigMap")["data"].values()
    asked = [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
    had = Metrics(lambda: 0.0).text().decode()
    for name in {name for expression in asked for name in re.findall(r"trialrun_\w+", expression)}:
        assert f"# HELP {name.removesuffix('_bucket')} " in had, name


def test_the_service_monitor_and_the_policy_select_what_the_deployment_runs(rendered: Render) -> None:
    documents = rendered(*ALL_ON)
    labels = only(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        only(documents, "Deployment")["spec"]["selector"]["matchLabels"],
        only(documents, "Service")["spec"]["selector"],
        only(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        # The test's pod must not receive what is meant for the operator.
        assert not selector.items() <= only(documents, "Pod")["metadata"]["labels"].items()
    monitored = only(documents, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= only(documents, "Service")["metadata"]["labels"].items()


def test_the_policy_lets_the_operator_reach_the_api_server_and_dns_only(rendered: Render) -> None:
    policy = only(rendered(), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["metrics"]
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53, 443, 6443, 8443]


def test_pull_secrets_reach_every_pod_of_the_chart(rendered: Render) -> None:
    for spec in pod_specs(rendered("--set", "imagePullSecrets[0].name=registry")):
        assert spec["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize(("code", "passes"), [(200, True), (503, False)], ids=["ready", "not ready"])
def test_helm_test_asks_whether_the_operator_is_ready(rendered: Render, code: int, passes: bool) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    (container,) = only(rendered(), "Pod")["spec"]["containers"]
    _, *options, url = container["command"]
    assert url == "http://trialrun-metrics.trialrun-system:8080/readyz"
    with HTTPServer(("127.0.0.1", 0), Answer) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.handle_request)
        here = url.replace("trialrun-metrics.trialrun-system:8080", f"127.0.0.1:{server.server_port}")
        done = subprocess.run([sys.executable, *options, here], capture_output=True)
    assert (done.returncode == 0) == passes


BAD = {
    "a value nobody knows": "image.repo=a",
    "a log level nobody knows": "logLevel=debug",
    "a namespace that is none": "watch.namespaces={Team_A}",
    "a namespace twice": "watch.namespaces={a,a}",
    "namespaces as one text": "watch.namespaces=a",
    "a port that needs root": "metrics.port=80",
    "a port as text": "metrics.port=http",
    "a switch as text": "crds.install=maybe",
    "a switch nobody knows": "allow.hostPaths=true",
    "a switch of the right name as text": "allow.secrets=yes",
    "a pull policy nobody knows": "image.pullPolicy=Sometimes",
    "an image with a space": "trainer.image=a b",
    "a secret without a name": "imagePullSecrets[0].key=a",
    "an address of MLflow's that is none": "mlflow.trackingUri=mlflow:5000",
    "credentials in MLflow's address": "mlflow.trackingUri=http://mary:secret@mlflow",
    "an interval without a unit": "metrics.serviceMonitor.interval=30",
}


@pytest.mark.parametrize("setting", BAD.values(), ids=BAD)
def test_the_schema_refuses(setting: str) -> None:
    with pytest.raises(RenderingFailed, match="values don't meet the specifications of the schema"):
        render("helm4", "--set", setting)


def test_helm_3_heeds_the_schema_too() -> None:
    with pytest.raises(RenderingFailed, match="values don't meet the specifications of the schema"):
        render("helm3", "--set", "image.repo=a")


def test_the_schema_knows_every_value_and_its_default_passes() -> None:
    def same(values: Any, schema: Document, path: str) -> None:
        # What has no properties of its own is free.
        if isinstance(values, dict) and "properties" in schema:
            known = schema["properties"].keys() - {"global"}
            assert values.keys() == known, path
            assert schema["additionalProperties"] is False, path
            for name, value in values.items():
                same(value, schema["properties"][name], f"{path}.{name}")

    same(
        yaml.safe_load((CHART / "values.yaml").read_text()),
        json.loads((CHART / "values.schema.json").read_text()),
        "",
    )
