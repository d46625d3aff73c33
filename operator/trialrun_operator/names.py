"""How things are called on the cluster: kinds, keys, labels, and the names of what an experiment owns. Pure."""

from dataclasses import dataclass

GROUP = "trialrun.dev"
VERSION = "v1alpha1"
PART_OF = "app.kubernetes.io/managed-by"

EXPERIMENT_LABEL = f"{GROUP}/experiment"
KIND_LABEL = f"{GROUP}/kind"
UID_LABEL = f"{GROUP}/uid"
TRIAL_LABEL = f"{GROUP}/trial"
INDEX_LABEL = f"{GROUP}/index"
ATTEMPT_LABEL = f"{GROUP}/attempt"
LEDGER_LABEL = f"{GROUP}/ledger"
SUGGESTIONS_LABEL = f"{GROUP}/suggestions"
PROGRAM_LABEL = f"{GROUP}/program"  # of what runs a user's program: the hash of its code, or IN_IMAGE
IN_IMAGE = "image"
LINK_LABEL = f"{GROUP}/job"  # of a job and its pods, where these don't name it as their owner
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"  # Kueue's own

# A job's name has room for two digits.
MAX_ATTEMPT = 99


@dataclass(frozen=True)
class Resource:
    """A kind of object by the names the API server has for it."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """As it stands in an object."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of all of them, of a namespace's, or of one."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root, *(["namespaces", namespace] if namespace else []), self.plural, name, subresource]
        return "/".join(part for part in parts if part)


SEARCHES = Resource(GROUP, VERSION, "hyperparamsearches", "HyperparamSearch")
SCALE_TESTS = Resource(GROUP, VERSION, "scaletests", "ScaleTest")
PODS = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
EVENTS = Resource("", "v1", "events", "Event")

KINDS = {resource.kind: resource for resource in (SEARCHES, SCALE_TESTS)}
_WORDS = {"HyperparamSearch": "search", "ScaleTest": "scaletest"}
SHORT_NAMES = {"HyperparamSearch": "hps", "ScaleTest": "sct"}


@dataclass(frozen=True)
class Key:
    """Which experiment: what the queue holds. Built here only, so that no two places spell it differently."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace} {_WORDS[self.kind]}/{self.name}"

    @property
    def resource(self) -> Resource:
        """The experiment's kind, as the API server calls it."""
        return KINDS[self.kind]

    @property
    def path(self) -> str:
        """The experiment's URL path."""
        return self.resource.path(self.namespace, self.name)


def labels(key: Key, uid: str) -> dict[str, str]:
    """What everything that an experiment owns is found by."""
    return {
        PART_OF: "trialrun",
        EXPERIMENT_LABEL: key.name,
        KIND_LABEL: key.kind,
        UID_LABEL: uid,
    }


def owner(key: Key, uid: str) -> dict[str, object]:
    """The reference by which the API server deletes what an experiment owns together with it."""
    return {
        "apiVersion": key.resource.api_version,
        "kind": key.kind,
        "name": key.name,
        "uid": uid,
        "controller": True,
        # The owner has no finalizers, so nothing needs to wait for this object's end.
        "blockOwnerDeletion": False,
    }


def job_name(experiment: str, trial: str, attempt: int) -> str:
    """The name of the job that runs an attempt: the same for every operator, so it can exist only once."""
    return f"{experiment}-{trial}-{attempt}"


def baseline_name(key: Key, uid: str) -> str:
    """The ConfigMap of what was measured as a baseline. It is no ledger, and has no ledger's label."""
    return f"{SHORT_NAMES[key.kind]}-{key.name}-{uid[:8]}-baseline"


def files_name(key: Key, uid: str, digest: str) -> str:
    """The ConfigMap of the files by which a pod is told to measure a baseline, by their hash.

    Like that of code it has no UID's label.
    """
    return f"{SHORT_NAMES[key.kind]}-{key.name}-{uid[:8]}-baseline-run-{digest}"


def suggestions_name(key: Key, uid: str, shard: int) -> str:
    """The ConfigMap of a range of suggestions. Operators of version 0.1 pass it over: it has no ledger's label."""
    return f"{SHORT_NAMES[key.kind]}-{key.name}-{uid[:8]}-suggestions-{shard}"


def warm_start_name(key: Key, uid: str) -> str:
    """The ConfigMap of what a search began with that another had come to."""
    return f"{SHORT_NAMES[key.kind]}-{key.name}-{uid[:8]}-warmstart"


def code_name(key: Key, uid: str, digest: str) -> str:
    """The ConfigMap of the code that an experiment's trials run, by its hash: what it holds never changes."""
    return f"{SHORT_NAMES[key.kind]}-{key.name}-{uid[:8]}-code-{digest}"


def imported_name(experiment: str) -> str:
    """The ConfigMap from which a user lets a baseline be imported."""
    return f"{experiment}-baseline"


def ledger_name(key: Key, uid: str, shard: int) -> str:
    """The ConfigMap of a range of trials. A piece of the UID keeps a namesake's old ledger apart."""
    return f"{SHORT_NAMES[key.kind]}-{key.name}-{uid[:8]}-ledger-{shard}"
