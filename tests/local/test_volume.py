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
from trainer.__main__ import main
from trainer.experiment.errors import UserError
from trainer.experiment.outcome import Outcome
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


def on_cluster(**pod: Any) -> Experiment:
    """A search as the API server has it."""
    search = an_experiment()
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
    assert files(folder) == {"trials/aaa/config.json": b"second"}
    assert pods(cluster) == []

    leave(cluster, experiment, "bbb", 2, "at last")
    again = a_record(id="bbb", attempt=2)
    (cluster / "claims" / "rows" / f"{experiment.name}-0f6d1c1e" / "aaa" / "2" / "config.json").write_text("changed")
    assert fetch_artefacts(experiment, [*records, again], folder) == 1
    assert files(folder) == {"trials/aaa/config.json": b"second", "trials/bbb/config.json": b"at last"}


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
