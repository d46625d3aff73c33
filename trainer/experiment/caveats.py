"""Sentences beside a best trial: what never ran or was not compared with it, and whether it has learnt. Pure."""

from collections.abc import Iterator, Sequence

from trainer.experiment.best import Best, Breaking, Naive, Ranked, Ranking
from trainer.experiment.bounds import Constraint
from trainer.experiment.constraints import measured
from trainer.experiment.spec import Experiment, HyperparamSearch, Scalar

_MOST_NAMED = 6
_MEANING = {
    "Mse": "always predicting the mean of the training targets",
    "Mae": "always predicting the mean of the training targets",
    "R2": "always predicting the mean of the training targets",
    "Accuracy": "always predicting the class that is most frequent in training",
    "LogLoss": "always predicting the shares that the classes have in training",
    "F1": "always predicting one class",
}


def caveats(experiment: Experiment, ranking: Ranking) -> Iterator[str]:
    """The sentences, the gravest first."""
    if ranking.other:
        yield _other(experiment, ranking)
    if ranking.breaking is not None:
        yield _breaking(ranking.breaking, ranking.best)
    if len(ranking.groups) > 1:
        yield _apart(ranking.groups)
    elif ranking.groups and (leader := ranking.groups[0].best) is not None:
        if leader.ties:
            yield _tied(leader)
        if (naive := ranking.groups[0].naive) is not None:
            yield against_naive(leader, naive)
    if ranking.unread:
        one = len(ranking.unread) == 1
        yield (
            f"No trial has read {'parameter' if one else 'parameters'} {_few(list(ranking.unread))}: "
            f"{'it stands' if one else 'they stand'} in no placeholder, and the program did not ask for "
            f"{'it' if one else 'them'}, so {'its values' if one else 'their values'} made no difference."
        )
    if ranking.unverified:
        why = "Those of version 0.1 and of other trainers don't."
        if experiment.spec.program is not None:
            why = (
                "Name what it reads in spec.program.inputs, or have the program tell it with trial.rests_on(data=…)."
            )
        yield (
            f"The data of {_trials(ranking.unverified)} is unverified: the records don't tell what was trained on. "
            f"{why}"
        )


def budget_used_up(search: HyperparamSearch, failed: int, left: int) -> str:
    """That no further trial starts because too many failed, and how the `left` ones come to run."""
    budget = search.spec.max_failed_trials
    said = f"{_trials(failed)} failed, more than spec.maxFailedTrials ({budget})"
    if not left:
        return f"{said}."
    again = "raise spec.rerun" if search.metadata.uid is not None else "run it again"
    return (
        f"{said}, so nothing more starts; {_trials(left)} {'is' if left == 1 else 'are'} left. Mend what failed, "
        f"or set spec.maxFailedTrials to more than {failed}, and {again}: trials that were never tried start first."
    )


def against_naive(leader: Best, naive: Naive) -> str:
    """How many trials predict better than what has learnt nothing, and whether the best does."""
    who = {0: "None", naive.trials: "All"}.get(naive.beaten_by, str(naive.beaten_by))
    verb = "predicts" if naive.beaten_by < 2 else "predict"
    said = (
        f"{who} of {_trials(naive.trials)} {verb} better than {_meaning(leader.metric)}, which has {leader.metric} "
        f"{_figure(naive.value)}; the best has {_figure(leader.value)}."
    )
    if naive.best_test_value is None or naive.test_value is None:
        return said
    test, sign = leader.metric.replace("valid", "test", 1), 1 if leader.direction == "Minimize" else -1
    better = "better" if sign * naive.best_test_value < sign * naive.test_value else "no better"
    return (
        f"{said} On the test samples, by which it was not chosen, the best is {better}: {test} "
        f"{_figure(naive.best_test_value)} against {_figure(naive.test_value)}."
    )


def _other(experiment: Experiment, ranking: Ranking) -> str:
    indexes = _few([str(trial.index) for trial in ranking.other])
    count = len(ranking.other)
    noun = "trial" if isinstance(experiment, HyperparamSearch) else "cell"
    are, plural = ("is", "") if count == 1 else ("are", "s")
    again = "apply it under another name" if experiment.metadata.uid is not None else "run it again with --fresh"
    if experiment.spec.program is not None:
        return (
            f"{count} {noun}{plural} ({indexes}) ran other code or on other inputs than the first and {are} left "
            f"out: the program, or what spec.program.inputs names, has changed. To run all as it is now, {again}."
        )
    return (
        f"{count} {noun}{plural} ({indexes}) trained on other data than the first and {are} left out: what "
        f"{_source(experiment)} holds has changed. To train all on what is there now, {again}."
    )


def _source(experiment: Experiment) -> str:
    data = experiment.spec.training.data
    if data.source == "kafka":
        return f"topic {data.topic_name}"
    return data.path or f"data.source {data.source}"


def _apart(groups: Sequence[Ranked]) -> str:
    listed = _few([_group(group, number) for number, group in enumerate(groups, 1)], "; ")
    said = (
        f"The trials were validated on {len(groups)} different sets of samples, so their figures answer different "
        f"questions and there is no best of all. The best of each: {listed}."
    )
    if any("data.window" in group.fields for group in groups):
        said += " With data.lookback: Past all windows are validated on the same dates."
    return said


def _group(group: Ranked, number: int) -> str:
    name = ", ".join(f"{path} {_value(value)}" for path, value in group.fields.items()) or f"set {number}"
    if group.best is None:
        return f"{name}: none"
    said = f"{name}: trial {group.best.index} ({_figure(group.best.value)})"
    if group.naive is None:
        return said
    return f"{said}, {'better' if group.naive.best_beats else 'no better'} than naive ({_figure(group.naive.value)})"


def _breaking(broken: Breaking, best: Best | None) -> str:
    """That the best of all breaks a constraint, and with what."""
    named = "The best that keeps to spec.constraints is named"
    if best is None:
        named = "Every point that was measured breaks one of spec.constraints, so there is no best"
    value = measured(broken.constraint, broken.records)
    told = "without having told it" if value is None else f"with {_figure(value)}"
    return (
        f"{named}; trial {broken.trial.index} has {_figure(broken.value)} and breaks {_bound(broken.constraint)} "
        f"{told}."
    )


def _bound(constraint: Constraint) -> str:
    bounds = (("at least", constraint.at_least), ("at most", constraint.at_most))
    said = " and ".join(f"{which} {_figure(value)}" for which, value in bounds if value is not None)
    return f"{constraint.metric} {said}"


def _tied(leader: Best) -> str:
    others = _few([str(index) for index in leader.ties])
    return (
        f"Trial {leader.index} is not alone: {'trial' if len(leader.ties) == 1 else 'trials'} {others} "
        f"{'has' if len(leader.ties) == 1 else 'have'} the same {leader.metric}. The one listed first is named."
    )


def _meaning(metric: str) -> str:
    return _MEANING.get(metric.removeprefix("valid"), "a naive prediction")


def _few(items: list[str], separator: str = ", ") -> str:
    named = items[:_MOST_NAMED]
    if len(items) > len(named):
        named.append(f"{len(items) - len(named)} more")
    return separator.join(named)


def _figure(value: float) -> str:
    return f"{value:.4g}"


def _value(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _trials(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"
