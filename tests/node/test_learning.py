"""A search that learns, with the operator's own image: what suggests there suggests what it would here."""

import yaml

from cluster.operatorprocess import Experiments
from node import pods
from node.place import ROOT
from trainer.experiment.load import load
from trainer.experiment.spec import HyperparamSearch
from trainer.scheduling.lessons import Lesson
from trainer.suggesting.study import Study

TRIALS = 12


def test_suggestions_are_those_of_a_study_here_that_learns_the_same(experiments: Experiments) -> None:
    search = yaml.safe_load((ROOT / "examples" / "search.yaml").read_text())
    search["metadata"]["name"] = "learning"
    search["spec"] |= {
        "algorithm": "TPE",
        "trials": TRIALS,
        "parallelTrials": 1,
        "parameters": [{"name": "train.learningRate", "range": {"min": 1e-4, "max": 0.1, "scale": "Log"}}],
        "training": {"train": {"epochs": 2}},
    }
    experiments.create(search)
    experiments.finished("learning")
    records = pods.records(experiments, "learning")
    assert [record.outcome for record in records] == ["Succeeded"] * TRIALS
    wanted = load(search)
    assert isinstance(wanted, HyperparamSearch)
    study = Study(wanted)
    for record in records:
        suggested = study.suggest(record.index)
        assert suggested is not None
        assert suggested.parameters == record.parameters
        study.learn([Lesson(record.index, record.parameters, record.metrics["validMse"])])
