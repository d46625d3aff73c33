"""`kubectl trialrun …` on a real API server: kubectl finds the program, and it asks the cluster by kubectl."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from cluster.api import Json
from cluster.behaviours import Behaviour, CannotPullImage, Fails, Hangs, IsEvicted, Succeeds
from cluster.kubelet import KubeletPlayer
from cluster.operatorprocess import GROUP, ROOT, Experiments, a_scale_test, a_search, report, trial_of
from cluster.programs import build
from cluster.testcluster import Cluster
from eventually import eventually
from trainer import kubectl
from trainer.experiment.errors import UserError

# Of `kubectl logs` there is only the call: nodes are simulated. Everything else is asked of the real one.
_SHIM = """#!/bin/sh
if [ "$1" = logs ]; then echo "called: $*"; exit 0; fi
exec {kubectl} "$@"
"""
_NAIVE = {"validMse": 2.0, "naiveValidMse": 1.0, "testMse": 3.0}


class Plugin:
    """`kubectl trialrun`, as it is for somebody who has installed the project, in one namespace."""

    def __init__(self, cluster: Cluster, folder: Path, namespace: str) -> None:
        self._namespace = namespace
        scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
        module, _, function = scripts["kubectl-trialrun"].partition(":")
        self._programs = folder / "programs"
        self._programs.mkdir()
        text = f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        self._write("kubectl-trialrun", text)
        self._write("kubectl", _SHIM.format(kubectl=build.program("kubectl")))
        path = f"{self._programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = cluster.environment() | {"PATH": path, "PYTHONPATH": str(ROOT)}

    def _write(self, name: str, text: str) -> None:
        (self._programs / name).write_text(text)
        (self._programs / name).chmod(0o755)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """One in the background."""
        command = [str(self._programs / "kubectl"), "trialrun", *map(str, words), "-n", self._namespace]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True, process_group=0)

    def call(self, *words: str | Path) -> tuple[int, str, str]:
        """Its exit code, what it prints, and the lines on stderr but for those that a slow machine brings."""
        process = self.start(*words)
        said, complained = process.communicate(timeout=600)
        told = [line for line in complained.splitlines() if "waiting for the cluster's answer" not in line]
        return process.returncode, said, "\n".join(told)

    def says(self, *words: str | Path) -> str:
        """What it prints, which went well."""
        code, said, complained = self.call(*words)
        assert code == 0, complained
        return said

    def refuses(self, *words: str | Path) -> str:
        """The sentence with which it ends."""
        code, said, complained = self.call(*words)
        assert (code, said) == (2, ""), complained
        assert complained.startswith("trialrun: ")
        return complained.removeprefix("trialrun: ")


@pytest.fixture
def plugin(cluster: Cluster, namespace: str, crds: None, tmp_path: Path) -> Plugin:  # noqa: ARG001
    return Plugin(cluster, tmp_path, namespace)


@pytest.fixture
def as_administrator(cluster: Cluster) -> Iterator[None]:
    """This process asks the cluster too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("KUBECONFIG", str(cluster.kubeconfig))
        patched.setenv("PATH", f"{build.program('kubectl').parent}{os.pathsep}{os.environ['PATH']}")
        yield


def running(experiments: Experiments, count: int) -> list[Json]:
    """The pods that run, once there are so many of them."""

    def probe() -> list[Json] | None:
        pods = [pod for pod in experiments.pods() if pod.get("status", {}).get("phase") == "Running"]
        return pods if len(pods) == count else None

    return eventually(probe, what=f"{count} pods run")


def lines(text: str) -> list[str]:
    """Without what is there to align them."""
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.usefixtures("operator")
def test_a_search_from_its_start_to_its_end(
    plugin: Plugin, experiments: Experiments, kubelet: KubeletPlayer, tmp_path: Path
) -> None:
    namespace = experiments.namespace
    kubelet.play(namespace, lambda pod: Hangs())  # noqa: ARG005
    experiments.create(a_search(trials=3, parallelTrials=3))
    pods = {trial_of(pod)["index"]: pod for pod in running(experiments, 3)}
    eventually(lambda: experiments.get("search").get("status", {}).get("running") == 3, what="the status says so")

    said = lines(plugin.says("status", "search"))
    assert said[0] == f"hps/search in namespace {namespace}: Running"
    assert "trials 0 of 3 done, 3 running, 0 failed" in said
    assert "now 3 trials running, 0 of 3 done (parallelTrials 3)." in said
    assert json.loads(plugin.says("status", "search", "--json"))["running"] == 3
    assert plugin.refuses("best", "search") == "hps/search: has no best trial yet: 0 of 3 trials are done, 0 failed"

    watching = plugin.start("watch", "search")
    assert watching.stderr is not None
    first = watching.stderr.readline()
    assert first == "search  3 trials, 3 at once, 1 thread each\n"
    diverged = json.dumps({"clock": 1, "outcome": "Diverged", "error": "training loss became nan"})
    become = partial(kubelet.become, namespace)
    become(pods[1]["metadata"]["name"], Fails(1, diverged))
    assert "1 of 3  trial 1  Diverged  training loss became nan" in watching.stderr.readline()
    for index in (0, 2):
        become(
            pods[index]["metadata"]["name"], Succeeds(report(pods[index], metrics=_NAIVE | {"validMse": 2.0 + index}))
        )
    said, rest = watching.communicate(timeout=600)
    assert (watching.returncode, said) == (0, "")
    assert "3 of 3" in rest
    assert "search  2 of 3 trials succeeded, 1 failed" in rest
    assert f"`kubectl trialrun fetch hps/search -n {namespace}` brings them here" in rest

    experiments.finished("search")
    said = lines(plugin.says("status", "hps/search"))
    assert said[0] == f"hps/search in namespace {namespace}: Succeeded"
    assert "trials 3 of 3 done, 1 failed" in said
    identity = trial_of(pods[1])["id"]
    assert any(line.startswith(f"failed trial 1 ({identity}) Diverged: training loss became nan.") for line in said)
    assert any("`kubectl trialrun logs hps/search 1 -n" in line for line in said)
    assert any("predicting the mean" in line for line in said), "no better than a naive guess"

    best = trial_of(pods[0])
    said = lines(plugin.says("best", "search"))
    assert said[0] == f"hps/search trial 0 ({best['id']}) is best, 3 of 3 trials done"
    assert said[1:3] == ["validMse 2, less is better", "train.learningRate 0.001"]
    assert "testMse 3" in said
    assert "None of 2 trials predicts better than always predicting the mean of the training targets" in " ".join(
        said
    )
    told = json.loads(plugin.says("best", "search", "--json"))
    assert told["best"]["id"] == best["id"]
    assert told["metrics"] == _NAIVE
    assert told["naive"]["bestBeats"] is False

    # A finished one is shown as what it came to; it is fetched, and compared, by its bare name as well.
    code, said, rest = plugin.call("watch", "search")
    assert (code, said) == (0, "")
    assert rest.startswith("search  2 of 3 trials succeeded, 1 failed")
    folder = tmp_path / "fetched"
    assert plugin.call("fetch", "search", folder)[0] == 0
    assert json.loads(plugin.says("compare", "search", folder, "--json"))["agreement"]["same"] == 2
    assert plugin.says("stop", "search") == "hps/search: has finished, so there is nothing to stop\n"


@pytest.mark.usefixtures("operator")
def test_watching_one_that_does_not_succeed_ends_with_1(
    plugin: Plugin, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, lambda pod: Fails(1))  # noqa: ARG005
    experiments.create(a_search(trials=2))
    code, _, said = plugin.call("watch", "search")
    assert code == 1
    assert "search  0 of 2 trials succeeded, 2 failed" in said


@pytest.mark.usefixtures("operator")
def test_what_can_t_run_is_not_watched_but_told(plugin: Plugin, experiments: Experiments) -> None:
    experiments.create(a_search(parameters=[{"name": "train.momentum", "choices": [7]}]))
    experiments.finished("search")
    mistake = "spec.parameters[0].choices[0]: must be < 1 as a value of train.momentum, got 7"
    assert plugin.refuses("watch", "search") == f"hps/search: cannot run: {mistake}"
    assert f"mistake {mistake}" in " ".join(plugin.says("status", "search").split())


@pytest.mark.usefixtures("operator")
def test_why_trials_wait_is_said_and_ctrl_c_ends_watching_only(
    plugin: Plugin, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    kubelet.play(experiments.namespace, lambda pod: CannotPullImage())  # noqa: ARG005
    experiments.create(a_search(trials=2))

    def waits() -> str | None:
        said = " ".join(plugin.says("status", "search").split())
        return said if "waits trial 0" in said and "(2 of them wait)" in said and "ErrImage" in said else None

    assert "Check spec.pod.image" in eventually(waits, every_seconds=1)
    assert "no trial runs now, and trial" in plugin.refuses("logs", "search")
    said = plugin.refuses("logs", "search", "0")
    assert "has no log yet, because pod search-" in said
    assert "Check spec.pod.image" in said

    watching = plugin.start("watch", "search")
    assert watching.stderr is not None
    assert watching.stderr.readline().startswith("search  2 trials")
    assert "waiting for trial 0" in watching.stderr.readline()
    watching.send_signal(signal.SIGINT)
    rest = watching.communicate(timeout=600)[1]
    assert watching.returncode == 130
    assert rest.splitlines()[-1] == "hps/search: no longer watched; the experiment goes on"
    assert "suspend" not in experiments.get("search")["spec"]


@pytest.mark.usefixtures("operator")
def test_logs_are_those_of_the_right_pod(plugin: Plugin, experiments: Experiments, kubelet: KubeletPlayer) -> None:
    """Of the latest attempt, of the rank that is asked for, and by default of the trial that began last."""
    namespace, evicted = experiments.namespace, set[int]()

    def script(pod: Json) -> Behaviour:
        index = trial_of(pod)["index"]
        if index == 0 and index not in evicted:
            evicted.add(index)
            return IsEvicted()
        return Hangs()

    kubelet.play(namespace, script)
    experiments.create(a_search(trials=2))

    def of(index: int, attempt: int) -> Callable[[], Json | None]:
        def probe() -> Json | None:
            for pod in experiments.pods():
                labels = pod["metadata"]["labels"]
                wanted = (str(index), str(attempt))
                if (labels["trialrun.dev/index"], labels["trialrun.dev/attempt"]) == wanted:
                    return pod if pod["status"]["phase"] == "Running" else None
            return None

        return probe

    first, second = eventually(of(0, 2), what="a second attempt"), eventually(of(1, 1))
    called = f"called: logs --namespace={namespace} {{}} --container=pytorch"
    identity = first["metadata"]["labels"]["trialrun.dev/trial"]
    for named in ("0", identity, identity[:6]):
        code, said, whose = plugin.call("logs", "search", named)
        assert (code, said) == (0, called.format(first["metadata"]["name"]) + "\n")
        assert whose == f"trial 0 ({identity}), attempt 2, rank 0: pod {first['metadata']['name']}"
    last = max(
        (first, second), key=lambda pod: (pod["status"]["startTime"], pod["metadata"]["labels"]["trialrun.dev/trial"])
    )
    assert plugin.says("logs", "search", "-f") == called.format(last["metadata"]["name"]) + " --follow\n"

    assert plugin.refuses("logs", "search", "1", "--rank", "1").endswith("attempt 1 has no rank 1; its ranks are 0")
    assert plugin.refuses("logs", "search", "nothing").startswith(
        "hps/search: has no trial nothing; must be an index from 0 to 1"
    )

    # A trial that is over, whose job was deleted.
    kubelet.become(
        namespace,
        second["metadata"]["name"],
        Fails(1, json.dumps({"clock": 1, "error": "no luck", "outcome": "Crashed"})),
    )
    eventually(lambda: len(experiments.entries()) == 2, what="its record is there")
    job = second["metadata"]["name"].removesuffix("-master-0")
    experiments.api.delete_if_there(f"/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs/{job}")
    path = f"/api/v1/namespaces/{namespace}/pods/{second['metadata']['name']}"
    eventually(lambda: experiments.api.get_if_there(path) is None, what="its pod is gone")
    said = plugin.refuses("logs", "search", "1")
    assert "has no pod any more, and its log went with that. Attempt 1 ended as Crashed: no luck." in said


@pytest.mark.usefixtures("operator")
def test_a_rank_has_a_log_of_its_own(plugin: Plugin, experiments: Experiments, kubelet: KubeletPlayer) -> None:
    kubelet.play(experiments.namespace, lambda pod: Hangs())  # noqa: ARG005
    experiments.create(a_search(trials=1, workers=2))
    running(experiments, 2)
    for rank, pod in ((0, "master-0"), (1, "worker-0")):
        assert f"-{pod} --container=pytorch" in plugin.says("logs", "search", "--rank", str(rank))
    assert plugin.refuses("logs", "search", "--rank", "2").endswith("has no rank 2; its ranks are 0, 1")


@pytest.mark.usefixtures("operator")
def test_stop_starts_nothing_more_and_rerun_goes_on(
    plugin: Plugin, experiments: Experiments, kubelet: KubeletPlayer
) -> None:
    namespace = experiments.namespace
    kubelet.play(namespace, lambda pod: Hangs())  # noqa: ARG005
    experiments.create(a_search(trials=2, parallelTrials=1))
    (pod,) = running(experiments, 1)
    eventually(lambda: experiments.get("search").get("status", {}).get("running") == 1)
    stopped, go_on = lines(plugin.says("stop", "search"))
    assert stopped == "hps/search: stopped. No new trial starts; 1 trial that has begun will finish."
    assert go_on.startswith(f"To go on: `kubectl trialrun rerun hps/search -n {namespace}`, which runs failed trials")
    said = plugin.refuses("logs", "search", "1")
    assert said.startswith("hps/search: trial 1 (")
    assert f"has not started, so it has no log yet; `kubectl trialrun status hps/search -n {namespace}` says" in said
    assert plugin.says("stop", "search").startswith("hps/search: was stopped before.")
    kubelet.become(namespace, pod["metadata"]["name"], Succeeds(report(pod)))
    eventually(lambda: experiments.get("search")["status"]["done"] == "1/2", what="the running one finished")
    assert experiments.get("search")["status"]["phase"] == "Suspended"
    assert "waits Nothing new starts; 0 trials still running." in " ".join(plugin.says("status", "search").split())

    kubelet.play(namespace, lambda pod: Succeeds(report(pod)))
    assert plugin.says("rerun", "search").startswith(
        "hps/search: spec.rerun is 1 now. Trials that failed or are missing"
    )
    assert experiments.finished("search")["status"]["done"] == "2/2"
    spec = experiments.get("search")["spec"]
    assert (spec["rerun"], spec["suspend"]) == (1, False)


@pytest.mark.usefixtures("as_administrator", "crds")
def test_what_others_changed_meanwhile_is_read_again(experiments: Experiments) -> None:
    experiments.create(a_search())
    wanted, stale = kubectl.find("hps/search", experiments.namespace)
    experiments.change("search", rerun=5)
    raised = kubectl.change(wanted, stale, lambda found: {"rerun": (found["spec"].get("rerun") or 0) + 1})
    assert raised["spec"]["rerun"] == experiments.get("search")["spec"]["rerun"] == 6

    # Another object of the same name is not changed for it.
    experiments.api.delete_if_there(experiments.path("search"))
    experiments.create(a_search())
    with pytest.raises(UserError, match="was deleted meanwhile, and made anew"):
        kubectl.change(wanted, stale, lambda found: {"suspend": True})  # noqa: ARG005
    assert not experiments.get("search")["spec"].get("suspend")


@pytest.mark.usefixtures("crds")
def test_a_bare_name_is_the_one_experiment_of_that_name(plugin: Plugin, experiments: Experiments) -> None:
    namespace = experiments.namespace
    assert plugin.refuses("status", "mine") == (
        f"mine: there is neither a search nor a scale test of that name in namespace {namespace}; "
        "`kubectl get hps,sct --all-namespaces` lists them, --namespace chooses"
    )
    experiments.create(a_scale_test("mine"))
    said = lines(plugin.says("status", "mine"))
    assert said[0] == f"sct/mine in namespace {namespace}: not taken up"
    assert said[1].startswith("waits No operator has looked at it yet.")
    assert plugin.refuses("best", "mine").startswith("sct/mine: is a scale test, which has no best trial")
    experiments.create(a_search("mine"))
    for words in (["status"], ["stop"], ["logs"], ["watch"]):
        assert plugin.refuses(*words, "mine") == (
            "mine: there is a search and a scale test of that name; write hps/mine or sct/mine"
        )
    assert plugin.says("status", "hyperparamsearch.trialrun.dev/mine").startswith(
        "hyperparamsearch.trialrun.dev/mine in"
    )


@pytest.mark.usefixtures("crds")
def test_who_may_only_look_can_look(
    cluster: Cluster, plugin: Plugin, experiments: Experiments, tmp_path: Path
) -> None:
    namespace = experiments.namespace
    experiments.create(a_search())
    rules = [{"apiGroups": ["trialrun.dev"], "resources": ["hyperparamsearches"], "verbs": ["get"]}]
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    cluster.api.create(f"{path}/roles", {"metadata": {"name": "look"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "look"}
    cluster.api.create(f"{path}/rolebindings", {"metadata": {"name": "look"}, "roleRef": role, "subjects": [subject]})
    somebody = cluster.kubeconfig_for_service_account(namespace, "default")

    def looks() -> bool:
        return plugin.call("status", "hps/search", "--kubeconfig", somebody)[0] == 0

    eventually(looks, every_seconds=1, what="the role counts")
    said = plugin.refuses("stop", "hps/search", "--kubeconfig", somebody)
    assert said.startswith("hps/search: your account may not change it: ")
    assert said.endswith("it needs `patch` on hyperparamsearches")
    said = plugin.refuses("status", "search", "--kubeconfig", somebody)
    assert said.startswith("search: your account may not read it: ")
    assert "list" in plugin.refuses("logs", "hps/search", "--kubeconfig", somebody)

    assert plugin.says("status", "search", "--context", cluster.access.context).startswith("hps/search in")
    assert plugin.refuses("status", "search", "--context", "nosuch") == (
        'search: context "nosuch" does not exist in kubectl\'s configuration; '
        "`kubectl config get-contexts` lists them"
    )
    none = tmp_path / "none"
    assert plugin.refuses("status", "search", "--kubeconfig", none) == (
        f"--kubeconfig: must be a file with kubectl's configuration, got {none}, which is none"
    )


@pytest.mark.usefixtures("crds", "as_administrator")
def test_pods_of_an_earlier_experiment_of_the_same_name_are_not_its_own(experiments: Experiments) -> None:
    made = experiments.create(a_search())
    labels = {"trialrun.dev/uid": "another", "trialrun.dev/experiment": "search", "trialrun.dev/trial": "0123456789"}
    pod = {
        "metadata": {"name": "earlier", "labels": labels | {"trialrun.dev/attempt": "1"}},
        "spec": {"containers": [{"name": "pytorch", "image": "none"}]},
    }
    path = f"/api/v1/namespaces/{experiments.namespace}/pods"
    experiments.api.create(path, pod)
    wanted, found = kubectl.find("hps/search", experiments.namespace)
    assert kubectl.pods_of(wanted, found) == []
    labels["trialrun.dev/uid"] = made["metadata"]["uid"]
    experiments.api.create(path, pod | {"metadata": {"name": "its-own", "labels": labels}})
    assert [each["metadata"]["name"] for each in kubectl.pods_of(wanted, found)] == ["its-own"]
    experiments.api.delete_if_there(f"{GROUP}/namespaces/{experiments.namespace}/hyperparamsearches/search")
