"""The operator, stepped through time in front of a cluster in memory. Nothing else here knows how it is put together.

A test applies an experiment, says what pods do, lets time pass, and asks what the cluster holds then.
"""

import asyncio
import json
import math
import queue
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import optuna
import pytest

from cluster import podstatus
from trainer.experiment.expand import Trial, expand
from trainer.experiment.load import load
from trainer.experiment.record import RankReport, Record, decode, encode_report
from trainer.experiment.spec import HyperparamSearch
from trainer.experiment.suggestion import Suggestion, in_order
from trainer.experiment.suggestion import decode as decode_suggestion
from trainer.scheduling.lessons import from_json
from trainer.suggesting.study import Study
from trainer.tracking.__main__ import Service
from trialrun_operator.backends import BACKENDS
from trialrun_operator.backends.trainjob import RUNTIMES
from trialrun_operator.child_process import ProcessEnded, encoded
from trialrun_operator.event_handler import EventHandler
from trialrun_operator.kueue import WORKLOADS
from trialrun_operator.metrics import Metrics
from trialrun_operator.names import (
    ATTEMPT_LABEL,
    CONFIG_MAPS,
    EVENTS,
    INDEX_LABEL,
    KINDS,
    LEDGER_LABEL,
    PODS,
    SUGGESTIONS_LABEL,
    TRIAL_LABEL,
    Key,
    Resource,
)
from trialrun_operator.observe import timestamp
from trialrun_operator.orders import TRIAL_VARIABLE
from trialrun_operator.queue import Queue
from trialrun_operator.reconcile import Reconciler
from trialrun_operator.resync import Restart, Resync
from trialrun_operator.store import Store
from trialrun_operator.suggester import Suggester
from trialrun_operator.tracker import Tracker
from trialrun_operator.worker import look_at_next
from unit.builders import START, a_document
from unit.controllers import Controller, Trainer, TrainingOperator, has_ended, path
from unit.fakekube import Document, FakeApi, FakeKube, Killed
from unit.fakemlflow import FakeMlflow, KilledMidway
from unit.kueue import Kueue

NAMESPACE = "team-a"
# A process has one event loop all its life, to which its locks belong.
_ONE_LOOP = asyncio.Runner()
# For tests that hold whatever a trial runs as.
EITHER = pytest.mark.parametrize("backend", list(BACKENDS))
# The status of a pod, which it gets at a time, by what it was before.
Stage = Callable[[Document, str], Document]
# What becomes of the attempt "3.1", the first at the trial with index 3; None for a pod that runs on.
Script = Callable[[str], Stage | None]


def a_search(trials: int = 3, *, name: str = "search", **spec: Any) -> Document:
    """A search of so many trials, all of them at once."""
    rates = [round(0.001 * (number + 1), 6) for number in range(trials)]
    whole = {"parameters": [{"name": "train.learningRate", "choices": rates}], "parallelTrials": trials}
    return a_document(name=name, **(whole | spec))


SPACE = [
    {"name": "train.learningRate", "range": {"min": 1e-4, "max": 1e-1, "scale": "Log"}},
    {"name": "model.hiddenSize", "range": {"min": 8, "max": 256}},
]


def a_learning_search(trials: int = 14, *, name: str = "search", **spec: Any) -> Document:
    """A search of so many points by TPE, which learns once ten have ended."""
    whole = {"objective": {"metric": "validMse"}, "algorithm": "TPE", "trials": trials, "parameters": SPACE}
    return a_document(name=name, **(whole | {"parallelTrials": 3} | spec))


def succeeds(**report: Any) -> Stage:
    """The pod reports and ends well."""

    def stage(pod: Document, now: str) -> Document:
        index = float(pod["metadata"]["labels"].get(INDEX_LABEL, 0))
        told = RankReport(**({"metrics": {"validMse": index + 1.0}, "clock": 1} | report))
        return podstatus.ended(pod, now, exit_code=0, message=encode_report(told).decode())

    return stage


def measures(pod: Document, now: str) -> Document:
    """The pod reports a loss of 0.01 where the learning rate is 0.01 and the hidden size 64, and more elsewhere."""
    point = trial_of(pod)["parameters"]
    loss = 0.01 + abs(math.log10(point["train.learningRate"]) + 2) + abs(math.log2(point["model.hiddenSize"]) - 6)
    return succeeds(metrics={"validMse": loss})(pod, now)


def beside_a_proxy(stage: Stage) -> Stage:
    """Of a pod that was given a second container, which never ends, the trainer becomes what the stage says."""

    def beside(pod: Document, now: str) -> Document:
        if len(pod["status"]["containerStatuses"]) > 1:
            return dict(pod["status"])  # it has ended before
        (trainer,) = (told := stage(pod, now))["containerStatuses"]
        proxy = {**trainer, "name": "proxy", "state": {"running": {"startedAt": now}}}
        return {"phase": "Running", "containerStatuses": [proxy, trainer], "conditions": told["conditions"]}

    return beside


CRASHES: Stage = partial(podstatus.ended, exit_code=1, message="boom")
RUNS_OUT_OF_MEMORY: Stage = partial(podstatus.ended, exit_code=137, reason="OOMKilled")
IS_EVICTED: Stage = partial(podstatus.ended_by_kubelet, reason="Evicted", message="the node was low on memory")


class Clock:
    """Time as the test has it pass; milliseconds since 1970, and seconds since the machine started."""

    def __init__(self) -> None:
        self.milliseconds = 0

    def now(self) -> int:
        return START + self.milliseconds

    def seconds(self) -> float:
        return self.milliseconds / 1000


class Studies:
    """What suggests points, in this process; `unable` says why it ends at every question, of which `ends` counts."""

    def __init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.unable = ""
        self.ends = 0
        self.told: list[Document] = []
        self.begun: list[str] = []
        self._studies: dict[str, Study] = {}
        self._answers: list[Document] = []

    async def tell(self, *requests: Mapping[str, Any]) -> None:
        if self.unable:
            self.ends += 1
            await self.end()
            raise ProcessEnded(self.unable)
        for line in encoded(requests).splitlines():
            request = json.loads(line)
            self.told.append(request)
            self._take(request)

    async def hear(self) -> Document:
        answer = self._answers.pop(0)
        if not answer:
            await self.end()
            raise ProcessEnded("it was killed")
        return answer

    def die(self) -> None:
        """It is killed while it works out the next answer."""
        self._answers.append({})

    async def end(self) -> None:
        self._studies.clear()
        self._answers.clear()

    def _take(self, request: Document) -> None:
        search = request["search"]
        if request["do"] == "begin":
            document = json.dumps(request["experiment"])
            earlier = [from_json(each) for each in request["earlier"]]
            self._studies[search] = Study(HyperparamSearch.model_validate_json(document), earlier)
            self.begun.append(search)
        elif request["do"] == "learn":
            self._studies[search].learn(from_json(each) for each in request["lessons"])
        elif request["do"] == "suggest":
            self._suggest(search, request["number"])
        else:
            self._studies.pop(search, None)

    def _suggest(self, search: str, number: int) -> None:
        found = self._studies[search].suggest(number)
        told = {"event": "exhausted"} if found is None else {
            "event": "suggested", "parameters": found.parameters, "learntFrom": found.learnt_from, "why": found.why,
        }  # fmt: skip
        self._answers.append({"search": search, "number": number} | told)


class Telling:
    """What tells MLflow, in this process; `asked` are the requests."""

    def __init__(self, mlflow: FakeMlflow) -> None:
        self.asked: list[Document] = []
        self._answers: list[Document] = []
        self._service = Service(mlflow, queue.Queue(), lambda **event: self._answers.append(event))

    async def tell(self, *requests: Mapping[str, Any]) -> None:
        for line in encoded(requests).splitlines():
            self.asked.append(json.loads(line))
            try:
                self._service.take(json.loads(line))
            except KilledMidway:
                raise Killed from None

    async def hear(self) -> Document:
        return json.loads(json.dumps(self._answers.pop(0)))

    async def end(self) -> None:
        self._answers.clear()


class Operator:
    """One process of the operator. It knows nothing at first."""

    def __init__(
        self,
        kube: FakeKube,
        clock: Clock,
        allowed: Collection[str] = (),
        enabled: Collection[str] = BACKENDS,
        mlflow: FakeMlflow | None = None,
    ) -> None:
        self.kube = kube
        self.deaf = False  # whether its watches stand still
        self._clock = clock
        self._heard = len(kube.api.events)
        self._list_at = clock.seconds()
        self._store, self._queue, self.metrics = Store(clock.now), Queue(clock.seconds), Metrics(lambda: 0.0)
        self._handler = EventHandler(self._store, self._queue, self.metrics)
        self._resync = Resync(kube, self._store, self.metrics, (), [BACKENDS[kind] for kind in enabled])
        self.studies = Studies()
        self._suggester = Suggester(self.studies, self._queue.add, clock.seconds)
        self.tracker = None if mlflow is None else Tracker(Telling(mlflow), self.metrics, clock.seconds)
        self._reconciler = Reconciler(
            kube, self._store, self._queue, self.metrics, "trainer:1", self._suggester, self.tracker,
            allowed=allowed, enabled=enabled, now=clock.now, clock=clock.seconds,
        )  # fmt: skip

    def next_delay(self) -> float:
        """Seconds until it does something without being told anything."""
        until_list = max(0.0, self._list_at - self._clock.seconds())
        due = self._queue.next_delay() if self._listed else None
        return until_list if due is None else min(due, until_list)

    async def look(self) -> None:
        """LISTs if it is time, and looks at what is due."""
        if self._clock.seconds() >= self._list_at:
            self._list_at = self._clock.seconds() + await self._resync.again(self._synced)
        while self._listed and self._queue.next_delay() == 0.0:
            await look_at_next(self._queue, self._reconciler, self.metrics)
            await self._suggester.work_off()
        if self.tracker is not None:
            await self.tracker.work_off()

    def unheard(self) -> list[Document]:
        """What watches have to tell; they won't tell it again."""
        events, self._heard = self.kube.api.events[self._heard :], len(self.kube.api.events)
        return events

    def hear(self, events: list[Document]) -> None:
        """Is told of changes by its watches."""
        takes: dict[str, Callable[[Document], None]] = {PODS.kind: self._handler.pod}
        takes |= {kind: partial(self._handler.job, backend) for kind, backend in BACKENDS.items()}
        takes |= dict.fromkeys(("HyperparamSearch", "ScaleTest"), self._handler.experiment)
        for event in events:
            if event["object"]["kind"] in takes:
                takes[event["object"]["kind"]](event)

    @property
    def _listed(self) -> bool:
        """Whether everything was listed once: before, nothing is looked at."""
        return self._resync.missing is not None

    async def _synced(self) -> None:
        self._reconciler.resynced(self._resync.there)
        for key in self._store.experiments():
            self._queue.add(key)


class Lookout:
    """A cluster with one experiment and an operator; `operators` may get more.

    It has one kind of job, `backend`, and no Kueue. `allowed` are the chart's switches, `enabled` its kinds of job.
    `mlflow` is what the operators tell of it.
    """

    def __init__(
        self,
        allowed: Collection[str] = (),
        *,
        backend: str = "PyTorchJob",
        enabled: Collection[str] = BACKENDS,
        mlflow: FakeMlflow | None = None,
    ) -> None:
        self.allowed, self.enabled, self.mlflow = allowed, enabled, mlflow
        self.clock = Clock()
        self.api = FakeApi(self.clock.now)
        self.backend = BACKENDS[backend]
        self.api.unknown = {each.jobs.plural for each in BACKENDS.values() if each is not self.backend}
        self.api.unknown |= {WORKLOADS.plural} | ({RUNTIMES.plural} if backend != "TrainJob" else set())
        self.controllers: tuple[Controller, ...] = (TrainingOperator(self.api), Trainer(self.api))
        self.kueue: Kueue | None = None
        self.kube = FakeKube(self.api)
        self.operators = [Operator(self.kube, self.clock, allowed, enabled, mlflow)]
        self.key = Key("HyperparamSearch", NAMESPACE, "search")

    def restart(self, number: int = 0) -> Operator:
        """Another process of the operator takes the place of this one, at once."""
        kube = self.operators[number].kube
        kube.restart()
        self.operators[number] = Operator(kube, self.clock, self.allowed, self.enabled, self.mlflow)
        return self.operators[number]

    def another(self) -> Operator:
        """One more operator, which has just started."""
        self.operators.append(Operator(FakeKube(self.api), self.clock, self.allowed, self.enabled, self.mlflow))
        return self.operators[-1]

    def with_kueue(self, quota: int) -> Kueue:
        """Installs Kueue, with a queue for so many jobs at once."""
        self.kueue = Kueue(self.api, quota, self.job_objects)
        return self.kueue

    # --- time

    def look(self) -> None:
        """The operators hear of what has changed, and look side by side at what is due by now.

        One that is killed by that, or ends, is started anew.
        """
        for operator in self.operators:
            if not operator.deaf:
                operator.hear(operator.unheard())
        if any(operator.next_delay() == 0.0 for operator in self.operators):
            _ONE_LOOP.run(self._look())

    async def _look(self) -> None:
        found = await asyncio.gather(*(each.look() for each in self.operators), return_exceptions=True)
        for number, result in enumerate(found):
            if isinstance(result, Killed | Restart):
                self.restart(number)
            elif result is not None:
                raise result

    def wait(self, seconds: float) -> None:
        """Time passes, and the operators look whenever they want to."""
        until = self.clock.milliseconds + round(1000 * seconds)
        while True:
            self.look()
            due = self.clock.milliseconds + math.ceil(1000 * min(each.next_delay() for each in self.operators))
            if due > until:
                break
            self.clock.milliseconds = max(due, self.clock.milliseconds + 1)
        self.clock.milliseconds = until
        self.look()

    def play(self, script: Script = lambda _: succeeds(), *, seconds: int = 50) -> None:
        """Lets pods do as the script says for so long; each runs for two seconds.

        By default for less than the time between two LISTs, so that no operator relies on the second.
        """
        for _ in range(seconds // 2):
            self.wait(1)
            self.pods_run()
            self.wait(1)
            self.pods_end(script)

    # --- what users do

    def apply(self, document: Document) -> None:
        """Creates the experiment."""
        self.key = Key(document["kind"], NAMESPACE, document["metadata"]["name"])
        self.api.ask("POST", self.key.resource.path(NAMESPACE), document)

    def change(self, **spec: Any) -> None:
        """Changes the experiment."""
        self.api.ask("PATCH", self.key.path, {"spec": spec})

    def delete(self, path: str = "") -> None:
        """Deletes the experiment, or what else is named, and with it what belongs to it."""
        self.api.ask("DELETE", path or self.key.path)
        self.api.collect()

    # --- what controllers and kubelets do

    def pods_run(self) -> None:
        """Every job that lacks pods gets them, and they run; of one that is suspended they are told to end.

        Before that a queue releases what there is quota for.
        """
        if self.kueue is not None:
            self.kueue.look()
        for controller, job, pods in self._at_work():
            for pod in controller.look(job, pods, self._time()):
                self._pod_becomes(pod, podstatus.running)

    def pods_are_refused(self, message: str) -> None:
        """Of every job that has none no pod can be made, which its controller tells in an Event."""
        for controller, job, pods in self._at_work():
            event = controller.complaint(job, message, self._time())
            if not pods and f"{EVENTS.path(NAMESPACE)}/{event['metadata']['name']}" not in self.api.objects:
                self.api.ask("POST", EVENTS.path(NAMESPACE), event)

    def pods_end(self, script: Script = lambda _: succeeds(), told: Stage | None = None) -> None:
        """Every pod that runs ends as the script says, and with the last of them their job.

        Those that were told to end become what `told` says, and go. So do pods of jobs that are gone.
        """
        self.api.collect()
        lost = set()
        for controller, job, pods in self._at_work():
            deleted = {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" in pod["metadata"]}
            if deleted - controller.taken_back:
                lost.add(job["metadata"]["uid"])
        for pod in self.of(PODS):
            stage = script(attempt(pod))
            if "deletionTimestamp" in pod["metadata"]:
                if told is not None and pod["status"]["phase"] == "Running":
                    self._pod_becomes(pod, told)
                self.api.ask("DELETE", path(PODS, pod), {"gracePeriodSeconds": 0})
            elif pod["status"]["phase"] == "Running" and stage is not None:
                self._pod_becomes(pod, stage)
        for controller, job, pods in self._at_work():
            controller.end(job, pods, lost=job["metadata"]["uid"] in lost, now=self._time())

    def _at_work(self) -> list[tuple[Controller, Document, list[Document]]]:
        """The jobs that have not ended, each with its controller and its pods."""
        by_uid = {each["metadata"]["uid"]: each for each in self.api.objects.values()}
        pods: dict[str, list[Document]] = {}
        for pod in self.of(PODS):
            top: Document | None = pod
            while top is not None and top["kind"] not in BACKENDS:
                owners = top["metadata"].get("ownerReferences") or ({"uid": ""},)
                top = by_uid.get(owners[0]["uid"])
            if top is not None:
                pods.setdefault(top["metadata"]["uid"], []).append(pod)
        return [
            (controller, job, pods.get(job["metadata"]["uid"], []))
            for controller in self.controllers
            for job in self.of(controller.backend.jobs)
            if not has_ended(job)
        ]

    # --- what the cluster holds

    def of(self, resource: Resource) -> list[Document]:
        """All objects of a kind; nobody changes them."""
        return [each for _, each in sorted(self.api.objects.items()) if each["kind"] == resource.kind]

    def jobs(self) -> list[str]:
        """The attempts that have a job, as "0.1"; "baseline.1" and "floor-1.1" are no trials."""
        return sorted(attempt(job) for job in self.job_objects())

    def job_objects(self) -> list[Document]:
        """The jobs of all kinds."""
        return [job for backend in BACKENDS.values() for job in self.of(backend.jobs)]

    def job(self, name: str) -> str:
        """The path of the job of an attempt."""
        found = (job for job in self.job_objects() if attempt(job) == name)
        return next(path(BACKENDS[job["kind"]].jobs, job) for job in found)

    def records(self) -> dict[str, str]:
        """The outcomes in the ledger by their attempt; with ", again" where another follows."""
        return {
            f"{each.id if each.id.startswith('floor') else each.index}.{each.attempt}": (
                str(each.outcome) + ("" if each.final else ", again")
            )
            for each in self.ledger()
        }

    def ledger(self) -> list[Record]:
        """The records in the ledger."""
        shards = [each for each in self.of(CONFIG_MAPS) if LEDGER_LABEL in each["metadata"]["labels"]]
        lines = sorted(item for shard in shards for item in shard["data"].items())
        return [decode(line) for _, line in lines]

    def suggestions(self) -> list[Suggestion]:
        """The suggestions in the ledger, in the order of their numbers, as far as none is missing."""
        shards = [each for each in self.of(CONFIG_MAPS) if SUGGESTIONS_LABEL in each["metadata"]["labels"]]
        first = len(self.api.ask("GET", self.key.path)["spec"].get("points", ()))
        return in_order((decode_suggestion(line) for shard in shards for line in shard["data"].values()), first)

    def trials(self) -> list[Trial]:
        """The trials of the experiment."""
        suggested = [each.parameters for each in self.suggestions()]
        return expand(load(self.api.ask("GET", self.key.path)), suggested)

    def status(self) -> Document:
        """The status of the experiment."""
        found: Document = self.api.ask("GET", self.key.path).get("status") or {}
        return found

    def condition(self, kind: str = "Progressing") -> tuple[str, str]:
        """Status and reason of a condition."""
        found = (each for each in self.status().get("conditions", ()) if each["type"] == kind)
        return next(((each["status"], each["reason"]) for each in found), ("", ""))

    def told(self) -> list[str]:
        """The reasons of the Events."""
        return sorted(each["reason"] for each in self.of(EVENTS) if each["involvedObject"]["kind"] in KINDS)

    def _pod_becomes(self, pod: Document, stage: Stage) -> None:
        self.api.ask("PATCH", f"{path(PODS, pod)}/status", {"status": stage(pod, self._time())})

    def _time(self) -> str:
        return timestamp(self.clock.now() // 1000 * 1000)


def trial_of(pod: Document) -> Document:
    """What a trial's pod was told."""
    variables = {each["name"]: each.get("value", "") for each in pod["spec"]["containers"][0]["env"]}
    told: Document = json.loads(variables[TRIAL_VARIABLE])
    return told


def attempt(document: Document) -> str:
    """Which attempt a job or pod belongs to."""
    labels = document["metadata"]["labels"]
    return f"{labels.get(INDEX_LABEL, labels[TRIAL_LABEL])}.{labels[ATTEMPT_LABEL]}"
