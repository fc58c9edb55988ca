"""What a worker owes the broker: one answer for every attempt it accepted.

Rule 1: an ending is repeated until the broker has recorded it. Rule 2: handing back is sent once;
if it is lost, the lease ends by itself. Rule 3: what was abandoned is never reported as done.
"""

from collections.abc import Iterable, Sequence

from attrs import define, field

from paintmq.task import TaskError
from paintmq.wire.messages import (
    Assignment,
    AttemptCrashed,
    AttemptFailed,
    AttemptReturned,
    AttemptSucceeded,
)
from paintmq.worker.channel.messages import AttemptsEnded, FromHost, Key, Outcome
from paintmq.worker.machine.batches import HeldAttempt
from paintmq.worker.machine.commands import Command, ReleaseInputs, ReleaseOutputs, SendToBroker
from paintmq.worker.machine.profile import WorkerTimers
from paintmq.worker.machine.unconfirmed import Ending, UnconfirmedEndings

MOST_ABANDONED = 256
"""Attempts remembered that were handed back before they came."""


@define
class Answers:
    """The attempts a worker holds, and the endings that wait to be recorded."""

    _timers: WorkerTimers
    held: dict[Key, HeldAttempt] = field(factory=dict[Key, HeldAttempt], init=False)
    endings: UnconfirmedEndings = field(init=False)
    _abandoned: dict[Key, None] = field(factory=dict[Key, None], init=False)
    """Handed back before they came: an order to stop may overtake a large assignment."""

    def __attrs_post_init__(self) -> None:
        self.endings = UnconfirmedEndings(self._timers)

    def accept(self, item: Assignment) -> HeldAttempt | None:
        """Take it on, and owe an answer for it; None for a duplicate of what is held or has ended,
        and for what was handed back before it came.
        """
        key = item.task.id, item.fence
        if key in self.held or self.endings.is_over(key) or key in self._abandoned:
            return None
        self.held[key] = held = HeldAttempt(item)
        return held

    def keys(self) -> tuple[Key, ...]:
        """Return every attempt that will still be answered for, as a heartbeat names them."""
        return (*self.held, *self.endings.keys())

    def end(self, ending: Ending, *, now: float) -> list[Command]:
        """Answer for good; outputs are kept until the answer is recorded."""
        key = ending.task_id, ending.fence
        self.held.pop(key, None)
        self.endings.add(ending, now=now)
        return [SendToBroker(ending), ReleaseInputs(*key)]

    def fail(self, keys: Iterable[Key], error: TaskError, *, now: float) -> list[Command]:
        commands: list[Command] = []
        for task_id, fence in keys:
            ending = AttemptFailed(task_id=task_id, fence=fence, error=error)
            commands += self.end(ending, now=now)
        return commands

    def crash(
        self, keys: Sequence[Key], detail: str, *, alone: bool, timed_out: bool = False, now: float
    ) -> list[Command]:
        """Report these as lost with the process; what was abandoned is merely handed back."""
        commands: list[Command] = []
        for key in keys:
            held = self.held.get(key)
            if held is not None and held.stop_at is not None:
                commands += self.hand_back(key, cancelled=True)
                continue
            ending = AttemptCrashed(
                task_id=key[0], fence=key[1], alone=alone, detail=detail, timed_out=timed_out
            )
            commands += self.end(ending, now=now)
        return commands

    def hand_back(self, key: Key, *, cancelled: bool) -> list[Command]:
        self.held.pop(key, None)
        self.endings.forget(key)
        returned = AttemptReturned(task_id=key[0], fence=key[1], cancelled=cancelled)
        return [SendToBroker(returned), ReleaseInputs(*key)]

    def hand_back_unseen(self, key: Key) -> list[Command]:
        """Hand back what is not held: it ended long ago, or has not come yet."""
        self._abandoned[key] = None
        if len(self._abandoned) > MOST_ABANDONED:
            del self._abandoned[next(iter(self._abandoned))]
        returned = AttemptReturned(task_id=key[0], fence=key[1], cancelled=True)
        return [SendToBroker(returned)]

    def settle(self, outcome: Outcome, *, now: float) -> list[Command]:
        """Turn what the host says of an attempt into the answer."""
        key = outcome.task_id, outcome.fence
        held = self.held.get(key)
        if held is None:
            return [] if key in self.endings else [ReleaseOutputs(*key)]
        if held.stop_at is not None or outcome.ending == "cancelled":
            return [*self.hand_back(key, cancelled=True), ReleaseOutputs(*key)]
        ending: Ending
        if outcome.ending == "succeeded" and outcome.error is None:
            ending = AttemptSucceeded(
                task_id=key[0], fence=key[1], outputs=outcome.outputs, ran=outcome.ran
            )
        else:
            error = outcome.error or TaskError(code="model_error", message="it gave no reason")
            ending = AttemptFailed(task_id=key[0], fence=key[1], error=error, ran=outcome.ran)
        return self.end(ending, now=now)

    def recorded(self, key: Key) -> list[Command]:
        """The broker has recorded the ending, or refused it as stale."""
        return [ReleaseOutputs(*key)] if self.endings.forget(key) else []

    def release_outputs(self, message: FromHost) -> list[Command]:
        """Return what frees the outputs of a message that comes too late to count.

        Those of an ending that is not recorded yet stay: they are sent again with it.
        """
        if not isinstance(message, AttemptsEnded):
            return []
        keys = [(outcome.task_id, outcome.fence) for outcome in message.outcomes]
        return [ReleaseOutputs(*key) for key in keys if key not in self.endings]
