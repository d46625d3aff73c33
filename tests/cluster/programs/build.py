"""Builds the programs of a Kubernetes control plane once, from locked sources, into a cache outside the tree.

Run it as a script to build before testing: a cold build takes minutes, and a test run that waits for it looks hung.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
KUBERNETES_VERSION = "1.34.4"


class ProgramMissing(Exception):
    """A program is neither in the cache nor buildable here; the sentence says what to do."""


@dataclass(frozen=True)
class Manifests:
    """The folder of a Go module with what belongs to its program: CRDs, RBAC and webhook configurations."""

    module: str
    folder: str


@dataclass(frozen=True)
class Program:
    """One executable: which locked Go module (a directory beside this file) it comes from, and which package."""

    name: str
    module: str
    package: str
    # Go string variables set by the linker: a build outside the project's own scripts reports no version,
    # and charts and clients decide by it.
    variables: dict[str, str] = field(default_factory=dict)
    # Test assets in the layout of controller-runtime's envtest may stand in for it.
    in_kubebuilder_assets: bool = False
    # Kept beside it, as `manifests`.
    manifests: Manifests | None = None

    @property
    def linker_flags(self) -> str:
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.variables.items())])

    @property
    def sources(self) -> Path:
        return HERE / self.module


def _kubernetes(name: str, in_kubebuilder_assets: bool = False) -> Program:
    major, minor, _ = KUBERNETES_VERSION.split(".")
    version = {"gitVersion": f"v{KUBERNETES_VERSION}", "gitMajor": major, "gitMinor": minor}
    variables = {f"k8s.io/component-base/version.{variable}": value for variable, value in version.items()}
    return Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", variables, in_kubebuilder_assets)


def _controller(name: str, module: str, package: str = "", *, manifests: str) -> Program:
    return Program(name, name, f"{module}/{package}".rstrip("/"), manifests=Manifests(module, manifests))


PROGRAMS = {
    program.name: program
    for program in (
        Program("etcd", "kubernetes", "go.etcd.io/etcd/server/v3", in_kubebuilder_assets=True),
        _kubernetes("kube-apiserver", in_kubebuilder_assets=True),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubectl", in_kubebuilder_assets=True),
        _controller(
            "training-operator",
            "github.com/kubeflow/training-operator",
            "cmd/training-operator.v1",
            manifests="manifests/base",
        ),
        _controller("jobset", "sigs.k8s.io/jobset", manifests="config/components"),
        _controller(
            "trainer", "github.com/kubeflow/trainer/v2", "cmd/trainer-controller-manager", manifests="manifests/base"
        ),
        _controller("kueue", "sigs.k8s.io/kueue", "cmd/kueue", manifests="config/components"),
        Program("helm3", "helm3", "helm.sh/helm/v3/cmd/helm"),
        Program("helm4", "helm4", "helm.sh/helm/v4/cmd/helm"),
    )
}
# What a node runs on top (tests/node).
NODE_PROGRAMS = {
    program.name: program
    for program in (
        _kubernetes("kubelet"),
        _kubernetes("kube-proxy"),
        Program("coredns", "node", "trialrun.dev/tests/programs/node/coredns"),
        Program("pause", "node", "trialrun.dev/tests/programs/node/pause"),
    )
}
_ALL = PROGRAMS | NODE_PROGRAMS


def program(name: str) -> Path:
    """The path of one program, built first if need be."""
    return programs([name])[name]


def programs(names: Iterable[str] = PROGRAMS) -> dict[str, Path]:
    """The path of each program; what is missing is built, each under a lock so that two runs don't build it twice."""
    wanted = [_ALL[name] for name in names]
    for each in wanted:
        if not _path(each).exists():
            with _lock(each):
                if not _path(each).exists():
                    _build(each)
    return {each.name: _path(each) for each in wanted}


def manifests(name: str) -> Path:
    """The folder with the CRDs, RBAC and webhook configurations that belong to a built controller."""
    return program(name).parent / "manifests"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trialrun" / "programs"


def _path(wanted: Program) -> Path:
    if wanted.in_kubebuilder_assets and (assets := os.environ.get("KUBEBUILDER_ASSETS")):
        given = Path(assets) / wanted.name
        if given.exists():
            return given
    return _cache() / _key(wanted) / wanted.name


def _key(wanted: Program) -> str:
    """Changes with what changes the program: its sources and locks, how it is built, and for which machine."""
    locked = [(wanted.sources / file).read_text() for file in ("go.mod", "go.sum")]
    locked += [file.read_text() for file in sorted(wanted.sources.rglob("*.go"))]
    how = [wanted.package, wanted.linker_flags, platform.system(), platform.machine()]
    if wanted.manifests:
        how.append(wanted.manifests.folder)
    return hashlib.sha256(json.dumps([locked, how]).encode()).hexdigest()[:16]


@contextmanager
def _lock(wanted: Program) -> Iterator[None]:
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / f"{wanted.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"{wanted.name:<24} waiting for another build of it to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(wanted: Program) -> None:
    """Builds into a folder of its own and moves the result into place, so that a path either works or isn't there."""
    _say(f"{wanted.name:<24} building, {_path(wanted).parent}")
    began = time.monotonic()
    place = _path(wanted)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_cache(), prefix=f"{wanted.name}-") as temporary:
        built = Path(temporary) / wanted.name
        _go(wanted, "build", "-mod=readonly", "-trimpath", "-buildvcs=false",
            "-ldflags", wanted.linker_flags, "-o", str(built), wanted.package)  # fmt: skip
        if wanted.manifests:
            sources = _go(wanted, "list", "-m", "-f", "{{.Dir}}", wanted.manifests.module).strip()
            _keep(Path(sources) / wanted.manifests.folder, place.parent / "manifests", Path(temporary))
        built.replace(place)
    _say(f"{wanted.name:<24} built in {time.monotonic() - began:.0f} s")


def _keep(sources: Path, place: Path, temporary: Path) -> None:
    # copyfile drops the module cache's read-only permissions.
    shutil.copytree(sources, temporary / "manifests", copy_function=shutil.copyfile)
    for folder in (temporary / "manifests", *(temporary / "manifests").rglob("*/")):
        folder.chmod(0o755)
    if place.exists():
        shutil.rmtree(place)
    (temporary / "manifests").rename(place)


def _go(wanted: Program, *arguments: str) -> str:
    go = shutil.which("go")
    if go is None:
        prebuilt = "set KUBEBUILDER_ASSETS to what `setup-envtest use -p path 1.34.x` prints; or "
        raise ProgramMissing(
            f"{wanted.name} is not there: {prebuilt if wanted.in_kubebuilder_assets else ''}test on a kind cluster, "
            "with pytest tests/cluster --kubeconfig FILE; or build it from source, which needs Go 1.24 or newer on "
            "the PATH and takes minutes, once"
        )
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
    done = subprocess.run([go, *arguments], cwd=wanted.sources, env=environment, capture_output=True, text=True)
    if done.returncode:
        last_lines = "\n".join(done.stderr.splitlines()[-20:])
        raise ProgramMissing(f"go {arguments[0]} of {wanted.name} failed in {wanted.sources}:\n{last_lines}")
    return done.stdout


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    for name, path in programs(sys.argv[1:] or PROGRAMS).items():
        print(f"{name:<24} {path}")
