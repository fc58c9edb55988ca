import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from paintmq.process.cgroups import group_memory_mb, oom_kills, usable_cores, usable_memory_mb


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group of version 2, two levels deep, on a machine of 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    (tmp_path / "own").write_text("0::/outer/inner\n")
    folder = tmp_path / "root" / "outer" / "inner"
    folder.mkdir(parents=True)
    return folder


def cores(tmp_path: Path) -> int:
    return usable_cores(root=tmp_path / "root", own=tmp_path / "own")


def memory_mb(tmp_path: Path) -> int:
    return usable_memory_mb(root=tmp_path / "root", own=tmp_path / "own")


def test_without_limits_all_cores_and_all_memory_count(group: Path, tmp_path: Path) -> None:
    (group / "cpu.max").write_text("max 100000\n")
    (group / "memory.max").write_text("max\n")

    assert cores(tmp_path) == 16
    assert memory_mb(tmp_path) == psutil.virtual_memory().total // 2**20


def test_the_tightest_limit_of_all_levels_counts(group: Path, tmp_path: Path) -> None:
    (group / "cpu.max").write_text("800000 100000\n")
    (group.parent / "cpu.max").write_text("250000 100000\n")
    (group / "memory.max").write_text(f"{512 * 2**20}\n")
    (group.parent / "memory.max").write_text(f"{256 * 2**20}\n")

    assert cores(tmp_path) == 3
    assert memory_mb(tmp_path) == 256


def test_a_fraction_of_a_core_is_one(group: Path, tmp_path: Path) -> None:
    (group / "cpu.max").write_text("10000 100000\n")

    assert cores(tmp_path) == 1


def test_affinity_counts(group: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)

    assert cores(tmp_path) == 1


def test_version_1_is_understood(group: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("4:cpu,cpuacct:/job\n3:memory:/job\n")
    cpu, memory = tmp_path / "root" / "cpu,cpuacct" / "job", tmp_path / "root" / "memory" / "job"
    cpu.mkdir(parents=True)
    memory.mkdir(parents=True)
    (cpu / "cpu.cfs_quota_us").write_text("200000\n")
    (cpu / "cpu.cfs_period_us").write_text("100000\n")
    (memory / "memory.limit_in_bytes").write_text(f"{128 * 2**20}\n")
    (memory.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")

    assert cores(tmp_path) == 2
    assert memory_mb(tmp_path) == 128


def test_processes_killed_for_memory_are_counted(group: Path, tmp_path: Path) -> None:
    assert oom_kills(root=tmp_path / "root", own=tmp_path / "own") == 0
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\n")

    assert oom_kills(root=tmp_path / "root", own=tmp_path / "own") == 2


def test_a_system_without_control_groups_is_no_trouble(tmp_path: Path) -> None:
    assert cores(tmp_path) >= 1
    assert memory_mb(tmp_path) >= 1


def group_mb(tmp_path: Path) -> int:
    return group_memory_mb(root=tmp_path / "root", own=tmp_path / "own")


def test_memory_in_use_is_that_of_the_tightest_group(group: Path, tmp_path: Path) -> None:
    for folder, limit, used in ((group, 512, 100), (group.parent, 256, 200)):
        (folder / "memory.max").write_text(f"{limit * 2**20}\n")
        (folder / "memory.current").write_text(f"{used * 2**20}\n")

    assert group_mb(tmp_path) == 200


def test_without_a_limit_no_group_is_told_of(group: Path, tmp_path: Path) -> None:
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("5000000000\n")

    assert group_mb(tmp_path) == 0


def test_memory_in_use_is_told_of_version_1_too(group: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("5:memory:/job\n")
    folder = tmp_path / "root" / "memory" / "job"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(f"{64 * 2**20}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{32 * 2**20}\n")

    assert group_mb(tmp_path) == 32
