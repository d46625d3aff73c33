"""The programs of the node: containerd, CoreDNS, kube-proxy and the kubelet, each as a component."""

import json
import shutil
from pathlib import Path

import yaml

from cluster import certificates, kubeconfig
from cluster.api import Json
from cluster.component import Component, free_port
from cluster.controlplane import ControlPlane
from cluster.kubeconfig import Access
from cluster.programs import build
from node.place import ADDRESS, BRIDGE, NODE, PAUSE, PODS, VERSION, Place

# What waits in a worker's pod for its master: any image with a shell and getent that the node has.
INIT_IMAGE = f"trialrun/trainer:{VERSION}"
CNI_PLUGINS = Path("/usr/lib/cni")
DOMAIN = "cluster.local"
# Below /var and /run, which are the namespaces' own.
KUBELET_ROOT = "/var/lib/kubelet"
CNI = Path("/run/cni")
CONTAINERD_STATE = "/run/containerd"


def containerd(place: Place) -> Component:
    """Images and containers. Its root is kept from one cluster to the next, so that images are imported once."""
    port = free_port()
    CNI.mkdir()
    network = {
        "cniVersion": "0.4.0",
        "name": NODE,
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(CNI / "addresses"),
                    "ranges": [[{"subnet": PODS, "gateway": ADDRESS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
    (CNI / "10-bridge.conflist").write_text(json.dumps(network))
    file = place.state / "containerd.toml"
    place.containerd_root.mkdir(parents=True, exist_ok=True)
    file.write_text(f"""\
version = 2
root = "{place.containerd_root}"
state = "{CONTAINERD_STATE}"
[grpc]
  address = "{place.containerd_socket}"
[metrics]
  address = "127.0.0.1:{port}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # A machine that is itself a container may not lower the score of a process.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{CNI}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
""")
    command = [_found("containerd"), "--config", str(file)]
    return Component("containerd", command, f"http://127.0.0.1:{port}/v1/metrics", place.state / "containerd.log")


def dns(plane: ControlPlane) -> Component:
    """Names of services and pods, on the bridge's address; no others."""
    port = free_port()
    file = plane.workdir / "Corefile"
    file.write_text(f"""\
{DOMAIN}:53 {{
    bind {ADDRESS}
    errors
    ready 127.0.0.1:{port}
    kubernetes {DOMAIN} {{
        kubeconfig {plane.kubeconfig} {plane.access.context}
        ttl 0
    }}
}}
""")
    command = [str(build.program("coredns")), "-conf", str(file)]
    return Component("coredns", command, f"http://127.0.0.1:{port}/ready", plane.workdir / "coredns.log")


def proxy(plane: ControlPlane) -> Component:
    """Makes service addresses lead to pods."""
    port = free_port()
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(plane.kubeconfig)},
        "clusterCIDR": PODS,
        "hostnameOverride": NODE,
        "healthzBindAddress": f"127.0.0.1:{port}",
        "metricsBindAddress": f"127.0.0.1:{free_port()}",
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        # The answer of a pod on the same bridge would not pass the node, which has to translate it back.
        "nftables": {"masqueradeAll": True, "syncPeriod": "30s", "minSyncPeriod": "100ms"},
    }
    file = _written(plane.workdir / "kube-proxy.yaml", config)
    command = [str(build.program("kube-proxy")), f"--config={file}"]
    return Component("kube-proxy", command, f"http://127.0.0.1:{port}/livez", plane.workdir / "kube-proxy.log")


def kubelet(place: Place, plane: ControlPlane) -> Component:
    """Runs pods. It is the user that a kubelet is, and may do what a kubelet may."""
    port = free_port()
    folder = plane.workdir / "certificates"
    made = certificates.client(folder, plane.authority, f"system:node:{NODE}", "system:nodes")
    access = Access(
        plane.access.context,
        plane.access.server,
        plane.access.authority,
        made.certificate.read_bytes(),
        made.key.read_bytes(),
    )
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "x509": {"clientCAFile": str(plane.authority.certificate)},
        },
        "healthzPort": port,
        "containerRuntimeEndpoint": f"unix://{place.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{NODE}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [ADDRESS],
        "clusterDomain": DOMAIN,
        "resolvConf": "",
        "makeIPTablesUtilChains": False,
        "serializeImagePulls": False,
        # The images were imported by hand, and can't be pulled again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi"},
        "volumePluginDir": f"{KUBELET_ROOT}/plugins",
    }
    file = _written(plane.workdir / "kubelet.yaml", config)
    command = [
        str(build.program("kubelet")),
        f"--config={file}",
        f"--kubeconfig={kubeconfig.write(plane.workdir / 'kubelet.kubeconfig', access)}",
        f"--hostname-override={NODE}",
        f"--node-ip={ADDRESS}",
        f"--root-dir={KUBELET_ROOT}",
    ]
    return Component("kubelet", command, f"http://127.0.0.1:{port}/healthz", plane.workdir / "kubelet.log")


def _written(file: Path, config: Json) -> Path:
    file.write_text(yaml.safe_dump(config))
    return file


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(f"{program} is not on the PATH")
    return path
