"""Makes the few figures of a run that a comparison needs from its ledger, wherever that was kept. Pure."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from trainer.experiment.best import rank
from trainer.experiment.comparable import contents
from trainer.experiment.expand import Trial, id_alone
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import (
    CODE,
    DATA,
    INPUTS,
    PACKED_WITH,
    STEP,
    VALIDATION,
    Environment,
    Record,
    RunFigures,
    latest,
)
from trainer.experiment.spec import Experiment, HyperparamSearch
from trainer.experiment.timing import spent, timing


def figures(experiment: Experiment, trials: Sequence[Trial], records: Iterable[Record]) -> RunFigures | None:
    """The figures of a run of these trials, or of the same ones by one worker each; None when none of them ran."""
    alone, plain = _ids(experiment, trials)
    attempts = [record for record in records if record.id in plain]
    counted = latest(attempts)
    times = timing(attempts, counted)
    if times is None:
        return None
    found = None
    if isinstance(experiment, HyperparamSearch):
        of_trials = {
            trial.id: record
            for trial in trials
            if (record := counted.get(trial.id) or counted.get(alone[trial.id])) is not None
        }
        by_id = {identity: trial for trial in trials for identity in (alone[trial.id], trial.id)}
        first = contents((by_id[record.id], record) for record in attempts)
        spec = experiment.spec
        found = rank(spec.objective, trials, of_trials, first, spec.constraints).best
    seeds = [record.seed for record in counted.values()]
    ran = [record for record in attempts if record.outcome is not Outcome.SKIPPED]
    return RunFigures(
        wall=times.wall,
        trials=len(counted),
        digest=_digest(_ran(plain[identity], record) for identity, record in counted.items()),
        seeds=(min(seeds), max(seeds)),
        workers=max(record.workers for record in ran),
        most_at_once=times.most_at_once,
        outcomes=dict(sorted(Counter(str(record.outcome) for record in counted.values()).items())),
        environments=_environments(counted.values()),
        seconds=spent(ran),
        best_id=plain[found.id] if found is not None else None,
        best_value=found.value if found is not None else None,
    )


def rests_on(experiment: Experiment, trials: Sequence[Trial], records: Iterable[Record]) -> dict[str, str]:
    """What the results of a run rest on, each a hash of 12 hex digits: what all its trials trained on, and so on.

    Without what a record doesn't tell, and without any unless all of the trials that ran have succeeded. Beside those
    stands how many trained together with others, where some did.
    """
    _, plain = _ids(experiment, trials)
    counted = latest(record for record in records if record.id in plain).values()
    packed = sum(PACKED_WITH in record.evidence for record in counted)
    beside = {PACKED_WITH: str(packed)} if packed else {}
    if any(record.outcome is not Outcome.SUCCEEDED for record in counted):
        return beside
    told = {
        key: [f"{plain[record.id]}:{record.evidence[key]}" for record in counted if key in record.evidence]
        for key in (DATA, INPUTS, CODE, VALIDATION)
    }
    return beside | {key: _digest(each)[:12] for key, each in told.items() if each and len(each) == len(counted)}


def _ids(experiment: Experiment, trials: Sequence[Trial]) -> tuple[dict[str, str], dict[str, str]]:
    """By trial id the one that it has when one worker trains it; and the same with those ids themselves."""
    alone = {trial.id: id_alone(experiment.kind, trial) for trial in trials}
    return alone, {**{each: each for each in alone.values()}, **alone}


def _ran(identity: str, record: Record) -> str:
    """What has run: a trial or, where it was stopped early, so many of its steps."""
    stopped = record.outcome is Outcome.STOPPED
    return f"{identity}:{record.evidence.get(STEP)}" if stopped else identity


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256(",".join(sorted(parts)).encode()).hexdigest()[:16]


def _environments(records: Iterable[Record]) -> tuple[Environment, ...]:
    """The different ones, in an order that does not depend on the records'. One that failed may not tell its own."""
    found = {
        record.environment.model_dump_json(): record.environment
        for record in records
        if record.outcome is Outcome.SUCCEEDED
    }
    return tuple(found[text] for text in sorted(found))
