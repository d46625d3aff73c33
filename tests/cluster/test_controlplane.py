"""The control plane is a real one, is reached only if it is a test cluster, and leaves nothing behind."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import kubeconfig
from cluster.api import Api, ApiError, Json
from cluster.component import Component, ComponentFailed, free_port
from cluster.controlplane import ControlPlane
from cluster.kubeconfig import Access, NotATestCluster
from cluster.kubelet import KubeletPlayer
from cluster.testcluster import Cluster, CommandFailed
from eventually import eventually

GROUP = "tests.trialrun.dev"
TESTS = Path(__file__).parents[1]


def config_map(name: str, owner: Json | None = None) -> Json:
    metadata: Json = {"name": name}
    if owner:
        reference = {key: owner[key] for key in ("apiVersion", "kind")}
        reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
        metadata["ownerReferences"] = [reference]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def pod(name: str, *, privileged: bool = False) -> Json:
    container = {"name": "main", "image": "none", "securityContext": {"privileged": privileged}}
    return {"metadata": {"name": name}, "spec": {"containers": [container]}}


def custom_kind(plural: str) -> Json:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": plural, "kind": plural.capitalize()}
    spec = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": f"{plural}.{GROUP}"}, "spec": spec}


def test_kubectl_and_the_api_server_say_their_version(cluster: Cluster) -> None:
    version = json.loads(cluster.kubectl("version", "--output=json"))
    for side in ("clientVersion", "serverVersion"):
        assert version[side]["gitVersion"].startswith("v1.")
        assert int(version[side]["minor"]) >= 34


@pytest.mark.parametrize("version", [3, 4])
def test_helm_3_and_helm_4_are_there(cluster: Cluster, version: int) -> None:
    assert f'Version:"v{version}.' in cluster.helm("version", version=version)


def test_a_failed_command_says_what_kubectl_said(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(CommandFailed, match='pods "nobody" not found'):
        cluster.kubectl("get", "pod", "nobody", "--namespace", namespace)


def test_a_service_accounts_kubeconfig_may_do_only_what_its_roles_allow(cluster: Cluster, namespace: str) -> None:
    account = Api(kubeconfig.read(cluster.kubeconfig_for_service_account(namespace, "default")))
    pods = f"/api/v1/namespaces/{namespace}/pods"
    with pytest.raises(ApiError, match=f"system:serviceaccount:{namespace}:default"):
        account.list(pods)
    subject = f"--serviceaccount={namespace}:default"
    cluster.kubectl("create", "rolebinding", "viewer", "--clusterrole=view", subject, f"--namespace={namespace}")
    eventually(lambda: account.list(pods) == [], what="the role binding is known")


def test_pod_security_refuses_a_privileged_pod_where_the_namespace_says_so(cluster: Cluster, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    cluster.api.create(f"{pods}?dryRun=All", pod("before", privileged=True))
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.api.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": label}})

    def is_refused() -> bool:
        with contextlib.suppress(ApiError):
            cluster.api.create(f"{pods}?dryRun=All", pod("after", privileged=True))
            return False
        return True

    eventually(is_refused, what="the label is known to the admission of pods")
    with pytest.raises(ApiError, match="violates PodSecurity"):
        cluster.api.create(pods, pod("after", privileged=True))


def test_what_an_object_owns_is_collected_after_it(cluster: Cluster, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = cluster.api.create(maps, config_map("owner"))
    cluster.api.create(maps, config_map("owned", owner))
    cluster.api.delete(f"{maps}/owner")
    eventually(lambda: cluster.api.get_if_there(f"{maps}/owned") is None, what="the owned object is gone")


def test_what_an_object_of_a_new_kind_owns_is_collected_once_the_kind_is_discovered(
    control_plane: ControlPlane, namespace: str
) -> None:
    api, kinds = control_plane.api, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    things, maps = f"/apis/{GROUP}/v1/namespaces/{namespace}/things", f"/api/v1/namespaces/{namespace}/configmaps"
    api.create(kinds, custom_kind("things"))
    try:
        eventually(lambda: api.serves(things), what="the new kind is served")
        control_plane.discover_kinds()
        owner = api.create(things, {"apiVersion": f"{GROUP}/v1", "kind": "Things", "metadata": {"name": "owner"}})
        api.create(maps, config_map("owned", owner))
        api.delete(f"{things}/owner")
        eventually(lambda: api.get_if_there(f"{maps}/owned") is None, what="the owned object is gone")
    finally:
        api.delete(f"{kinds}/things.{GROUP}")


def test_a_deleted_namespace_takes_everything_with_it(
    cluster: Cluster, namespace: str, kubelet: KubeletPlayer
) -> None:
    place = f"/api/v1/namespaces/{namespace}"
    cluster.api.create(f"{place}/configmaps", config_map("something"))
    cluster.api.create(f"{place}/pods", pod("someone"))
    running = f"{place}/pods/someone"
    eventually(lambda: cluster.api.get(running)["status"]["phase"] == "Running", what="the pod runs")
    cluster.api.delete(place)
    # Half of the pod's grace period goes by before the namespace is looked at again.
    eventually(lambda: cluster.api.get_if_there(place) is None, what="the namespace is gone")
    assert kubelet.errors == []


def test_without_the_scheduler_pods_wait_and_with_it_they_run(
    control_plane: ControlPlane, namespace: str, kubelet: KubeletPlayer
) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    control_plane.scheduler.stop()
    try:
        created = control_plane.api.create(pods, pod("waiting"))
        assert "nodeName" not in created["spec"]
    finally:
        control_plane.scheduler.start()
    eventually(lambda: control_plane.api.get(f"{pods}/waiting")["status"]["phase"] == "Running", what="it runs")
    assert kubelet.errors == []


def test_data_outlives_the_death_of_the_api_server_and_of_etcd(control_plane: ControlPlane, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    control_plane.api.create(maps, config_map("kept"))
    for component in (control_plane.api_server, control_plane.etcd):
        component.kill()
    control_plane.etcd.start()
    control_plane.api_server.start()
    assert control_plane.api.get(f"{maps}/kept")


def test_the_certificates_pass_the_strict_checks_of_newer_pythons(control_plane: ControlPlane) -> None:
    context = control_plane.access.ssl_context()
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        socket.create_connection(("127.0.0.1", control_plane.port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        assert secured.version() == "TLSv1.3"


def test_killing_whoever_started_the_control_plane_leaves_no_process(tmp_path: Path) -> None:
    workdir = tmp_path / "plane"
    starter = subprocess.Popen(
        [sys.executable, "-m", "cluster.controlplane", "--workdir", str(workdir)],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    with starter:
        try:
            assert "ready after" in starter.stdout.readline()
            assert len(processes_in(workdir)) == 5
        finally:
            starter.kill()
    eventually(lambda: not processes_in(workdir), what="the components are gone")


def test_a_component_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo no such option >&2; exit 3"]
    component = Component("broken", command, f"http://127.0.0.1:{free_port()}/", tmp_path / "broken.log")
    with pytest.raises(
        ComponentFailed, match=r"broken ended with exit code 3 before it was ready(.|\n)*no such option"
    ):
        component.start()


@pytest.mark.parametrize(
    ("context", "server"),
    [
        ("kind-dev", "https://203.0.113.7:6443"),
        ("production", "https://127.0.0.1:6443"),
        ("kind-", "https://127.0.0.1:6443"),
        ("kind-dev", "https://127.0.0.1.example.com:6443"),
        ("trialrun-1", "https://user@203.0.113.7:6443"),
    ],
)
def test_a_kubeconfig_that_is_not_of_a_test_cluster_is_refused(tmp_path: Path, context: str, server: str) -> None:
    file = kubeconfig.write(tmp_path / "config", Access(context, server, authority=b""))
    with pytest.raises(NotATestCluster, match="tests run only on a test cluster"):
        kubeconfig.read_test_cluster(file)


@pytest.mark.parametrize("context", ["kind-kind", "k3d-dev", "trialrun-1"])
def test_the_kubeconfig_of_a_test_cluster_is_accepted(tmp_path: Path, context: str) -> None:
    access = Access(context, "https://127.0.0.1:6443", authority=b"a", token="t")  # noqa: S106
    assert kubeconfig.read_test_cluster(kubeconfig.write(tmp_path / "config", access)) == access


def test_the_tests_run_against_a_kubeconfig_that_is_given(cluster: Cluster) -> None:
    chosen = f"{Path(__file__)}::test_what_an_object_owns_is_collected_after_it"
    done = pytest_run("--kubeconfig", str(cluster.kubeconfig), chosen)
    assert "1 passed" in done.stdout


def test_the_tests_stop_at_a_kubeconfig_of_another_cluster(tmp_path: Path) -> None:
    access = Access("production", "https://203.0.113.7:6443", authority=b"")
    file = kubeconfig.write(tmp_path / "config", access)
    done = pytest_run("--kubeconfig", str(file), f"{Path(__file__)}::test_helm_3_and_helm_4_are_there")
    assert "tests run only on a test cluster" in done.stdout
    assert "passed" not in done.stdout


def pytest_run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=600)


def processes_in(folder: Path) -> list[Path]:
    """The processes that work in a folder. A zombie works nowhere."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It ended meanwhile.
            if (process / "cwd").readlink() == folder:
                found.append(process)
    return found
