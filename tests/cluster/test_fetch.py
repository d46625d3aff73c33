"""An experiment's ledger, fetched with kubectl from a real API server as a user does it."""

import json
import os
from pathlib import Path

import pytest
import yaml

from cluster.api import Json
from cluster.behaviours import Behaviour, Fails, Succeeds
from cluster.commandline import trainer
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import Experiments, a_search, report, trial_of
from cluster.programs import build
from cluster.testcluster import Cluster
from local.test_programs import a_search as a_program_s_search
from trainer.experiment.errors import UserError
from trainer.experiment.record import decode
from trainer.kubectl import Reference, read_experiment
from trainer.local.ledger import read_ledger


def fails_once(pod: Json) -> Behaviour:
    told = trial_of(pod)
    if told["index"] == 1:
        return Fails(1, json.dumps({"clock": 1, "outcome": "Diverged", "error": "training loss became nan"}))
    return Succeeds(report(pod), after_seconds=0.2)


@pytest.mark.usefixtures("operator")
def test_a_cluster_search_becomes_a_folder_like_a_local_run_s(
    cluster: Cluster, experiments: Experiments, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, fails_once)
    experiments.create(a_search(trials=4))
    status = experiments.finished("search")["status"]

    folder = tmp_path / "fetched"
    fetched = trainer(cluster, "fetch", "hps/search", folder, "--namespace", experiments.namespace)
    assert fetched.returncode == 0, fetched.stderr
    assert "search  3 of 4 trials succeeded, 1 failed" in fetched.stderr
    records = read_ledger(folder)
    assert sorted(records, key=lambda each: each.index) == [
        decode(line) for _, line in sorted(experiments.entries().items())
    ]
    assert [each.finished_at for each in records] == sorted(each.finished_at for each in records)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary == status["summary"] | {"comparison": None}
    assert "training loss became nan" in (folder / "report.html").read_text()

    # What a folder can do, it can do: its report is made again, and it compares with what it was fetched from.
    assert trainer(cluster, "report", folder).returncode == 0
    compared = trainer(cluster, "compare", folder, "hps/search", "-n", experiments.namespace, "--json")
    assert compared.returncode == 0, compared.stderr
    facts = json.loads(compared.stdout)
    assert facts["agreement"] == {"both": 3, "same": 3, "largest": None, "outcomes": []}
    assert facts["comparison"]["elapsedRatio"] == 1

    # Fetched again it is brought up to date; another experiment's results are not overwritten.
    assert trainer(cluster, "fetch", "hps/search", folder, "-n", experiments.namespace).returncode == 0
    assert read_ledger(folder) == records
    experiments.create(a_search("other", trials=1))
    experiments.finished("other")
    refused = trainer(cluster, "fetch", "hps/other", folder, "-n", experiments.namespace)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (  # before it, what it waited for on a busy machine
        f"trialrun: {folder}: holds results that are not those of hps/other; name another folder, or delete this one"
    )
    assert read_ledger(folder) == records


@pytest.mark.usefixtures("operator")
def test_a_program_s_search_is_fetched_as_one_of_our_trainer_s(
    cluster: Cluster, experiments: Experiments, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    def reports(pod: Json) -> Behaviour:
        return Succeeds(json.dumps({"step": 3, "metrics": {"loss": trial_of(pod)["parameters"]["x"]}}))

    kubelet.play(experiments.namespace, reports)
    file = a_program_s_search(tmp_path, ["python", "train.py"])
    experiments.create(yaml.safe_load(file.read_text()))
    status = experiments.finished("programs")["status"]
    folder = tmp_path / "fetched"
    fetched = trainer(cluster, "fetch", "hps/programs", folder, "-n", experiments.namespace)
    assert fetched.returncode == 0, fetched.stderr
    assert {(each.parameters["x"], each.metrics["loss"]) for each in read_ledger(folder)} == {(1, 1), (2, 2), (3, 3)}
    assert json.loads((folder / "summary.json").read_text()) == status["summary"] | {"comparison": None}


@pytest.mark.usefixtures("operator")
def test_a_cluster_scale_test_is_fetched_by_its_short_name(
    cluster: Cluster, experiments: Experiments, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, lambda pod: Succeeds(report(pod), after_seconds=0.2))
    document = a_search("sizes") | {"kind": "ScaleTest", "spec": {"axes": {"multipliers": [1, 10]}}}
    experiments.create(document)
    experiments.finished("sizes", plural="scaletests")
    fetched = trainer(cluster, "fetch", "sct/sizes", tmp_path / "sizes", "-n", experiments.namespace)
    assert fetched.returncode == 0, fetched.stderr
    assert [each.parameters["data.multiplier"] for each in read_ledger(tmp_path / "sizes")] == [1, 10]


@pytest.mark.usefixtures("crds")
def test_what_is_not_there_or_may_not_be_read_is_said_in_a_sentence(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    def complaint(*arguments: str, kubeconfig: Path | None = None) -> str:
        refused = trainer(cluster, *arguments, "-n", namespace, kubeconfig=kubeconfig)
        assert refused.returncode == 2
        assert refused.stdout == ""
        return refused.stderr

    assert complaint("fetch", "hps/absent") == (
        f"trialrun: hps/absent: there is no such experiment in namespace {namespace}; "
        "`kubectl get hyperparamsearches --all-namespaces` lists them, --namespace chooses\n"
    )
    nobody = cluster.kubeconfig_for_service_account(namespace, "default")
    said = complaint("compare", "hps/mine", "hps/other", kubeconfig=nobody)
    assert said.startswith("trialrun: hps/mine: your account may not read it: ")
    assert (
        f'cannot get resource "hyperparamsearches" in API group "trialrun.dev" in the namespace "{namespace}"' in said
    )
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(cluster.kubeconfig.read_text().replace(cluster.access.server, "https://127.0.0.1:1"))
    said = complaint("fetch", "sct/mine", kubeconfig=nowhere)
    assert said.startswith("trialrun: sct/mine: the cluster cannot be reached (context ")
    assert "127.0.0.1:1 was refused" in said
    missing = trainer(cluster, "fetch", "hps/mine", "-n", "nowhere")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "has no namespace nowhere; `kubectl get namespaces` lists them" in missing.stderr


@pytest.mark.usefixtures("operator")
def test_a_folder_of_something_else_is_refused_and_stays(
    cluster: Cluster, experiments: Experiments, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    kubelet.play(experiments.namespace, fails_once)
    experiments.create(a_search(trials=1))
    experiments.finished("search")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "report.html").write_text("mine")
    refused = trainer(cluster, "fetch", "hps/search", folder, "--namespace", experiments.namespace)
    assert refused.returncode == 2
    assert "holds report.html, which stay as they are; name another folder" in refused.stderr
    assert [path.name for path in folder.iterdir()] == ["report.html"]


def test_a_cluster_without_the_api_is_named(cluster: Cluster, namespace: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("KUBECONFIG", str(cluster.kubeconfig))
        patched.setenv("PATH", f"{build.program('kubectl').parent}{os.pathsep}{os.environ['PATH']}")
        with pytest.raises(UserError) as refused:
            read_experiment(Reference("hps/mine", "gizmos", "mine", namespace))
    assert "has no gizmos; install Trialrun there" in str(refused.value)
