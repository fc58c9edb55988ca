"""How much memory this process takes, cheaply enough to ask after every batch."""

import os
import sys
from math import inf
from pathlib import Path
from typing import Any

from paintmq.units import MIB

AGE = 0.1
_STATM = Path("/proc/self/statm")
_STATUS = Path("/proc/self/status")
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def resident_mb(*, without_shared: bool = False) -> int:
    """Return the resident set; where the system does not say, the largest it ever was.

    ``without_shared`` leaves out memory that is shared with other processes, if the system tells:
    several of them would count it.
    """
    try:
        if without_shared:
            found = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
            return (_kib(found["VmRSS"]) - _kib(found.get("RssShmem", "0 kB"))) // 1024
        return int(_STATM.read_text().split()[1]) * _PAGE // MIB
    except OSError:
        import resource  # there is none on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // MIB if sys.platform == "darwin" else peak // 1024


def _kib(text: str) -> int:
    return int(text.split()[0])


class MemoryGauge:
    """The resident set as it was ``AGE`` seconds ago at most: for whoever asks a thousand times a
    second, as reading it takes longer than a small task.
    """

    def __init__(self) -> None:
        self._megabytes, self._read_again_at = 0, -inf

    def resident_mb(self, *, without_shared: bool = False, now: float) -> int:
        if now >= self._read_again_at:
            self._megabytes = resident_mb(without_shared=without_shared)
            self._read_again_at = now + AGE
        return self._megabytes


def device_memory_used_mb() -> int:
    """Return the GPU memory that this process's torch has allocated; 0 without any."""
    torch: Any = _torch()
    return int(torch.cuda.memory_allocated()) // MIB if torch is not None else 0


def device_memory_free_mb() -> int:
    """Return the GPU memory that is free on the device in use; 0 without one."""
    torch: Any = _torch()
    return int(torch.cuda.mem_get_info()[0]) // MIB if torch is not None else 0


def _torch() -> Any:
    """Return torch if the process has begun to use a GPU with it; it is never imported here."""
    torch: Any = sys.modules.get("torch")
    cuda: Any = getattr(torch, "cuda", None)  # absent while another thread imports torch
    ready = getattr(cuda, "is_initialized", None)
    return torch if ready is not None and ready() else None
