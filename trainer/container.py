"""What a container of ours is given besides its order: volumes for data and for output, a place for its report.

Imports no torch: what runs a whole search in a container leaves that to its trials.
"""

import os
from pathlib import Path

from trainer import atomic
from trainer.experiment.errors import UserError
from trainer.experiment.record import RankReport, encode_report

_SHARDS = "shards"  # the folder of the data volume that holds data sets built beforehand
_BUILT_IN = Path("/opt/trialrun/data")  # the default data set, in the trainer image


def enter_data(volume: Path) -> tuple[Path, ...]:
    """Makes relative paths begin at the data volume, if there is one; gives the caches of sets that are ready."""
    if volume.is_dir():
        os.chdir(volume)
    return (volume / _SHARDS, _BUILT_IN)


def require_writable(folder: Path) -> None:
    """Makes `folder` on the output volume: before the training, not after hours of it.

    Raises:
        UserError: it can't be written.
    """
    try:
        atomic.require_writable(folder)
    except OSError as error:
        raise UserError(
            f"spec.pod.outputClaim: a volume that user {os.getuid()} can write is needed, got {error.strerror} in "
            f"{folder}; let group {os.getgid()} write there, or take another claim"
        ) from error


def leave(report: RankReport, message: Path) -> None:
    """Writes the report to the container's message file in one go: kubelet may read it at any moment.

    It is a mount: it can't be replaced by a rename, and it is there already.
    """
    content = encode_report(report)
    descriptor = os.open(message, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
