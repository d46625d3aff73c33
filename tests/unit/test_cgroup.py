"""Both versions of cgroups, read and written as files that look like the kernel's."""

from pathlib import Path

import pytest

from trainer import cgroup
from trainer.cgroup import CgroupFactory, Group
from trainer.memory import MemoryMonitor, Readings, ticking

MIB = 2**20


def first_version(folder: Path) -> Group:
    files = {
        "memory.usage_in_bytes": 300 * MIB,
        "memory.max_usage_in_bytes": 400 * MIB,
        "memory.stat": f"active_file 1\ntotal_active_file {30 * MIB}\ntotal_inactive_file {20 * MIB}",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2",
        "memory.limit_in_bytes": 2**63 - 4096,
    }
    return written(folder, files)


def second_version(folder: Path) -> Group:
    files = {
        "memory.current": 300 * MIB,
        "memory.peak": 400 * MIB,
        "memory.stat": f"anon {250 * MIB}\nactive_file {30 * MIB}\ninactive_file {20 * MIB}",
        "memory.events": "low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\noom_group_kill 0",
        "memory.max": "max",
        "memory.swap.max": "max",
    }
    return written(folder, files)


def written(folder: Path, files: dict[str, object]) -> Group:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")
    return Group(folder)


@pytest.mark.parametrize("version", [first_version, second_version])
def test_what_a_group_is_charged_with_leaves_cached_pages_of_files_out(version, tmp_path: Path) -> None:
    group = version(tmp_path)
    assert group.charged() == (250 * MIB, 350 * MIB)
    assert group.kills() == 2


def test_an_older_second_version_has_no_peak_of_its_own(tmp_path: Path) -> None:
    group = second_version(tmp_path)
    (tmp_path / "memory.peak").unlink()
    assert group.charged() == (250 * MIB, 250 * MIB)


def test_a_limit_leaves_no_way_out_to_swap(tmp_path: Path) -> None:
    second_version(tmp_path / "two").limit(5 * MIB)
    assert (tmp_path / "two" / "memory.max").read_text() == str(5 * MIB)
    assert (tmp_path / "two" / "memory.swap.max").read_text() == "0"
    one = first_version(tmp_path / "one")
    (tmp_path / "one" / "memory.memsw.limit_in_bytes").write_text("")
    one.limit(5 * MIB)
    assert (tmp_path / "one" / "memory.limit_in_bytes").read_text() == str(5 * MIB)
    assert (tmp_path / "one" / "memory.memsw.limit_in_bytes").read_text() == str(5 * MIB)


def test_groups_of_processes_that_are_gone_are_removed_and_others_stay(tmp_path: Path) -> None:
    factory = CgroupFactory(tmp_path)
    ours = factory.make()
    for name in ("trialrun-4194999-12345-1", "trialrun-1-0-1", "trialrun-of-somebody", "another"):
        (tmp_path / name).mkdir()
    factory.sweep()
    assert {path.name for path in tmp_path.iterdir()} == {ours.folder.name, "trialrun-of-somebody", "another"}


def test_no_two_groups_of_a_process_are_one_whoever_makes_them(tmp_path: Path) -> None:
    made = [factory.make().folder for factory in (CgroupFactory(tmp_path), CgroupFactory(tmp_path)) for _ in range(2)]
    assert len(set(made)) == 4


def test_a_gauge_reads_floor_peak_and_mean_of_its_group(tmp_path: Path) -> None:
    group = second_version(tmp_path)
    (tmp_path / "memory.peak").write_text(str(300 * MIB))
    monitor = MemoryMonitor(group)
    (tmp_path / "memory.current").write_text(str(400 * MIB))
    (tmp_path / "memory.peak").write_text(str(450 * MIB))
    memory = monitor.result()
    assert memory.cgroup is not None
    assert memory.cgroup.floor_bytes == memory.counted_floor == 250 * MIB
    assert memory.cgroup.peak_bytes == memory.counted_peak == 400 * MIB
    assert memory.cgroup.mean_bytes == 300 * MIB
    assert memory.floor_bytes is not None
    assert 0 < memory.floor_bytes <= memory.peak_bytes


def test_readings_have_a_first_a_highest_and_a_mean() -> None:
    readings = Readings(10)
    readings.add(40, 50)
    readings.add(10, 30)
    assert (readings.first, readings.highest, readings.mean) == (10, 50, 20)


def test_a_full_disk_ends_the_ticking_and_not_what_it_watches() -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise OSError(28, "No space left on device")

    with ticking(fail):
        pass
    assert calls == [1]


def limits(folder: Path, *, memory: str, cpu: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "memory.max").write_text(f"{memory}\n")
    (folder / "cpu.max").write_text(f"{cpu} 100000\n")


@pytest.mark.parametrize(
    ("levels", "memory", "cpus"),
    [
        ([("max", "max"), ("max", "max"), ("max", "max")], None, None),
        ([("max", "max"), ("max", "max"), ("5000", "150000")], 5000, 1.5),
        ([("max", "max"), ("7000", "200000"), ("max", "max")], 7000, 2.0),
        ([("max", "max"), ("7000", "200000"), ("9000", "300000")], 7000, 2.0),
        ([("4000", "50000"), ("7000", "200000"), ("max", "300000")], 4000, 0.5),
    ],
)
def test_a_limit_is_the_least_of_a_group_and_of_those_around_it(
    levels: list[tuple[str, str]],
    memory: int | None,
    cpus: float | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    folder = tmp_path
    for level, (size, quota) in zip(("", "runner", "cell"), levels, strict=True):
        folder /= level
        limits(folder, memory=size, cpu=quota)
    monkeypatch.setattr(cgroup, "_own_folders", lambda *_, **__: [folder, tmp_path])
    assert cgroup.memory_limit() == memory
    assert cgroup.cpu_limit() == cpus


def test_limits_of_the_first_version_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    for controller, files in {
        "memory": {"memory.limit_in_bytes": ("9223372036854771712", "6000")},
        "cpu": {"cpu.cfs_quota_us": ("-1", "25000"), "cpu.cfs_period_us": ("100000", "100000")},
    }.items():
        (tmp_path / controller / "inner").mkdir(parents=True)
        for name, (inner, outer) in files.items():
            (tmp_path / controller / "inner" / name).write_text(inner)
            (tmp_path / controller / name).write_text(outer)
    monkeypatch.setattr(cgroup, "_own_folders", lambda controller, **_: [tmp_path / controller / "inner"])
    assert cgroup.memory_limit() == 6000
    assert cgroup.cpu_limit() == 0.25
