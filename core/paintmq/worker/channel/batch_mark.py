"""Which batch a model host is working on, written by the host itself before it touches a payload.

The mark lies in the crash journal of its worker (``crash_journal.py``), in shared memory, so that
it outlives host and node together. It names the journal's run: what a host of an earlier node
writes in its last moments means nothing to the next.
"""

import os

from attrs import define

from paintmq.worker.channel.messages import MarkPlace

MARK_SIZE = 40
"""Bytes at the beginning of the journal's file that the host writes."""


@define(eq=False)
class BatchMark:
    """The host's end of the mark."""

    _descriptor: int
    _run: str

    @classmethod
    def at(cls, place: MarkPlace) -> "BatchMark":
        """Return the mark at this place; if it cannot be opened, one that records nothing."""
        try:
            flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(place.path, flags) if place.path else -1
        except OSError:
            descriptor = -1
        return cls(descriptor, place.run)

    def set(self, batch: int) -> bool:
        """Record that this batch's payloads are touched from now on.

        Returns whether the agent can see that here; else it has to be told.
        """
        if self._descriptor < 0:
            return False
        try:
            os.pwrite(self._descriptor, _text(self._run, batch), 0)
        except OSError:  # memory is full: no reason to fail a task
            return False
        return True

    def leave_in_child(self) -> None:
        """Close the file in a child that a model has forked: the mark is its parent's."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def clear(self) -> None:
        """Record that no payload is touched."""
        self.set(0)


def marked_batch(text: bytes, run: str) -> int:
    """Return the number of the batch that a host of this run was working on; 0 if none."""
    name, _, number = text.decode(errors="replace").rstrip().partition(" ")
    return int(number) if name == run and number.isdecimal() else 0


def _text(run: str, batch: int) -> bytes:
    # A single write is either complete or absent for a reader after our death.
    return f"{run} {batch}".ljust(MARK_SIZE).encode()
