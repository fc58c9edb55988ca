"""Endings of attempts that the broker has not confirmed: repeated until AttemptRecorded."""

from math import inf
from typing import TypeAlias

from attrs import define, field

from paintmq.wire.messages import (
    AttemptCrashed,
    AttemptFailed,
    AttemptSucceeded,
    payloads_of,
)
from paintmq.worker.channel.messages import Key
from paintmq.worker.machine.profile import WorkerTimers

Ending: TypeAlias = AttemptSucceeded | AttemptFailed | AttemptCrashed

REMEMBERED = 1024
"""Recorded endings whose keys are kept, so that a late duplicate of an Assign is recognised."""


@define
class _Unrecorded:
    message: Ending
    wait: float
    repeat_at: float


@define
class UnconfirmedEndings:
    """What this worker has finished: unrecorded endings in full, recorded ones by key."""

    _timers: WorkerTimers
    _unrecorded: dict[Key, _Unrecorded] = field(factory=dict[Key, _Unrecorded], init=False)
    _recorded: dict[Key, None] = field(factory=dict[Key, None], init=False)

    def __len__(self) -> int:
        return len(self._unrecorded)

    def __contains__(self, key: Key) -> bool:
        return key in self._unrecorded

    def is_over(self, key: Key) -> bool:
        """Return whether this attempt has ended here, as far as memory goes back."""
        return key in self._unrecorded or key in self._recorded

    def keys(self) -> tuple[Key, ...]:
        return tuple(self._unrecorded)

    def messages(self) -> list[Ending]:
        return [entry.message for entry in self._unrecorded.values()]

    def add(self, message: Ending, *, now: float) -> None:
        size = sum(payload.size for payload in payloads_of(message))
        wait = self._timers.record_first + size / self._timers.bytes_per_second
        entry = _Unrecorded(message, wait, now + wait)
        self._unrecorded[message.task_id, message.fence] = entry

    def forget(self, key: Key) -> bool:
        """Stop repeating this ending, remember its key; return whether it was unrecorded."""
        self._recorded.pop(key, None)
        self._recorded[key] = None
        if len(self._recorded) > REMEMBERED:
            del self._recorded[next(iter(self._recorded))]
        return self._unrecorded.pop(key, None) is not None

    def pop_due(self, *, now: float) -> list[Ending]:
        """Return the endings to repeat now; their next repeat is further off."""
        due = []
        for entry in self._unrecorded.values():
            if entry.repeat_at <= now:
                entry.wait = min(2 * entry.wait, max(entry.wait, self._timers.record_most))
                entry.repeat_at = now + entry.wait
                due.append(entry.message)
        return due

    def next_deadline(self) -> float:
        """Return when an ending is to be repeated; infinity: none is."""
        if not self._unrecorded:
            return inf
        return min([entry.repeat_at for entry in self._unrecorded.values()])
