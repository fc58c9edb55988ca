"""Other settings while the broker works: queues added, changed, paused and removed; limits, timers.

Rule 1: what was accepted stays accepted. A task whose queue is removed goes to another one that can
hold it, and that its owner's key allows; if there is none, it ends as DEAD with the reason, which
an operator may undo.
Rule 2: what a change means for tasks is recorded like every other transition, in the same step as
the change itself, so a broker that is killed in between finds all of it or none.
"""

from collections.abc import Mapping

from attrs import define, frozen

from paintmq.broker.machine.admission import Admission
from paintmq.broker.machine.lifecycle import Lifecycle
from paintmq.broker.machine.membership import Membership
from paintmq.broker.machine.queues import refuge
from paintmq.broker.machine.tasks import TaskEntry, TaskTable
from paintmq.broker.records import SettingsChanged
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import Limits, QueueConfig, Timers
from paintmq.task import TaskState
from paintmq.wire.messages import Refused


@frozen(kw_only=True)
class Reconfiguration:
    """All that the machine may be told anew, whether it has changed or not."""

    queues: Mapping[str, QueueConfig]
    timers: Timers
    limits: Limits
    admission: str
    paused: tuple[str, ...] = ()
    """Queues whose tasks wait."""
    closed: tuple[str, ...] = ()
    """Queues that take no new tasks."""
    kept: str | None = None
    """What the journal is to keep, for the next start; None: what it has."""


@define
class Reconfigurer:
    """Applies other settings to the parts of a machine."""

    _tasks: TaskTable
    _life: Lifecycle
    _scheduler: Scheduler
    _admission: Admission
    _membership: Membership

    def apply(self, new: Reconfiguration, *, now: float) -> None:
        before, self._admission.queues = self._admission.queues, new.queues
        self._admission.strict = new.admission == "strict"
        self._admission.closed = new.closed
        self._scheduler.set_queues(
            devices={name: queue.device for name, queue in new.queues.items()},
            weights={name: queue.weight for name, queue in new.queues.items()},
        )
        if new.kept is not None:
            self._life.step.record(SettingsChanged(new.kept, now))
        for name in new.queues:
            self._tasks.know_queue(name)
        removed = [name for name in before if name not in new.queues]
        gone = [name for name in self._life.removed if name not in new.queues]
        self._life.removed = (*gone, *removed)
        self._pause(new.paused, now=now)
        if removed:
            self._leave(removed, now=now)

    def _pause(self, paused: tuple[str, ...], *, now: float) -> None:
        before, self._life.paused = self._life.paused, paused
        if before == paused:
            return
        for entry in self._tasks.in_state(TaskState.QUEUED):
            queue = entry.status.queue
            if (queue in before) == (queue in paused):
                continue
            if queue in paused:
                self._scheduler.remove(entry.id)
            else:
                self._scheduler.add(entry.waiting(), now=now)

    def _leave(self, removed: list[str], *, now: float) -> None:
        """Bring the tasks that wait in these queues, and the workers at home there, elsewhere."""
        for entry in self._tasks.in_state(TaskState.QUEUED):
            if entry.status.queue in removed:
                self._scheduler.remove(entry.id)
                self.move_elsewhere(entry, now=now)
        for worker in list(self._membership.sessions.workers.values()):
            if worker.hello.queue in removed:
                self._life.step.send(worker.peer, Refused(removed_text(worker.hello.queue)))
                self._membership.drop(worker.peer, now, gone=False)

    def collect_strays(self, *, now: float) -> None:
        """Bring tasks elsewhere that a worker gave back into a queue that is no more."""
        strays, self._life.strayed = self._life.strayed, []
        for entry in strays:
            if entry.status.state is TaskState.QUEUED:
                self.move_elsewhere(entry, now=now)

    def move_elsewhere(self, entry: TaskEntry, *, now: float) -> None:
        """Bring a waiting task of a queue that is no more into one that is, or end it."""
        assert entry.checked is not None
        self._life.step.at_work_on = entry.id
        found = refuge(self._admission.queues, entry.checked, entry.status.allowed)
        gone = entry.status.queue
        if not found.queues:
            limited = "" if entry.status.allowed is None else "of the queues of its owner's key, "
            reason = f"{removed_text(gone)}; {limited}{found.reason()}"
            self._life.abandon(entry, reason, now=now)
            return
        open_ones = [name for name in found.queues if name not in self._admission.closed]
        queue = self._scheduler.choose_queue(entry.checked, open_ones or found.queues, now=now)
        self._life.move(entry, queue, f"moved to {queue}: {removed_text(gone)}", now=now)


def removed_text(queue: str) -> str:
    return f"queue {queue} was removed"


def obey(parts: tuple[object, ...], timers: Timers, limits: Limits) -> None:
    """Hand out other timers and limits: each part of the machine has them under these names."""
    for part in parts:
        for name, value in (("_timers", timers), ("_limits", limits)):
            if hasattr(part, name):
                setattr(part, name, value)
