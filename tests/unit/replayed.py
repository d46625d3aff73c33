"""Replays the ledger of a learning search on a cluster: what each ConfigMap held, version by version."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna

from trainer.experiment import record, suggestion
from trainer.experiment.expand import expand
from trainer.experiment.load import load
from trainer.experiment.record import Record
from trainer.experiment.space import key
from trainer.experiment.spec import MAX_TRIALS, HyperparamSearch
from trainer.experiment.suggestion import Suggestion
from trainer.scheduling.history import Ledger, by_run
from trainer.scheduling.lessons import Lesson, lesson
from trainer.suggesting.study import Study
from trialrun_operator.backends import BACKENDS
from trialrun_operator.names import INDEX_LABEL, LEDGER_LABEL, SUGGESTIONS_LABEL

Document = dict[str, Any]


@dataclass
class Replayed:
    """The ledger so far, and the records of all moments before. `earlier` is what the search began with."""

    document: Document
    earlier: Sequence[Lesson] = ()
    suggestions: list[Suggestion] = field(default_factory=list)
    jobs: set[int] = field(default_factory=set)
    _records: dict[str, dict[str, str]] = field(default_factory=dict)
    _moments: list[Ledger] = field(default_factory=lambda: [{}])

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        more = self.document["spec"] | {
            "trials": MAX_TRIALS // self.document["spec"].get("repeats", 1)
        }  # they may be raised
        search = load(self.document | {"spec": more})
        assert isinstance(search, HyperparamSearch)
        self._search = search
        self._first = len(search.spec.points)

    def take(self, seen: Iterable[Document]) -> "Replayed":
        """Takes in versions of objects in the order in which the API server stored them, and holds them to the rules.

        Numbers have no gap, no suggestion is changed, no point is there twice, each is what a study suggests that
        was told the ledger as it was at some moment before, and no job is made for a point that is not written.
        """
        for each in seen:
            labels = each["metadata"].get("labels") or {}
            if each.get("kind") in BACKENDS and INDEX_LABEL in labels:
                self.jobs.add(int(labels[INDEX_LABEL]))
                points = self._first + len(self.suggestions)
                assert int(labels[INDEX_LABEL]) < points * self._search.spec.repeats, "a job without its suggestion"
            elif LEDGER_LABEL in labels:
                self._records[labels[LEDGER_LABEL]] = each["data"]
                self._moments.append(by_run(self._decoded()))
            elif SUGGESTIONS_LABEL in labels:
                self._suggested({key: each["data"][key] for key in sorted(each["data"])})
        return self

    def _decoded(self) -> list[Record]:
        return [record.decode(line) for data in self._records.values() for line in data.values()]

    def _suggested(self, data: dict[str, str]) -> None:
        """A version of a ConfigMap of suggestions."""
        known = {each.number: each for each in self.suggestions}
        for name, line in data.items():
            found = suggestion.decode(line)
            assert name == f"{found.number:04d}"
            if found.number in known:
                assert found == known[found.number], "what was suggested is never changed"
                continue
            assert found.number == self._first + len(self.suggestions), "numbers have no gap"
            self._assert_follows(found)
            self.suggestions.append(found)
            points = [key(each.parameters) for each in self.suggestions]
            assert len(set(points)) == len(points), "no point is tried twice"

    def _assert_follows(self, found: Suggestion) -> None:
        trials = expand(self._search, [each.parameters for each in self.suggestions])
        of_points = [[each for each in trials if each.point == number] for number in range(found.number)]
        spec, suggested = self._search.spec, []
        for moment in reversed(self._moments):
            latest = {identity: records[-1] for identity, records in moment.items()}
            lessons = [
                lesson(number, of_point, latest, spec.objective, spec.constraints)
                for number, of_point in enumerate(of_points)
            ]
            ended = sum(each.value is not None or each.broke for each in (*self.earlier, *lessons))
            if ended == found.learnt_from:
                study = Study(self._search, self.earlier)
                study.learn(lessons)
                suggested.append(study.suggest(found.number))
                if suggested[-1] is not None and suggested[-1].parameters == found.parameters:
                    return
        raise AssertionError(f"{found} follows from no moment before: {suggested}")
