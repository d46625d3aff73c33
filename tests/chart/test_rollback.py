"""0.1's chart is upgraded to this one and rolled back, by each Helm: which CRDs there are, and what they keep."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chart.conftest import CHART
from cluster.api import ApiError, Json
from cluster.controlplane import ControlPlane
from cluster.operatorprocess import GROUP, a_search, keeps_programs
from cluster.testcluster import CommandFailed
from eventually import eventually
from version_0_1 import Version01

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAMES = ("hyperparamsearches.trialrun.dev", "scaletests.trialrun.dev")
PROGRAM = {"command": ["train"]}
OF_0_1 = ("--set", "image.tag=0.1.0", "--set", "trainer.image=trialrun/trainer:0.1.0")


@dataclass(frozen=True)
class Release:
    """A release that was installed by one Helm from 0.1's chart, which lies in `old`, and upgraded to this one."""

    plane: ControlPlane
    version: int
    old: Path

    @property
    def namespace(self) -> str:
        return f"rolled-back-helm{self.version}"

    def helm(self, *arguments: str) -> str:
        return self.plane.helm(*arguments, "-n", self.namespace, version=self.version)

    def upgrade(self, chart: Path, *options: str) -> str:
        return self.helm("upgrade", "trialrun", str(chart), "--reset-then-reuse-values", *options)

    def path(self, name: str = "") -> str:
        return f"{GROUP}/namespaces/{self.namespace}/hyperparamsearches/{name}".rstrip("/")

    def program(self) -> Json | None:
        """What the API server has of the program in an experiment."""
        found: Json | None = self.plane.api.get(self.path("program"))["spec"].get("program")
        return found

    def users_may_edit(self) -> bool:
        """Whether there is a role by which others than administrators make experiments."""
        return (
            self.plane.api.get_if_there("/apis/rbac.authorization.k8s.io/v1/clusterroles/trialrun-edit") is not None
        )

    def image(self) -> str:
        """The operator's."""
        deployment = self.plane.api.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/trialrun")
        image: str = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        return image


@pytest.fixture(params=[3, 4], ids=["helm3", "helm4"])
def release(request: pytest.FixtureRequest, plane: ControlPlane, version_0_1: Version01) -> Iterator[Release]:
    """With an experiment of 0.1 that has outlived the upgrade, and one that runs a program."""
    made = Release(plane, request.param, version_0_1.root / "helm" / "trialrun")
    made.helm("install", "trialrun", str(made.old), "--create-namespace")
    assert not any(map(knows_programs, crds(plane)))
    eventually(lambda: plane.api.serves(made.path()), what="experiments are served")
    before = plane.api.create(made.path(), a_search())
    made.upgrade(CHART)
    assert all(map(knows_programs, crds(plane)))
    after = plane.api.get(made.path("search"))
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    eventually(lambda: keeps_programs(plane.api, made.namespace), what="the CRDs count")
    plane.api.create(made.path(), a_search("program", program=PROGRAM))
    yield made
    made.helm("uninstall", "trialrun")
    for name in NAMES:
        plane.api.delete_if_there(f"{CRDS}/{name}")
    eventually(lambda: not crds(plane), what="the CRDs are gone")


def crds(plane: ControlPlane) -> list[Json]:
    return [each for each in plane.api.list(CRDS) if each["metadata"]["name"] in NAMES]


def knows_programs(crd: Json) -> bool:
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return "program" in schema["properties"]["spec"]["properties"]


def test_this_chart_with_the_images_of_0_1_keeps_its_crds(release: Release) -> None:
    release.upgrade(CHART, *OF_0_1)
    assert release.image() == "trialrun/operator:0.1.0"
    assert all(map(knows_programs, crds(release.plane)))
    assert release.program() == PROGRAM
    release.upgrade(CHART, "--set", "image.tag=", "--set", "trainer.image=")
    assert release.program() == PROGRAM


def test_the_chart_of_0_1_without_its_crds_leaves_those_that_are_there(release: Release) -> None:
    release.upgrade(CHART, "--set", "allow.secrets=true")
    with pytest.raises(CommandFailed, match="allow"):
        release.upgrade(release.old, "--set", "crds.install=false")
    release.upgrade(release.old, "--set", "crds.install=false", "--set", "allow=null")
    assert all(map(knows_programs, crds(release.plane)))
    assert not release.users_may_edit(), "docs/cluster.md says so"
    release.plane.api.patch(release.path("program"), {"spec": {"suspend": True}})
    assert release.program() == PROGRAM
    release.upgrade(CHART, "--set", "crds.install=true")
    assert all(map(knows_programs, crds(release.plane)))
    assert release.users_may_edit()
    assert release.program() == PROGRAM


def test_helm_rollback_brings_the_crds_of_0_1_and_they_take_the_program_away(release: Release) -> None:
    release.helm("rollback", "trialrun", "1")
    assert not any(map(knows_programs, crds(release.plane)))
    eventually(lambda: release.program() is None, what="the CRDs count")
    release.plane.api.patch(release.path("program"), {"spec": {"suspend": True}})
    release.upgrade(CHART)
    assert all(map(knows_programs, crds(release.plane)))
    eventually(lambda: keeps_programs(release.plane.api, release.namespace), what="the CRDs count")
    assert release.program() is None
    with pytest.raises(ApiError, match="cannot change; apply the new one under another name"):
        release.plane.api.patch(release.path("program"), {"spec": {"program": PROGRAM}})
