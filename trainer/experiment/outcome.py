"""How a trial can end: a closed set, with what each means for a retry and what a user can do about it."""

from enum import StrEnum


class Outcome(StrEnum):
    """How an attempt at a trial ended."""

    SUCCEEDED = "Succeeded"
    HOST_OOM = "HostOOM"
    DEVICE_OOM = "DeviceOOM"
    TIMED_OUT = "TimedOut"
    EVICTED = "Evicted"
    NODE_LOST = "NodeLost"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    INVALID_CONFIG = "InvalidConfig"
    DATA_UNAVAILABLE = "DataUnavailable"
    DIVERGED = "Diverged"
    METRICS_MISSING = "MetricsMissing"
    CRASHED = "Crashed"
    SKIPPED = "Skipped"
    STOPPED = "Stopped"


# The machine's fault, not the trial's: another attempt may well succeed.
RETRIED = frozenset({Outcome.EVICTED, Outcome.NODE_LOST})

# More samples would not fit either.
OUT_OF_MEMORY = frozenset({Outcome.HOST_OOM, Outcome.DEVICE_OOM})

# Neither succeeded nor failed: it was decided that they need not run, or not to their end.
LEFT_OUT = frozenset({Outcome.SKIPPED, Outcome.STOPPED})

# They say nothing of a trial's parameters, so a search learns nothing from them.
UNBLAMED = frozenset(
    {Outcome.EVICTED, Outcome.NODE_LOST, Outcome.UNSCHEDULABLE, Outcome.IMAGE_UNAVAILABLE, Outcome.DATA_UNAVAILABLE}
)

# What the trainer exits with. All below 128: the training operator takes 128 and above as worth a restart.
EXIT_CODES: dict[Outcome, int] = {
    Outcome.SUCCEEDED: 0,
    Outcome.CRASHED: 1,
    Outcome.INVALID_CONFIG: 2,
    Outcome.DATA_UNAVAILABLE: 65,
    Outcome.DIVERGED: 66,
    Outcome.DEVICE_OOM: 67,
    Outcome.HOST_OOM: 68,
}

ADVICE: dict[Outcome, str] = {
    Outcome.SUCCEEDED: "Nothing to do.",
    Outcome.HOST_OOM: "Raise the memory limit, use fewer samples per worker, or set data.residency to Streaming.",
    Outcome.DEVICE_OOM: "Lower train.batchSize or the model's size, or take a GPU with more memory.",
    Outcome.TIMED_OUT: "Raise the deadline, or train for fewer epochs.",
    Outcome.EVICTED: "Give the pods memory requests equal to their limits, or a higher priority class.",
    Outcome.NODE_LOST: "Look at the nodes with `kubectl get nodes`, then raise spec.rerun.",
    Outcome.UNSCHEDULABLE: "Lower spec.pod.resources, change the node selector, or add nodes.",
    Outcome.IMAGE_UNAVAILABLE: "Check spec.pod.image and spec.pod.imagePullSecrets.",
    Outcome.INVALID_CONFIG: "Mend the field that the error names.",
    Outcome.DATA_UNAVAILABLE: "Make the data available where the error says, then run the trial again.",
    Outcome.DIVERGED: "Lower train.learningRate or set train.gradientClip.",
    Outcome.METRICS_MISSING: (
        "Mend what the error says is missing; an image of your own must report it (docs/bring-your-own-trainer.md)."
    ),
    Outcome.CRASHED: "Read the error and the trial's log.",
    Outcome.SKIPPED: "A smaller cell failed for want of memory; raise the limit to measure this one.",
    Outcome.STOPPED: "It did worse than others at the same step; spec.earlyStopping says when that ends a trial.",
}

# Where a program's own author has to do something else.
_PROGRAM_ADVICE: dict[Outcome, str] = {
    Outcome.HOST_OOM: "Raise the memory limit, or have the program use less memory.",
    Outcome.DEVICE_OOM: "Have the program use less of the GPU's memory, or take a GPU with more.",
    Outcome.TIMED_OUT: "Raise spec.deadlineSeconds, or have the program do less.",
    Outcome.INVALID_CONFIG: "Mend what the error names, in the file or in what the program reports.",
    Outcome.DIVERGED: "The program's objective is no number with these parameters; leave them out, or have it cope.",
    Outcome.METRICS_MISSING: "Have the program report the objective (docs/bring-your-own-trainer.md).",
}


def advice(outcome: Outcome, *, program: bool) -> str:
    """What a user can do about an outcome; `program` is whether a program of theirs ran."""
    return (_PROGRAM_ADVICE if program else ADVICE).get(outcome, ADVICE[outcome])
