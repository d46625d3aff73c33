"""A trainer of one's own in an image of its own: docs/bring-your-own-trainer.md, step by step."""

import subprocess

import pytest
import yaml

from cluster.operatorprocess import Experiments
from node import images, place
from node.place import ROOT
from node.pods import records
from trainer.experiment.outcome import Outcome

OWN = ROOT / "examples" / "own-trainer"
BASE = "localhost/trialrun/pytorch:testing"  # the trainer image's, made of Debian's packages


@pytest.fixture
def own_image() -> str:
    """The example's image on the node, under the name that its search gives it."""
    where = place.default()
    command = ["buildah", "--root", str(where.cache.parent / "images"), "bud", "--quiet", "--layers"]
    command += ["--isolation", "chroot", "--timestamp", "0", "--build-arg", f"BASE={BASE}", str(OWN)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout.split()[-1]
    name: str = yaml.safe_load((OWN / "search.yaml").read_text())["spec"]["pod"]["image"]
    images.bring(where, {f"docker.io/library/{name}": made})
    return name


@pytest.mark.usefixtures("our_node")
def test_the_example_s_search_finds_the_best_of_its_six_trials(own_image: str, experiments: Experiments) -> None:
    experiments.create(yaml.safe_load((OWN / "search.yaml").read_text()))
    status = experiments.finished("own-trainer")["status"]
    found = records(experiments, "own-trainer")
    assert [record.outcome for record in found] == [Outcome.SUCCEEDED] * 6, [record.error for record in found]
    best = min(found, key=lambda record: record.metrics["validMse"])
    assert status["summary"]["best"]["id"] == best.id
    (image,) = {record.environment.image for record in found}
    assert image
    pods = {pod["spec"]["containers"][0]["image"] for pod in experiments.pods()}
    assert pods == {own_image}
