"""What experiments may ask for only where a switch of the chart is on, and what they are told where it is off."""

from typing import Any

import pytest

from trialrun_operator.permits import SWITCHES, not_permitted
from unit.builders import an_experiment
from unit.podcases import TAKEN

TOKEN = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}
BUCKET = {"name": "BUCKET", "valueFrom": {"configMapKeyRef": {"name": "places", "key": "bucket"}}}
# By the switch: each field that asks for what it allows, and what is said of it.
ASKED: dict[str, list[tuple[dict[str, Any], str]]] = {
    "secrets": [
        ({"env": [{"name": "A"}, TOKEN]}, "spec.pod.env[1].valueFrom.secretKeyRef: "),
        ({"envFrom": [{"secretRef": {"name": "keys"}}]}, "spec.pod.envFrom[0].secretRef: "),
        ({"volumes": [{"mountPath": "/keys", "secret": "keys"}]}, "spec.pod.volumes[0].secret: "),
    ],
    "serviceAccounts": [({"serviceAccountName": "trainer"}, "spec.pod.serviceAccountName: ")],
    "volumes": [
        ({"env": [BUCKET]}, "spec.pod.env[0].valueFrom.configMapKeyRef: "),
        ({"envFrom": [{"prefix": "A_", "configMapRef": {"name": "places"}}]}, "spec.pod.envFrom[0].configMapRef: "),
        ({"volumes": [{"mountPath": "/etc/team", "configMap": "places"}]}, "spec.pod.volumes[0].configMap: "),
        ({"volumes": [{"mountPath": "/models", "claim": "models"}]}, "spec.pod.volumes[0].claim: "),
    ],
}  # fmt: skip
EACH = [(switch, pod, sentence) for switch, asked in ASKED.items() for pod, sentence in asked]


def test_there_is_a_case_of_every_switch() -> None:
    assert ASKED.keys() == set(SWITCHES)


@pytest.mark.parametrize(("switch", "pod", "sentence"), EACH, ids=[sentence.split(":")[0] for _, _, sentence in EACH])
def test_a_field_needs_its_switch_and_no_other(switch: str, pod: dict[str, Any], sentence: str) -> None:
    experiment = an_experiment(pod=pod)
    (told,) = not_permitted(experiment, set(SWITCHES) - {switch})
    assert told.startswith(sentence)
    assert f"allow.{switch} is false" in told
    assert not_permitted(experiment, {switch}) == []


def test_the_sentence_says_the_rule_what_was_found_and_what_to_do() -> None:
    (told,) = not_permitted(an_experiment(pod={"env": [TOKEN]}), ())
    assert told == (
        "spec.pod.env[0].valueFrom.secretKeyRef: must be left out where the chart's value allow.secrets is false, "
        "got Secret keys; have an administrator set it to true, or leave the field out"
    )


def test_everything_that_is_asked_for_is_told_at_once() -> None:
    volumes = [{"mountPath": "/keys", "secret": "keys"}, {"mountPath": "/models", "claim": "models"}]
    experiment = an_experiment(pod={"env": [TOKEN, BUCKET], "volumes": volumes, "serviceAccountName": "trainer"})
    assert len(not_permitted(experiment, ())) == 5
    assert len(not_permitted(experiment, ("secrets",))) == 3
    assert not_permitted(experiment, SWITCHES) == []


def test_what_goes_with_the_pod_needs_no_switch() -> None:
    pod = TAKEN["shared memory"] | TAKEN["the first user"] | TAKEN["an image that can be written"]
    pod |= {"dataClaim": "data", "outputClaim": "output", "imagePullSecrets": [{"name": "registry"}]}
    pod |= {"env": [{"name": "A", "value": "b"}], "workingDir": "/workspace"}
    assert not_permitted(an_experiment(pod=pod), ()) == []
