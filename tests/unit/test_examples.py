"""The examples of volumes fit the pods that the operator makes, and the commands there are."""

from pathlib import Path
from typing import Any

import yaml

from jobs import pytorch_job
from trainer.__main__ import parser
from unit.objects import KEY, UID, a_workload

EXAMPLES = Path(__file__).parents[2] / "examples"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))


def a_trials_pod(**pod: Any) -> dict[str, Any]:
    work = a_workload(pod=pod)
    made = pytorch_job(work, KEY, UID, work.trials[0], 1, "team/trainer:7")
    spec: dict[str, Any] = made["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    return spec


def test_the_data_job_runs_as_restricted_as_a_trial() -> None:
    (job,) = documents("data-job.yaml")
    pod, trial = job["spec"]["template"]["spec"], a_trials_pod()
    assert pod["securityContext"] == trial["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"] == trial["containers"][0]["securityContext"]


def test_the_data_job_builds_where_trials_look() -> None:
    (job,) = documents("data-job.yaml")
    pod = job["spec"]["template"]["spec"]
    python, *command = pod["containers"][0]["command"]
    assert (python, command[:2]) == ("python", ["-m", "trainer"])
    options = parser().parse_args(command[2:])
    assert (options.data, options.cache) == (Path("/data"), Path("/data/shards"))
    claim = pod["volumes"][1]["persistentVolumeClaim"]["claimName"]
    assert claim in {each["metadata"]["name"] for each in documents("volumes.yaml")}
    assert {"name": "data", "mountPath": "/data", "readOnly": True} in a_trials_pod(dataClaim=claim)["containers"][0][
        "volumeMounts"
    ]
