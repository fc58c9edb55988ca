"""Files in memory without names, opened by other processes of the same user.

The maker says its process id and descriptor; whoever may look into that process (the same user, in
the same process namespace) opens ``/proc/PROCESS/fd/DESCRIPTOR``. The system shows there which file
it is: its label has 16 random bytes, so nobody opens another file by mistake, on another machine
or in another container. A secret in the file, said back, proves that it was opened.
"""

import fcntl
import mmap
import os
import secrets
from contextlib import suppress
from pathlib import Path

from attrs import define, field

from paintmq.shared_memory.reference import PAGE, Whereabouts

_LABEL = "paintmq-"
_SEALS = getattr(fcntl, "F_SEAL_SHRINK", 0) | getattr(fcntl, "F_SEAL_GROW", 0)
SECRET_BYTES = 16


@define(eq=False)
class MemoryFile:
    """An open file in memory; it is closed with the last thing that refers to this object."""

    descriptor: int
    size: int
    arena: bytes
    _writable: mmap.mmap | None = field(default=None, init=False)

    @property
    def where(self) -> Whereabouts:
        """Where other processes can open it, as long as this one has it."""
        return Whereabouts(os.getpid(), self.descriptor, self.arena)

    @property
    def secret(self) -> bytes:
        return os.pread(self.descriptor, SECRET_BYTES, 0)

    def whole(self) -> mmap.mmap:
        """Return all of it, to be written to: mapped once, as mapping costs more than copying.

        Raises:
            OSError: there are no addresses left for it.
        """
        if self._writable is None:
            self._writable = mmap.mmap(self.descriptor, self.size)
        return self._writable

    def give_back(self, offset: int, length: int) -> None:
        """Give memory back to the system; what lies there is lost."""
        with suppress(OSError, ValueError):
            self.whole().madvise(mmap.MADV_REMOVE, offset, length)

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self.descriptor)


def make_file(size: int) -> MemoryFile | None:
    """Make a file of ``size`` bytes; None where the system cannot share memory like this."""
    if mmap.ALLOCATIONGRANULARITY != PAGE:
        return None
    arena = secrets.token_bytes(16)
    try:
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        file = MemoryFile(os.memfd_create(_LABEL + arena.hex(), flags), size, arena)
    except (AttributeError, OSError):  # no Linux, or a system that forbids it
        return None
    try:
        os.ftruncate(file.descriptor, size)
        os.pwrite(file.descriptor, secrets.token_bytes(SECRET_BYTES), 0)
        fcntl.fcntl(file.descriptor, fcntl.F_ADD_SEALS, _SEALS | fcntl.F_SEAL_SEAL)
    except OSError:
        return None
    return file


def open_file(where: Whereabouts) -> MemoryFile | None:
    """Open the file there; None if it cannot be reached from here, or is not the one named."""
    path = f"/proc/{where.process}/fd/{where.descriptor}"
    label = f"/memfd:{_LABEL}{where.arena.hex()} (deleted)"
    try:
        if (
            str(Path(path).readlink()) != label
        ):  # before it is opened: it might be a terminal or a pipe
            return None
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    file = MemoryFile(descriptor, 0, where.arena)
    try:
        is_the_same = str(Path(f"/proc/self/fd/{descriptor}").readlink()) == label
        is_sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
        file.size = os.fstat(descriptor).st_size
    except OSError:
        return None
    return file if is_the_same and is_sealed else None
