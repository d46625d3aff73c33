"""Installs, upgrades and uninstalls the chart with a real API server, as a package and by each Helm."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from chart.conftest import CHART, KUBERNETES, ROOT, Document
from cluster.behaviours import Behaviour, Fails, Hangs, Succeeds
from cluster.controlplane import ControlPlane
from cluster.kubelet import KubeletPlayer
from cluster.podstatus import Pod
from cluster.testcluster import CommandFailed
from eventually import eventually

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAMES = ("hyperparamsearches.trialrun.dev", "scaletests.trialrun.dev")


@dataclass(frozen=True)
class Release:
    """The chart, installed by one Helm into a namespace that enforces Pod Security restricted."""

    plane: ControlPlane
    version: int
    package: str
    notes: str

    @property
    def namespace(self) -> str:
        return f"trialrun-helm{self.version}"

    def helm(self, *arguments: str) -> str:
        return self.plane.helm(*arguments, "-n", self.namespace, version=self.version)


@pytest.fixture(scope="module", params=[3, 4], ids=["helm3", "helm4"])
def release(
    request: pytest.FixtureRequest, plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Release]:
    """A release from a package, by each Helm in turn. A test leaves it installed as it was."""
    folder = tmp_path_factory.mktemp("package")
    plane.helm("package", str(CHART), "-d", str(folder), version=request.param)
    (package,) = folder.glob("trialrun-*.tgz")
    before = Release(plane, request.param, str(package), "")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    plane.api.create("/api/v1/namespaces", {"metadata": {"name": before.namespace, "labels": labels}})
    yield replace(before, notes=before.helm("install", "trialrun", str(package)))
    before.helm("uninstall", "trialrun")
    for name in NAMES:
        plane.api.delete_if_there(f"{CRDS}/{name}")
    eventually(lambda: not crds(plane), what="the CRDs are gone")


def crds(plane: ControlPlane) -> dict[str, Document]:
    found = {item["metadata"]["name"]: item for item in plane.api.list(CRDS)}
    return {name: found[name] for name in NAMES if name in found}


def may(plane: ControlPlane, user: str, verb: str, resource: str, namespace: str) -> bool:
    plural, _, group = resource.partition(".")
    plural, _, subresource = plural.partition("/")
    asked = {"verb": verb, "resource": plural, "subresource": subresource, "group": group, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": asked},
    }
    answer = plane.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def test_the_notes_say_what_to_do_next(release: Release) -> None:
    assert f"kubectl rollout status -n {release.namespace} deployment/trialrun" in release.notes
    assert f"helm test -n {release.namespace} trialrun" in release.notes
    assert "kubectl apply -f examples/search.yaml" in release.notes
    assert "kubectl wait --for=condition=Finished --timeout=1h hps/sp500-grid" in release.notes
    # The control plane has the training operator's CRDs.
    assert "PyTorchJob" not in release.notes


def test_the_pods_are_admitted_where_pod_security_is_restricted(release: Release) -> None:
    pods = f"/api/v1/namespaces/{release.namespace}/pods"
    eventually(lambda: release.plane.api.list(pods), what="the operator's pod is admitted")
    # Helm keeps the test's pod to itself until `helm test`.
    (test,) = (document for document in yaml.safe_load_all(release.helm("get", "hooks", "trialrun")) if document)
    release.plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(test))


def test_the_operator_may_do_its_work_in_every_namespace_and_nothing_else(release: Release) -> None:
    def allowed(verb: str, resource: str) -> bool:
        return may(release.plane, f"system:serviceaccount:{release.namespace}:trialrun", verb, resource, "default")

    assert allowed("create", "pytorchjobs.kubeflow.org")
    assert allowed("patch", "hyperparamsearches/status.trialrun.dev")
    assert not allowed("patch", "hyperparamsearches.trialrun.dev")
    assert not allowed("delete", "hyperparamsearches.trialrun.dev")
    assert not allowed("create", "pods")
    assert not allowed("get", "secrets")


def test_whoever_may_edit_a_namespace_may_make_experiments_in_it_but_not_write_their_status(
    release: Release,
) -> None:
    space = release.namespace
    release.plane.kubectl("create", "rolebinding", "editor", "--clusterrole=edit", "--user=editor", "-n", space)

    def allowed(resource: str) -> bool:
        return may(release.plane, "editor", "patch", resource, space)

    eventually(lambda: allowed("scaletests.trialrun.dev"), what="the cluster's own role has taken in the chart's")
    assert not allowed("scaletests/status.trialrun.dev")


def test_helm_test_passes_or_fails_as_its_pod_does(release: Release) -> None:
    def script(pod: Pod) -> Behaviour:
        return ending if pod["metadata"]["name"] == "trialrun-test" else Hangs()

    with KubeletPlayer(release.plane.access, script):
        ending: Behaviour = Succeeds()
        assert "Succeeded" in release.helm("test", "trialrun")
        ending = Fails()
        with pytest.raises(CommandFailed):
            release.helm("test", "trialrun")


def test_a_second_release_needs_crds_install_false_and_serves_its_own_namespaces(release: Release) -> None:
    plane, second = release.plane, f"second-helm{release.version}"
    plane.api.create("/api/v1/namespaces", {"metadata": {"name": second}})
    install = ("install", "trialrun", release.package, "-n", second, "--set", f"watch.namespaces={{{second}}}")
    with pytest.raises(CommandFailed, match="exists and cannot be imported into the current release"):
        plane.helm(*install, version=release.version)
    plane.helm(*install, "--set", "crds.install=false", version=release.version)

    account = f"system:serviceaccount:{second}:trialrun"
    assert may(plane, account, "create", "pytorchjobs.kubeflow.org", second)
    assert not may(plane, account, "create", "pytorchjobs.kubeflow.org", release.namespace)
    plane.helm("uninstall", "trialrun", "-n", second, version=release.version)


def test_an_upgrade_changes_the_crds_and_experiments_outlive_it_and_an_uninstallation(
    release: Release, tmp_path: Path
) -> None:
    plane = release.plane
    plane.kubectl("apply", "-n", release.namespace, "-f", str(ROOT / "examples/search.yaml"))
    experiment = f"/apis/trialrun.dev/v1alpha1/namespaces/{release.namespace}/hyperparamsearches/sp500-grid"
    uid = plane.api.get(experiment)["metadata"]["uid"]

    release.helm("upgrade", "trialrun", str(chart_with_another_crd(tmp_path)))
    assert "Added" in columns(crds(plane)["scaletests.trialrun.dev"])

    release.helm("uninstall", "trialrun")
    assert crds(plane).keys() == set(NAMES)
    assert plane.api.get(experiment)["metadata"]["uid"] == uid

    release.helm("install", "trialrun", release.package)
    assert "Added" not in columns(crds(plane)["scaletests.trialrun.dev"])
    assert plane.api.get(experiment)["metadata"]["uid"] == uid


def chart_with_another_crd(folder: Path) -> Path:
    """A copy of the chart beside a crds/ folder in which one CRD has a column more."""
    shutil.copytree(CHART, folder / "helm" / "trialrun", symlinks=True)
    shutil.copytree(ROOT / "crds", folder / "crds")
    changed = folder / "crds" / "scaletests.yaml"
    document = yaml.safe_load(changed.read_text())
    document["spec"]["versions"][0]["additionalPrinterColumns"].append(
        {"name": "Added", "type": "string", "jsonPath": ".status.phase"}
    )
    changed.write_text(yaml.safe_dump(document))
    return folder / "helm" / "trialrun"


def columns(crd: Document) -> list[str]:
    return [column["name"] for column in crd["spec"]["versions"][0]["additionalPrinterColumns"]]


def test_the_api_server_takes_every_object_with_every_value_set(release: Release) -> None:
    # Not the ServiceMonitor, which needs the Prometheus operator.
    values = (
        "metrics.dashboard.enabled=true,podLabels.team=a,podAnnotations.note=b,nodeSelector.disk=ssd,"
        "tolerations[0].operator=Exists,priorityClassName=low,imagePullSecrets[0].name=registry,"
        "serviceAccount.annotations.note=c,crds.install=false,rbac.create=false"
    )
    made = release.plane.helm(
        "template", "all", release.package, "--kube-version", KUBERNETES, "--set", values, version=release.version
    )
    release.plane.kubectl("create", "--dry-run=server", "-n", "default", "-f", "-", stdin=made)
