"""Processes that a model started and that left its host's process group, such as daemons.

They would outlive host and node, and hold its device. Whatever a host starts inherits a variable
of its environment, so everything that still has it can be found when the host is gone. A killed
node leaves that to the next one of its user on this machine.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from paintmq.interpreter import HOST_VARIABLE

_ROUNDS = 5
"""A process may start another one while it is looked for; it is looked for again then."""


def new_mark() -> str:
    """Return the value of ``HOST_VARIABLE`` for one host of this process."""
    return f"{os.getpid()}:{_born(os.getpid())}:{os.urandom(8).hex()}"


def kill_strays(mark: str) -> None:
    """Kill every process that has this mark."""
    for _ in range(_ROUNDS):
        found = [pid for pid, value in _marked() if value == mark]
        if not found:
            return
        _kill(found)


def sweep_strays() -> None:
    """Kill what hosts of this user's nodes that are gone have left behind, hosts included.

    A host dies with its node, unless it was stopped (SIGSTOP) before it could ask the system to.
    """
    _kill([pid for pid, value in _marked() if not _lives(value) and _numbers_as_we_do(pid)])


def _marked() -> Iterator[tuple[int, str]]:
    for process in psutil.process_iter(["uids"]):
        uids = process.info["uids"]
        if process.pid == os.getpid() or uids is None or uids.real != os.getuid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if mark := process.environ().get(HOST_VARIABLE):
                yield process.pid, mark


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _lives(mark: str) -> bool:
    """Return whether the node that made the mark still runs."""
    pid, _, rest = mark.partition(":")
    born = _born(int(pid)) if pid.isdigit() else ""
    return bool(born) and born == rest.partition(":")[0]


def _born(pid: int) -> str:
    """Return when the process began, by which it is told from a later one of its number."""
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""


def _numbers_as_we_do(pid: int) -> bool:
    """Return whether it knows its node by the number that we do: not so in a container."""
    try:
        return Path(f"/proc/{pid}/ns/pid").readlink() == Path("/proc/self/ns/pid").readlink()
    except OSError:
        return False
