"""`apply` on a real API server: a code folder as a ConfigMap, the experiment, and nothing where either is refused."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.api import Json
from cluster.behaviours import Behaviour, Fails, Succeeds
from cluster.commandline import trainer
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, trial_of
from cluster.testcluster import Cluster
from eventually import eventually
from local.cli import trainer as here
from local.test_programs import a_search
from trainer.experiment import code
from trainer.experiment.record import CODE, decode
from trainer.local.ledger import read_ledger

FILES = {
    "train.py": b"import deep.part\n",
    "deep/part.py": "# \u00e4\r\n".encode(),
    "data.bin": b"\xff\x00",
    "empty": b"",
}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A search of three trials whose code is the folder src."""
    write(tmp_path / "src", FILES)
    return a_search(tmp_path, ["python", "train.py"], program={"code": "./src"})


def apply(cluster: Cluster, file: Path, namespace: str, **options: Any) -> str:
    """What it prints, which went well."""
    done = trainer(cluster, "apply", file, "-n", namespace, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def complaint(cluster: Cluster, file: Path, namespace: str, **options: Any) -> str:
    """The one line that it says where it refuses."""
    done = trainer(cluster, "apply", file, "-n", namespace, **options)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    said = [line for line in done.stderr.splitlines() if "waiting for the cluster's answer" not in line]
    assert len(said) == 1, done.stderr
    return said[0].removeprefix("trialrun: ")


def code_there(cluster: Cluster, namespace: str, name: str = "programs-code") -> dict[str, bytes] | None:
    found = cluster.api.get_if_there(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
    return None if found is None else code.files(found)


def reports(pod: Json) -> Behaviour:
    return Succeeds(json.dumps({"step": 1, "metrics": {"loss": trial_of(pod)["parameters"]["x"]}}))


@pytest.mark.usefixtures("operator")
def test_a_code_folder_is_run_and_known_by_the_same_hash_as_here(
    cluster: Cluster, experiments: Experiments, kubelet: KubeletPlayer, file: Path, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, reports)
    assert apply(cluster, file, experiments.namespace) == (
        "configmap/programs-code created\n"
        "hyperparamsearch.trialrun.dev/programs created\n"
        f"`kubectl get hps programs --namespace={experiments.namespace}` shows how it goes\n"
    )
    assert code_there(cluster, experiments.namespace) == FILES
    status = experiments.finished("programs")["status"]
    assert status["code"] == code.digest(FILES)
    records = [decode(line) for line in experiments.entries().values()]
    assert {record.evidence[CODE] for record in records} == {code.digest(FILES)}

    write(tmp_path / "src", {"train.py": b"import trialrun\ntrialrun.trial().report(1, loss=1)\n"})
    ran = here("run", file, "--out", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    assert sorted(record.id for record in read_ledger(tmp_path / "out")) == sorted(record.id for record in records)

    # Applied again with that other code, it says which code its trials have; what is gone here is gone there.
    (tmp_path / "src" / "data.bin").unlink()
    changed = {name: content for name, content in FILES.items() if name != "data.bin"}
    changed["train.py"] = (tmp_path / "src" / "train.py").read_bytes()
    done = trainer(cluster, "apply", file, "-n", experiments.namespace)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        "configmap/programs-code replaced",
        "hyperparamsearch.trialrun.dev/programs unchanged",
    ]
    assert done.stderr.splitlines()[-1] == (
        f"hps/programs: its trials run the code that they began with ({code.digest(FILES)}), not this "
        f"({code.digest(changed)}). Raising spec.rerun takes this one while no trial has succeeded; later, apply it "
        "under another name"
    )
    assert code_there(cluster, experiments.namespace) == changed
    assert experiments.get("programs")["status"]["code"] == code.digest(FILES)


@pytest.mark.usefixtures("operator")
def test_while_no_trial_has_succeeded_a_rerun_takes_the_mended_code(
    cluster: Cluster, experiments: Experiments, kubelet: KubeletPlayer, file: Path, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, lambda _: Fails(1, "SyntaxError"))
    apply(cluster, file, experiments.namespace)
    experiments.finished("programs")
    write(tmp_path / "src", {"train.py": b"mended"})
    assert "configmap/programs-code replaced" in apply(cluster, file, experiments.namespace)
    kubelet.play(experiments.namespace, reports)
    experiments.change("programs", rerun=1)
    eventually(
        lambda: (
            experiments.get("programs")["status"].get("done") == "3/3"
            and experiments.get("programs")["status"]["phase"] == "Succeeded"
        ),
        what="the rerun has finished",
    )
    assert experiments.get("programs")["status"]["code"] == code.digest(FILES | {"train.py": b"mended"})
    said = trainer(cluster, "apply", file, "-n", experiments.namespace)
    assert "configmap/programs-code unchanged" in said.stdout
    assert "its trials run the code" not in said.stderr


@pytest.mark.usefixtures("crds")
def test_a_full_config_map_arrives_which_is_more_than_kubectl_s_annotation_has_room_for(
    cluster: Cluster, namespace: str, file: Path, tmp_path: Path
) -> None:
    left = code.MOST_BYTES - sum(map(len, FILES.values()))
    large = {"text": b"x" * (left // 2), "bytes": b"\xff" * (left - left // 2)}
    write(tmp_path / "src", large)
    apply(cluster, file, namespace)
    assert code_there(cluster, namespace) == FILES | large


@pytest.mark.usefixtures("crds")
def test_a_file_without_a_code_folder_is_applied_as_it_is(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    for name, program in (("plain", {}), ("there", {"code": "configmap/my-code"})):
        file = a_search(tmp_path / name, ["true"], name=name, program=program)
        document = yaml.safe_load(file.read_text())
        document["metadata"] |= {"labels": {"team": "a"}, "annotations": {"note": "b"}}
        file.write_text(yaml.safe_dump(document))
        assert apply(cluster, file, namespace) == (
            f"hyperparamsearch.trialrun.dev/{name} created\n"
            f"`kubectl get hps {name} --namespace={namespace}` shows how it goes\n"
        )
        found = Experiments(cluster, namespace).get(name)
        assert found["metadata"]["labels"] == {"team": "a"}
        assert found["metadata"]["annotations"]["note"] == "b"
        assert found["spec"]["program"] == {"command": ["true"]} | program
        assert code_there(cluster, namespace, f"{name}-code") is None
        cluster.kubectl("apply", "--namespace", namespace, "--filename", str(file))


@pytest.mark.usefixtures("crds")
def test_a_scale_test_is_one_of_its_own_kind_and_the_file_may_name_the_namespace(
    cluster: Cluster, namespace: str, file: Path
) -> None:
    document = yaml.safe_load(file.read_text())
    apply(cluster, file, namespace)
    document |= {"kind": "ScaleTest", "metadata": {"name": "sizes", "namespace": namespace}}
    document["spec"] = {"axes": {"multipliers": [1, 2]}, "program": document["spec"]["program"]}
    file.write_text(yaml.safe_dump(document))
    done = trainer(cluster, "apply", file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "configmap/sizes-code created",
        "scaletest.trialrun.dev/sizes created",
        f"`kubectl get sct sizes --namespace={namespace}` shows how it goes",
    ]
    # One of another kind has another's name for its code.
    document["metadata"]["name"] = "programs"
    file.write_text(yaml.safe_dump(document))
    assert "configmap/programs-code: was not made of the code of this experiment" in complaint(
        cluster, file, namespace
    )


@pytest.mark.usefixtures("crds")
def test_somebody_else_s_config_map_stays_as_it_is(cluster: Cluster, namespace: str, file: Path) -> None:
    cluster.kubectl("create", "configmap", "programs-code", "--namespace", namespace, "--from-literal=train.py=mine")
    assert complaint(cluster, file, namespace) == (
        "configmap/programs-code: was not made of the code of this experiment, and stays as it is; delete it, or "
        "give the experiment another name, or say `code: configmap/programs-code` to have the experiment run what it "
        "holds"
    )
    assert code_there(cluster, namespace) == {"train.py": b"mine"}
    assert Experiments(cluster, namespace).api.get_if_there(Experiments(cluster, namespace).path("programs")) is None


@pytest.mark.usefixtures("crds")
def test_what_the_api_server_refuses_leaves_the_code_as_it_was(
    cluster: Cluster, namespace: str, file: Path, tmp_path: Path
) -> None:
    apply(cluster, file, namespace)
    write(tmp_path / "src", {"train.py": b"changed"})
    changed = a_search(tmp_path, ["python", "train.py", "--fast"], program={"code": "./src"})
    said = complaint(cluster, changed, namespace)
    assert said.startswith('hps/programs: The HyperparamSearch "programs" is invalid: ')
    assert code_there(cluster, namespace) == FILES


@pytest.mark.usefixtures("crds")
def test_who_may_not_and_what_is_not_there_are_named_and_nothing_is_made(
    cluster: Cluster, namespace: str, file: Path, tmp_path: Path
) -> None:
    nobody = cluster.kubeconfig_for_service_account(namespace, "default")
    said = complaint(cluster, file, namespace, kubeconfig=nobody)
    assert said.startswith("hps/programs: your account may not read it: ")
    said = complaint(cluster, file, "nowhere")
    assert said.startswith("hps/programs: the cluster (context ")
    assert said.endswith(") has no namespace nowhere; `kubectl get namespaces` lists them, --namespace chooses")
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(cluster.kubeconfig.read_text().replace(cluster.access.server, "https://127.0.0.1:1"))
    said = complaint(cluster, file, namespace, kubeconfig=nowhere)
    assert said.startswith("hps/programs: the cluster cannot be reached (context ")
    document = yaml.safe_load(file.read_text())
    document["metadata"]["namespace"] = "elsewhere"
    file.write_text(yaml.safe_dump(document))
    assert "does not match the namespace" in complaint(cluster, file, namespace)
    assert code_there(cluster, namespace) is None


@pytest.mark.usefixtures("crds")
def test_a_file_that_can_be_read_only_once_will_do(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    file = a_search(tmp_path, ["true"])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(file.read_text(),))
    writer.start()
    assert "hyperparamsearch.trialrun.dev/programs created" in apply(cluster, pipe, namespace)
    writer.join()
