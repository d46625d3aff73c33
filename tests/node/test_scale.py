"""One scale test with real pods and on this machine: the same cells and ends, memory as the kernel counts it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.commandline import trainer
from cluster.operatorprocess import Experiments
from cluster.testcluster import Cluster
from node import pods
from node.conftest import restricted_namespace
from node.place import ROOT
from trainer.experiment.outcome import Outcome
from trainer.experiment.record import Memory, MemoryLimit, Record
from trainer.local.ledger import read_ledger

MIB = 2**20
ABOVE = 128 * MIB
NAME = "sp500-scale"
PLACES = [(workers, size) for workers in (1, 2) for size in (1, 100, 200)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with three of its sizes."""
    test = yaml.safe_load((ROOT / "examples" / "scaletest.yaml").read_text())
    test["spec"]["axes"]["multipliers"] = [1, 100, 200]
    test["spec"]["cell"]["deadlineSeconds"] = 900  # memory is what runs out here, however slow the machine
    path = tmp_path_factory.mktemp("scale") / "scaletest.yaml"
    path.write_text(yaml.safe_dump(test))
    return path


@pytest.fixture(scope="module")
def applied(cluster: Cluster, file: Path) -> Iterator[Experiments]:
    """The namespace in which it was applied and has finished."""
    with restricted_namespace(cluster) as experiments:
        cluster.kubectl("apply", "-n", experiments.namespace, "-f", str(file))
        experiments.finished(NAME, plural="scaletests")
        yield experiments


@pytest.fixture(scope="module")
def there(applied: Experiments) -> list[Record]:
    """The cells' records; what measured their floor is left out."""
    return [record for record in pods.records(applied, NAME) if record.index < len(PLACES)]


@pytest.fixture(scope="module")
def folder(cluster: Cluster, file: Path) -> Path:
    """The results of the same file on this machine."""
    out = file.parent / "here"
    done = trainer(cluster, "run", file, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def here(folder: Path) -> list[Record]:
    return sorted(read_ledger(folder), key=lambda record: record.index)


def ranks(record: Record) -> list[Memory]:
    assert None not in record.memory
    return [rank for rank in record.memory if rank is not None]


def test_memory_runs_out_within_the_axis_and_later_with_two_workers(there: list[Record]) -> None:
    assert [(record.workers, record.parameters["data.multiplier"]) for record in there] == PLACES
    assert [str(record.outcome) for record in there] == [
        "Succeeded", "Succeeded", "HostOOM", "Succeeded", "Succeeded", "Succeeded",
    ]  # fmt: skip


def test_the_same_file_ends_the_same_way_on_this_machine(there: list[Record], here: list[Record]) -> None:
    assert [(record.id, record.outcome) for record in there] == [(record.id, record.outcome) for record in here]
    assert [record.samples for record in there] == [record.samples for record in here]


def test_a_cell_that_the_kernel_killed_has_its_evidence_and_its_peak(there: list[Record]) -> None:
    killed = there[2]
    assert (killed.outcome, killed.exit_code) == (Outcome.HOST_OOM, 137)
    assert killed.evidence.items() >= {"exitCode": 137, "containerReason": "OOMKilled"}.items()
    assert killed.error.startswith("killed for want of memory: OOMKilled, exit code 137; its memory limit is ")
    (memory,) = ranks(killed)
    assert memory.limit is not None
    assert memory.counted_peak >= 0.9 * memory.limit.bytes
    assert killed.samples == 200 * there[0].samples
    assert killed.seconds.total > killed.seconds.start > 0


def test_every_worker_may_use_so_much_more_than_its_floor_and_uses_what_its_samples_take(
    applied: Experiments, there: list[Record]
) -> None:
    floors = {
        record.workers: max(rank.counted_floor or 0 for rank in ranks(record))
        for record in pods.records(applied, NAME)
        if record.index >= len(PLACES)
    }
    assert floors.keys() == {1, 2}
    assert floors[2] > floors[1] > 100 * MIB
    for record in there:
        page = 4096  # to which the kernel rounds a limit down
        limit = MemoryLimit(bytes=(floors[record.workers] + ABOVE) // page * page, kept_by="Cgroup")
        assert [rank.limit for rank in ranks(record)] == [limit] * record.workers
    for record in (there[1], there[5]):
        held = record.dataset_bytes / record.workers
        for rank in ranks(record):
            assert rank.counted_floor is not None
            assert 0.8 * held < rank.counted_peak - rank.counted_floor < 1.2 * held


def test_the_status_shows_the_cells_and_how_far_they_came(applied: Experiments, there: list[Record]) -> None:
    columns = applied.cluster.kubectl("get", "sct", "-n", applied.namespace, "--no-headers").split()
    assert columns[:5] == [NAME, "Succeeded", "6/6", "200x", "1"]
    scale = applied.get(NAME, "scaletests")["status"]["summary"]["scale"]
    assert [(cell["workers"], cell["multiplier"], cell["outcome"]) for cell in scale["cells"]] == [
        (record.workers, record.parameters["data.multiplier"], str(record.outcome)) for record in there
    ]
    assert [reach["multiplier"] for reach in scale["frontier"]] == [100, 200]


def test_both_sides_are_compared_with_what_each_carried(applied: Experiments, folder: Path) -> None:
    compared = trainer(applied.cluster, "compare", folder, f"sct/{NAME}", "-n", applied.namespace)
    assert compared.returncode == 0, compared.stderr
    said = " ".join(compared.stdout.split())
    assert (
        "The largest training set: with 1 worker A carried 100x, B 100x; with 2 workers A carried 200x, B 200x."
        in said
    )
