"""Generated specs, valid, careless and malicious ones: each is refused or run, and none makes the operator spin."""

import random
import string
import time
from collections import Counter
from typing import Any

import pytest

from cluster.api import ApiError, Json
from cluster.behaviours import Behaviour, Succeeds
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, OperatorProcess, a_search, report
from conftest import Sweep
from eventually import eventually
from trainer.experiment.errors import InvalidExperiment
from trialrun_operator.workload import workload


def succeeds(pod: Json) -> Behaviour:
    return Succeeds(report(pod), after_seconds=0.2)


class Hostile:
    """Makes searches from a seed: valid ones, careless ones, and malicious ones."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def search(self, name: str) -> Json:
        rng = self.rng
        made = a_search(name, trials=rng.randint(1, 4), parallelTrials=rng.randint(1, 4))
        for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
            self._spoil(made["spec"])
        return made

    def _text(self) -> str:
        kinds = [
            "é" * 5,
            "\u202e\u0000x",
            "a" * 10_000,
            "../../etc/passwd",
            "{{ .Values }}",
            "$(reboot)",
            "",
            "🦀",
            "null",
        ]
        letters = "".join(self.rng.choices(string.printable, k=12))
        return self.rng.choice([*kinds, letters])

    def _value(self, depth: int = 0) -> Any:
        rng = self.rng
        makers = [
            self._text,
            lambda: rng.randint(-(2**63), 2**63 - 1),
            lambda: rng.uniform(-1e308, 1e308),
            lambda: None,
            lambda: rng.random() < 0.5,
            lambda: [self._text()] * rng.choice([0, 1, 65, 2000]),
        ]
        if depth < 40:
            makers += [lambda: {self._text(): self._value(depth + rng.randint(1, 20))}]
        return rng.choice(makers)()

    def _spoil(self, spec: Json) -> None:
        rng = self.rng
        ways = [
            lambda: spec.update({rng.choice(list(spec)): self._value()}),
            lambda: spec.update(pod={"hostNetwork": True, "securityContext": {"privileged": True}}),
            lambda: spec.update(pod={"labels": {self._text(): self._text()}}),
            lambda: spec.update(pod={"nodeSelector": {"a": self._text()}, "image": self._text() or "x"}),
            lambda: spec.update(pod={"tolerations": [self._value()], "affinity": {"nodeAffinity": self._value()}}),
            lambda: spec.update(pod={"env": [{"name": "TRIALRUN_TRIAL", "value": self._text()}]}),
            lambda: spec.update(pod={"resources": {"limits": {self._text(): "1"}, "requests": {"cpu": "-1"}}}),
            lambda: spec.update(pod={"dataClaim": "../other-namespace/claim", "priorityClassName": self._text()}),
            lambda: spec.update(parameters=[{"name": "data.source", "choices": [self._value() for _ in range(3)]}]),
            lambda: spec.update(parameters=[{"name": "model.layers", "choices": list(range(1, 65))}] * 6),
            lambda: spec.update(algorithm="Random", trials=rng.choice([0, 3, 10**9])),
            lambda: spec.update(parameters=[{"name": "train.learningRate", "range": {"min": 1, "max": 0}}]),
            lambda: spec.update(training={"train": {self._text(): self._value()}}),
            lambda: spec.update(objective={"metric": self._text()}),
            lambda: spec.update(repeats=rng.choice([0, 2, 1000, 1001])),
            lambda: spec.update(deadlineSeconds=rng.choice([-1, 0, 1, 10**12])),
        ]  # fmt: skip
        rng.choice(ways)()


@pytest.mark.torture
def test_generated_specs_are_refused_or_run_and_never_spin(
    operator: OperatorProcess, experiments: Experiments, kubelet: KubeletPlayer, sweep: Sweep
) -> None:
    kubelet.play(experiments.namespace, succeeds)
    fates: Counter[str] = Counter()
    for seed in sweep.seeds(sample=15, full=500):
        name = f"s{seed}"
        search = Hostile(seed).search(name)
        search["spec"].setdefault("pendingDeadlineSeconds", 5)
        fates[_fate(experiments, name, search)] += 1
        experiments.api.delete_if_there(experiments.path(name))
    print(dict(fates))
    assert operator.starts == 1, "no crash"
    assert "Traceback" not in operator.log
    before, began = sum(_calls(operator)), time.monotonic()
    time.sleep(10)
    rate = (sum(_calls(operator)) - before) / (time.monotonic() - began) * 60
    print(f"{rate:.0f} API calls a minute at rest")
    assert rate < 300


def _fate(experiments: Experiments, name: str, search: Json) -> str:
    """What becomes of a search; it must be one of three things."""
    code = 0
    try:
        experiments.create(search)
    except ApiError as error:
        code = error.code
    if code:
        assert 400 <= code < 500, name
        return "refused at admission"
    mistakes: tuple[str, ...] = ()
    trials = 0
    try:
        trials = len(workload(experiments.get(name)).trials)
    except InvalidExperiment as invalid:
        mistakes = invalid.mistakes
    if mistakes:
        assert experiments.finished(name, 30)["status"]["phase"] == "Invalid", name
        message = experiments.condition(name, "Accepted")["message"]
        assert all(mistake in message for mistake in mistakes) or len(message) > 30_000, name
        return "refused by a condition"
    if trials <= 20:
        eventually(lambda: _settled(experiments, name), within_seconds=60, what=f"{name} is settled")
    return "run"


def _calls(operator: OperatorProcess) -> list[float]:
    return [value for name, value in operator.figures().items() if name.startswith("trialrun_api_calls_total")]


def _settled(experiments: Experiments, name: str) -> bool:
    """Whether a search has finished, or says why it cannot go on."""
    reason = experiments.condition(name, "Progressing").get("reason")
    return experiments.condition(name, "Finished").get("status") == "True" or reason == "CreationRefused"
