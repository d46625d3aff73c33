"""`python -m node up` and `down`: a cluster of one node with all controllers and the chart, and its end.

PYTHONPATH=tests python -m node up
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cluster import kubeconfig
from cluster.programs import build
from cluster.testcluster import Cluster, CommandFailed
from debian import ProgramsMissing
from node import host, images, place, release, volumes
from node.place import Place


def up(where: Place) -> Cluster:
    """Starts the cluster where there is none, and brings what runs on it up to date."""
    host.require(where)
    with host.locked(where, "cluster"):
        with _timed("images"):
            wanted = images.built(where)
        with _timed("programs"):
            build.programs((*build.NODE_PROGRAMS, *build.PROGRAMS))
        if host.running(where) is None:
            with _timed("node"):
                host.start(where)
        cluster = Cluster(where.state, kubeconfig.read_test_cluster(where.kubeconfig))
        with _timed("import of images"):
            images.bring(where, wanted)
        with _timed("chart"):
            volumes.make(cluster, where.state / "volumes")
            release.install(cluster, *release.values(wanted))
    return cluster


def down(where: Place) -> None:
    """Ends the cluster and deletes all that it made, but for the cache."""
    with host.locked(where, "cluster"):
        host.stop(where)


def _explain(where: Place) -> None:
    print(f"""\
The cluster is ready, and runs until `make cluster-down`. Logs lie in {where.state}

  export KUBECONFIG={where.kubeconfig} PATH={where.state / "bin"}:$PATH
  kubectl apply -f examples/search.yaml
  kubectl get hps --watch""")


@contextmanager
def _timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{what:<20} {time.monotonic() - began:6.1f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m node", description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("up", "down"))
    command = parser.parse_args().command
    where = place.default()
    if host.has_docker():
        return subprocess.run([place.ROOT / "scripts" / "kind", command], check=False).returncode
    try:
        if command == "down":
            down(where)
        else:
            up(where)
            _explain(where)
    except (host.NotPossible, ProgramsMissing, build.ProgramMissing, CommandFailed, OSError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
