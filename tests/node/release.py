"""The chart on a cluster: installed, upgraded, waited for."""

import subprocess
from pathlib import Path

from cluster.programs import build
from cluster.testcluster import Cluster, CommandFailed
from node.images import Images
from node.place import ROOT

NAMESPACE = "trialrun-system"
RELEASE = "trialrun"
CHART = ROOT / "helm" / "trialrun"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def install(cluster: Cluster, *options: str) -> None:
    """What `make deploy` does, by the programs of the tests' own."""
    programs = cluster.workdir / "bin"
    programs.mkdir(exist_ok=True)
    for name, program in {"kubectl": "kubectl", "helm": "helm4"}.items():
        (programs / name).unlink(missing_ok=True)
        (programs / name).symlink_to(build.program(program))
    environment = cluster.environment()
    environment |= {"PATH": f"{programs}:{environment['PATH']}", "NAMESPACE": NAMESPACE}
    command = [str(ROOT / "scripts" / "deploy"), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise CommandFailed(command, done.returncode, done.stdout, done.stderr)


def upgrade(cluster: Cluster, chart: Path, *options: str) -> None:
    """Makes the release one of this chart."""
    cluster.helm("upgrade", "--install", RELEASE, str(chart), "-n", NAMESPACE, *options)
    cluster.kubectl("rollout", "status", "-n", NAMESPACE, f"deployment/{RELEASE}", "--timeout=590s")


def values(wanted: Images) -> list[str]:
    """Options for a node that has these images. The annotation changes with the operator's, and so do its pods."""
    (operator,) = (image for name, image in wanted.items() if "/operator:" in name)
    return ["--set-string", f"podAnnotations.image={operator}"]
