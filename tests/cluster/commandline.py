"""Calls the trainer's command line as a user of a cluster does, with a kubectl that reaches it."""

import os
import subprocess
import sys
from pathlib import Path

from cluster.operatorprocess import ROOT
from cluster.programs import build
from cluster.testcluster import Cluster


def trainer(
    cluster: Cluster, *arguments: str | Path, kubeconfig: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The command line with the cluster's kubectl first on the PATH; by default as the cluster's administrator."""
    programs = build.program("kubectl").parent
    variables = cluster.environment() | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    if kubeconfig is not None:
        variables["KUBECONFIG"] = str(kubeconfig)
    command = [sys.executable, "-m", "trainer", *map(str, arguments)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600, check=False)
