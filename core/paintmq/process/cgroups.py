"""How many cores and how much memory this process may really use: hardware, affinity, cgroups.

A container sees its host's processors and memory; what it may use of them is written in its control
group, and in every group above that one.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from paintmq.units import MIB

CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
_UNLIMITED = 1 << 60
"""Version 1 writes "no limit" as a number near 2**63."""


def usable_cores(*, root: Path = CGROUP_ROOT, own: Path = OWN_CGROUP) -> int:
    """Return how many cores can be kept busy, at least 1."""
    try:
        cores = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS, Windows
        cores = float(os.cpu_count() or 1)
    for folder in _version_2(root, own):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            cores = min(cores, int(quota) / int(period))
    for folder in _version_1(root, own, "cpu"):
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            cores = min(cores, int(quota) / int(period))
    return max(1, math.floor(cores + 0.5))


def usable_memory_mb(*, root: Path = CGROUP_ROOT, own: Path = OWN_CGROUP) -> int:
    """Return the main memory this process may fill, in megabytes of 2**20 bytes."""
    limits = [int(psutil.virtual_memory().total)]
    files = [folder / "memory.max" for folder in _version_2(root, own)]
    files += [folder / "memory.limit_in_bytes" for folder in _version_1(root, own, "memory")]
    for file in files:
        text = _read(file)
        if text.isdigit() and int(text) < _UNLIMITED:
            limits.append(int(text))
    return min(limits) // MIB


def group_memory_mb(*, root: Path = CGROUP_ROOT, own: Path = OWN_CGROUP) -> int:
    """Return what the smallest of our groups that is limited fills, in megabytes of 2**20 bytes; 0
    where no group has a limit.
    """
    limited = [
        (int(limit), folder / used)
        for folders, most, used in (
            (_version_2(root, own), "memory.max", "memory.current"),
            (_version_1(root, own, "memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
        )
        for folder in folders
        if (limit := _read(folder / most)).isdigit() and int(limit) < _UNLIMITED
    ]
    text = _read(min(limited)[1]) if limited else ""
    return int(text) // MIB if text.isdigit() else 0


def oom_kills(*, root: Path = CGROUP_ROOT, own: Path = OWN_CGROUP) -> int:
    """Return how many processes of our group were killed for memory; 0 where the system does not
    count them.
    """
    for folder in _version_2(root, own):
        for line in _read(folder / "memory.events").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdigit():
                return int(count)
    return 0


def _version_2(root: Path, own: Path) -> Iterator[Path]:
    """Yield our group's folder and those above it."""
    for line in _read(own).splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            yield from _upwards(root, path)


def _version_1(root: Path, own: Path, controller: str) -> Iterator[Path]:
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            yield from _upwards(root / controllers, path)
            if controllers != controller:
                yield from _upwards(root / controller, path)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """Yield the group's folder and each above, down to the root.

    A container may not see its own path: then the folder at the root is its own.
    """
    folder = root / path.lstrip("/")
    while folder != root and root in folder.parents:
        yield folder
        folder = folder.parent
    yield root


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
