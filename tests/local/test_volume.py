"""Files go to a volume and come from it whole, through a pod that is gone afterwards."""

import io
import json
import os
import stat
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from local import kubectl_here
from local.test_programs import a_search
from trainer.__main__ import main
from trainer.experiment.errors import UserError
from trainer.experiment.load import read
from trainer.experiment.outcome import Outcome
from trainer.experiment.pod import SecurityContext
from trainer.experiment.record import encode
from trainer.experiment.spec import Experiment
from trainer.volume.artefacts import fetch_artefacts
from trainer.volume.copy import _unpack
from unit.builders import a_record, an_experiment

UID = "0f6d1c1e-4a53-4a92-8d0c-6c1f2f6f0b11"
OPERATOR = {"env": [{"name": "TRIALRUN_TRAINER_IMAGE", "value": "registry/trainer:1"}]}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl first on the PATH, whose cluster has the claim `rows` and an operator."""
    state = tmp_path / "cluster"
    (state / "claims" / "rows").mkdir(parents=True)
    (state / "status.json").write_text(json.dumps({"phase": "Running"}))
    template = {"spec": {"containers": [OPERATOR]}}
    (state / "deployments.json").write_text(json.dumps({"items": [{"spec": {"template": template}}]}))
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{kubectl_here.__file__}" "{state}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return state


def pods(cluster: Path) -> list[str]:
    return [each.name for each in (cluster / "pods").iterdir()]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_arrive_to_the_byte_and_a_relative_path_stays_as_it_is(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = os.urandom(3_000_001)
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "rows.csv").write_bytes(large)
    (tmp_path / "empty.csv").write_bytes(b"")
    assert main(["data", "upload", "prices/rows.csv", str(tmp_path / "empty.csv"), "--claim", "rows"]) == 0
    assert files(cluster / "claims" / "rows") == {"prices/rows.csv": large, "empty.csv": b""}
    assert "prices/rows.csv  3,000,001 bytes, as /data/prices/rows.csv" in capsys.readouterr().out
    assert pods(cluster) == []


def test_the_pod_that_copies_passes_pod_security_restricted(cluster: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    assert main(["data", "upload", "x", "--claim", "rows", "-n", "mine"]) == 0
    spec = json.loads((cluster / "created.json").read_text())["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "registry/trainer:1"
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_an_upload_that_breaks_off_leaves_what_was_there(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cluster / "claims" / "rows" / "x").write_text("before")
    (tmp_path / "x").write_bytes(bytes(100))
    (cluster / "sever").write_text("60")
    assert main(["data", "upload", "x", "--claim", "rows"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "trialrun: x: could not be copied to claim rows: 40 of 100 bytes are missing; run the command again\n"
    )
    assert files(cluster / "claims" / "rows") == {"x": b"before"}
    assert pods(cluster) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv", "--claim", "rows"], "none.csv: a file is needed, found none"),
        ([".", "--claim", "rows"], ".: a file is needed, found a folder"),
        (["../cluster/x", "--claim", "rows"], "../cluster/x: must not lead upwards"),
        (["x", "--claim", "other"], "claim other: Error from server (NotFound): persistentvolumeclaims 'other'"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(
    arguments: list[str], said: str, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cluster / "x").write_text("x")
    (tmp_path / "x").write_text("x")
    (tmp_path / "here").mkdir()
    os.chdir(tmp_path / "here" if arguments[0].startswith("..") else tmp_path)
    assert main(["data", "upload", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"trialrun: {said}")
    assert not (cluster / "created.json").exists()


def test_a_pod_that_cannot_start_is_told_with_the_reason_and_removed(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    status = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}
    (cluster / "status.json").write_text(json.dumps(status))
    (tmp_path / "x").write_text("x")
    assert main(["data", "upload", "x", "--claim", "rows", "--image", "wrong"]) == 2
    assert "could not be started: ImagePullBackOff: no such image" in capsys.readouterr().err
    assert pods(cluster) == []


def test_without_an_operator_the_image_must_be_named(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cluster / "deployments.json").write_text('{"items": []}')
    (tmp_path / "x").write_text("x")
    assert main(["data", "upload", "x", "--claim", "rows"]) == 2
    assert "--image: name the trainer's image; it could not be found out" in capsys.readouterr().err


def test_the_image_that_fetches_can_be_named_by_those_who_may_not_look_for_the_operator(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = on_cluster(output_claim="rows")
    record = a_record()
    leave(cluster, experiment, record.id, 1, "{}")
    shard = {"metadata": {"name": "ledger", "labels": {"trialrun.dev/ledger": "0"}}, "data": {"a": encode(record)}}
    (cluster / "hyperparamsearches.json").write_text(json.dumps(experiment.document(sparse=True)))
    (cluster / "configmaps.json").write_text(json.dumps({"items": [shard]}))
    (cluster / "deployments.json").write_text('{"items": []}')
    assert main(["fetch", f"hps/{experiment.name}", "out"]) == 2
    assert "--image: name the trainer's image" in capsys.readouterr().err
    assert main(["fetch", f"hps/{experiment.name}", "out", "--image", "their/python:3"]) == 0
    created = json.loads((cluster / "created.json").read_text())
    assert created["spec"]["containers"][0]["image"] == "their/python:3"
    assert (tmp_path / "out" / "trials" / record.id / "config.json").read_text() == "{}"


def on_cluster(search: Experiment | None = None, **pod: Any) -> Experiment:
    """A search as the API server has it."""
    search = search or an_experiment()
    spec = search.spec.model_copy(update={"pod": search.spec.pod.model_copy(update=pod)})
    metadata = search.metadata.model_copy(update={"uid": UID, "namespace": "mine"})
    return search.model_copy(update={"spec": spec, "metadata": metadata})


def leave(cluster: Path, experiment: Experiment, trial: str, attempt: int, text: str) -> None:
    folder = cluster / "claims" / "rows" / f"{experiment.name}-0f6d1c1e" / trial / str(attempt)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(text)
    (folder / ".config.json.7").write_text("half")


def test_what_the_attempts_that_count_left_is_brought_once(cluster: Path, tmp_path: Path) -> None:
    experiment = on_cluster(output_claim="rows")
    evicted = a_record(id="aaa", attempt=1, outcome=Outcome.EVICTED, final=False)
    records = [evicted, a_record(id="aaa", attempt=2), a_record(id="bbb", outcome=Outcome.DIVERGED)]
    leave(cluster, experiment, "aaa", 1, "first")
    leave(cluster, experiment, "aaa", 2, "second")
    folder = tmp_path / "results"
    folder.mkdir()
    assert fetch_artefacts(experiment, records, folder) == 1
    assert fetched(folder) == {"trials/aaa/config.json": b"second"}
    assert pods(cluster) == []

    leave(cluster, experiment, "bbb", 2, "at last")
    again = a_record(id="bbb", attempt=2)
    (cluster / "claims" / "rows" / f"{experiment.name}-0f6d1c1e" / "aaa" / "2" / "config.json").write_text("changed")
    assert fetch_artefacts(experiment, [*records, again], folder) == 1
    assert fetched(folder) == {"trials/aaa/config.json": b"second", "trials/bbb/config.json": b"at last"}


def fetched(folder: Path) -> dict[str, bytes]:
    """What was brought, without what is noted of it."""
    return {name: content for name, content in files(folder).items() if not name.endswith("/.attempt")}


def a_program_s(folder: Path, **pod: Any) -> Experiment:
    return on_cluster(read(a_search(folder, ["python", "train.py"])), output_claim="rows", **pod)


def program_leaves(cluster: Path, experiment: Experiment, trial: str, attempt: int, **left: str) -> None:
    folder = cluster / "claims" / "rows" / f"{experiment.name}-0f6d1c1e" / trial / str(attempt)
    (folder / "deep").mkdir(parents=True)
    for name, text in left.items():
        (folder / name).write_text(text)
        (folder / "deep" / name).write_text(text)


def test_what_a_program_left_lies_where_a_local_run_has_it_and_is_fetched_once(cluster: Path, tmp_path: Path) -> None:
    experiment = a_program_s(tmp_path)
    program_leaves(cluster, experiment, "aaa", 1, weights="first")
    program_leaves(cluster, experiment, "bbb", 1, weights="half")
    folder = tmp_path / "results"
    folder.mkdir()
    crashed = a_record(id="bbb", outcome=Outcome.CRASHED)
    records = [a_record(id="aaa"), crashed, a_record(id="ccc")]
    assert fetch_artefacts(experiment, records, folder) == 2
    left = {"trials/aaa/files/weights": b"first", "trials/aaa/files/deep/weights": b"first"}
    half = {"trials/bbb/files/weights": b"half", "trials/bbb/files/deep/weights": b"half"}
    assert fetched(folder) == left | half
    assert pods(cluster) == []

    # Nothing new, not even of the trial that left nothing: no pod is started.
    (cluster / "created.json").unlink()
    assert fetch_artefacts(experiment, records, folder) == 0
    assert not (cluster / "created.json").exists()

    # A rerun's attempt takes the place of the one that failed, with all that this one left.
    program_leaves(cluster, experiment, "bbb", 2, model="whole")
    assert fetch_artefacts(experiment, [*records, a_record(id="bbb", attempt=2)], folder) == 1
    whole = {"trials/bbb/files/model": b"whole", "trials/bbb/files/deep/model": b"whole"}
    assert fetched(folder) == left | whole


@pytest.mark.parametrize("arrived", [0, 700, 1536, 2500])
def test_a_program_s_files_arrive_whole_or_not_at_all(arrived: int, cluster: Path, tmp_path: Path) -> None:
    experiment = a_program_s(tmp_path)
    program_leaves(cluster, experiment, "aaa", 1, weights="x" * 1000)
    folder = tmp_path / "results"
    folder.mkdir()
    (cluster / "sever").write_text(str(arrived))
    with pytest.raises(UserError, match="claim rows: could not be read to the end: the connection ended"):
        fetch_artefacts(experiment, [a_record(id="aaa")], folder)
    assert files(folder) == {}
    (cluster / "sever").unlink()
    assert fetch_artefacts(experiment, [a_record(id="aaa")], folder) == 1
    assert len(fetched(folder)) == 2


def test_a_program_s_files_are_copied_with_the_trainer_s_image_which_has_python(
    cluster: Path, tmp_path: Path
) -> None:
    experiment = a_program_s(tmp_path, image="their/shell:1")
    program_leaves(cluster, experiment, "aaa", 1, weights="x")
    for found, image in ((OPERATOR, "registry/trainer:1"), (None, "their/shell:1")):
        items = [] if found is None else [{"spec": {"template": {"spec": {"containers": [found]}}}}]
        (cluster / "deployments.json").write_text(json.dumps({"items": items}))
        folder = tmp_path / image.replace("/", "-")
        folder.mkdir()
        assert fetch_artefacts(experiment, [a_record(id="aaa")], folder) == 1
        created = json.loads((cluster / "created.json").read_text())
        assert created["spec"]["containers"][0]["image"] == image


def test_what_trials_leave_is_read_as_the_user_that_they_run_as(cluster: Path, tmp_path: Path) -> None:
    experiment = a_program_s(tmp_path, security_context=SecurityContext(runAsUser=1001, fsGroup=1002))
    program_leaves(cluster, experiment, "aaa", 1, weights="x")
    assert fetch_artefacts(experiment, [a_record(id="aaa")], tmp_path) == 1
    user = json.loads((cluster / "created.json").read_text())["spec"]["securityContext"]
    assert (user["runAsUser"], user["runAsGroup"], user["fsGroup"]) == (1001, 65532, 1002)


def test_without_an_output_claim_no_pod_is_made(cluster: Path, tmp_path: Path) -> None:
    assert fetch_artefacts(on_cluster(), [a_record()], tmp_path) == 0
    assert not (cluster / "created.json").exists()


@pytest.mark.parametrize("arrived", [0, 700, 1536, 2500])
def test_a_stream_that_breaks_off_anywhere_brings_nothing(arrived: int, cluster: Path, tmp_path: Path) -> None:
    experiment = on_cluster(output_claim="rows")
    leave(cluster, experiment, "aaa", 1, "x" * 1000)
    (cluster / "sever").write_text(str(arrived))
    folder = tmp_path / "results"
    folder.mkdir()
    with pytest.raises(UserError, match="claim rows: could not be read to the end: the connection ended"):
        fetch_artefacts(experiment, [a_record(id="aaa")], folder)
    assert files(folder) == {}
    assert pods(cluster) == []


def test_nothing_outside_the_folder_is_written_whatever_arrives(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    stream.seek(0)
    (tmp_path / "into").mkdir()
    with pytest.raises(tarfile.TarError, match=r"\.\./outside leads out of"):
        _unpack(stream, tmp_path / "into")
    assert [path.name for path in tmp_path.rglob("*")] == ["into"]
