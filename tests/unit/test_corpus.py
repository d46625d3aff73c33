"""Judges the corpus in tests/data with `load` and `expand`. tests/cluster/test_admission.py asks an API server.

A valid file says how many trials it has, `# trials: 18`. An invalid one says a part of each mistake,
`# expect: <text>`, and what a cluster does with it, `# admission: refused`, `accepted` (a condition then names the
mistakes) or `mended` (kubectl or the API server has taken the mistake out before anyone sees it).
"""

import re
from pathlib import Path

import pytest

from trainer.experiment.errors import InvalidExperiment
from trainer.experiment.expand import expand
from trainer.experiment.load import load, read

ROOT = Path(__file__).parents[2]
VALID = sorted((ROOT / "tests/data/valid").glob("*.yaml"))
INVALID = sorted((ROOT / "tests/data/invalid").glob("*.yaml"))
# Beside experiments there are plain Kubernetes objects that they need.
EXAMPLES = sorted(file for file in (ROOT / "examples").glob("*.yaml") if "trialrun.dev/v1alpha1" in file.read_text())


def said(file: Path, word: str) -> list[str]:
    """What the comments of a corpus file say behind `# word:`."""
    return re.findall(rf"^# {word}: (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_a_valid_file_makes_as_many_trials_as_it_says_each_with_its_own_id(file: Path) -> None:
    trials = expand(read(file))
    assert [str(len(trials))] == said(file, "trials")
    assert len({trial.id for trial in trials}) == len(trials)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_valid(file: Path) -> None:
    assert expand(read(file))


def test_the_first_example_is_the_grid_that_the_documents_speak_of() -> None:
    trials = expand(read(ROOT / "examples/search.yaml"))
    assert len(trials) == 18
    assert {trial.training.train.epochs for trial in trials} == {20}


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_an_invalid_file_is_refused_for_the_reasons_it_says(file: Path) -> None:
    with pytest.raises(InvalidExperiment) as refusal:
        expand(load(file.read_text(encoding="utf-8")))
    reasons = said(file, "expect")
    assert reasons
    for reason in reasons:
        assert any(reason in mistake for mistake in refusal.value.mistakes), refusal.value.mistakes


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_an_invalid_file_says_what_a_cluster_does_with_it(file: Path) -> None:
    assert said(file, "admission") in (["refused"], ["accepted"], ["mended"])


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len(VALID) >= 25
    assert len(INVALID) >= 150
