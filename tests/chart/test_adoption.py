"""CRDs that were applied with kubectl before the chart came can be taken over by it, as docs/install.md says."""

from collections.abc import Iterator

import pytest

from chart.conftest import CHART, ROOT
from cluster.controlplane import ControlPlane
from cluster.testcluster import CommandFailed
from eventually import eventually

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAMES = ("hyperparamsearches.trialrun.dev", "scaletests.trialrun.dev")


@pytest.fixture
def applied(plane: ControlPlane) -> Iterator[None]:
    """The CRDs as kubectl applied them, and an experiment."""
    plane.kubectl("apply", "-f", str(ROOT / "crds"))
    plane.kubectl("wait", "--for=condition=Established", "crd", *NAMES)
    eventually(
        lambda: len(plane.kubectl("api-resources", "--api-group=trialrun.dev", "-o", "name").split()) == 2,
        what="the API server serves experiments",
    )
    plane.kubectl("apply", "-n", "default", "-f", str(ROOT / "examples/search.yaml"))
    yield
    for name in NAMES:
        plane.api.delete_if_there(f"{CRDS}/{name}")
    names = set(NAMES)
    eventually(
        lambda: not names & {each["metadata"]["name"] for each in plane.api.list(CRDS)}, what="the CRDs are gone"
    )


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.usefixtures("applied")
def test_crds_applied_before_are_refused_and_then_adopted_with_their_experiments(
    version: int, plane: ControlPlane
) -> None:
    experiment = "/apis/trialrun.dev/v1alpha1/namespaces/default/hyperparamsearches/sp500-grid"
    uid = plane.api.get(experiment)["metadata"]["uid"]
    namespace = f"adopting-helm{version}"
    install = ("install", "trialrun", str(CHART), "-n", namespace, "--create-namespace")
    with pytest.raises(CommandFailed, match="exists and cannot be imported into the current release"):
        plane.helm(*install, version=version)
    plane.helm(*install, "--take-ownership", version=version)
    for name in NAMES:
        metadata = plane.api.get(f"{CRDS}/{name}")["metadata"]
        assert metadata["annotations"]["meta.helm.sh/release-namespace"] == namespace
    plane.helm("upgrade", "trialrun", str(CHART), "-n", namespace, version=version)
    assert plane.api.get(experiment)["metadata"]["uid"] == uid
    plane.helm("uninstall", "trialrun", "-n", namespace, version=version)
    assert plane.api.get(experiment)["metadata"]["uid"] == uid
