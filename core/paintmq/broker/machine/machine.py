"""The broker as a pure state machine: messages in, records and messages out.

It has no socket, clock or thread: ``now`` is an argument, so that tests, the simulation and the
server run the same code. Inputs are dispatched to the handlers of clients and workers here; the
transitions of a task are in ``lifecycle.py``, the choice of its worker in ``scheduler.py``.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import assert_never

from paintmq.broker.accounting.happening import Happening
from paintmq.broker.machine.admission import Admission
from paintmq.broker.machine.client_handler import ClientHandler
from paintmq.broker.machine.control import ControlRequests
from paintmq.broker.machine.credentials import NO_KEYS, Credentials
from paintmq.broker.machine.leases import Leases
from paintmq.broker.machine.lifecycle import Lifecycle
from paintmq.broker.machine.membership import Membership
from paintmq.broker.machine.orders import Orders
from paintmq.broker.machine.reconfiguration import Reconfiguration, Reconfigurer, obey
from paintmq.broker.machine.retention import Retention
from paintmq.broker.machine.sessions import Sessions
from paintmq.broker.machine.step import DeadlineKey, Send, Step, StepBuilder
from paintmq.broker.machine.tasks import TaskEntry, TaskTable
from paintmq.broker.machine.transitions import TIMERS
from paintmq.broker.machine.worker_handler import WorkerHandler
from paintmq.broker.machine.zombies import ZombieAttempts
from paintmq.broker.records import BrokerBooted, StoredTask
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import Limits, QueueConfig, Timers
from paintmq.deadlines import Deadlines
from paintmq.errors import InvalidTaskError
from paintmq.plugin.catalog import Catalog, CheckedTask
from paintmq.routing import Router
from paintmq.statistics import BrokerStatistics
from paintmq.task import PeerId, TaskId, TaskRequest, TaskState
from paintmq.wire.messages import (
    ClientGoodbye,
    ClientHello,
    Preload,
    ToBroker,
    WhoAreYou,
    WorkerGoodbye,
    WorkerHello,
)

__all__ = ["BrokerMachine", "Send", "Step"]

PURGED_AT_ONCE, PURGE_PAUSE = 64, 0.02
"""Confirmed results that one step purges while the disk is full, and seconds until the next such
step: other messages must not wait for thousands of them."""


class BrokerMachine:
    """All queue state of one broker.

    Guarantees: an accepted task reaches exactly one ending, whatever messages arrive in whatever
    order; an answer with an old fence changes nothing; no worker holds more than its credit.
    """

    def __init__(
        self,
        *,
        incarnation: int,
        catalog: Catalog,
        scheduler: Scheduler,
        queues: Mapping[str, QueueConfig],
        timers: Timers,
        limits: Limits,
        admission: str,
        rng: random.Random,
        observe: Callable[[Happening], None] | None = None,
    ) -> None:
        self._incarnation = incarnation
        self._timers = timers
        self._scheduler = scheduler
        self._tasks = TaskTable.for_queues(queues)
        self._sessions = Sessions()
        deadlines = Deadlines[DeadlineKey]()
        step = StepBuilder(self._tasks, deadlines)
        if observe is not None:
            step.observe = observe
        self._leases = Leases(step, self._sessions, scheduler, timers, incarnation)
        self._life = Lifecycle(
            step,
            scheduler,
            deadlines,
            ZombieAttempts(scheduler, deadlines, timers.cancel_grace + timers.lease),
            Retention(step, timers, limits),
            timers,
            limits,
            rng,
        )
        self._admission = Admission(
            catalog, queues, scheduler, self._tasks, limits, strict=admission == "strict"
        )
        self._membership = Membership(self._sessions, self._tasks, self._life, scheduler, timers)
        self._workers = WorkerHandler(
            incarnation,
            self._membership,
            self._tasks,
            self._life,
            self._leases,
            scheduler,
            timers,
            limits,
        )
        orders = Orders(
            self._tasks,
            self._sessions,
            self._life,
            scheduler,
            self._admission,
            self._workers.rejoin,
        )
        self._control = ControlRequests(
            self._tasks,
            self._sessions,
            self._membership,
            self._life,
            self._leases,
            scheduler,
            self._admission,
            orders,
        )
        self._clients = ClientHandler(
            incarnation,
            self._membership,
            self._tasks,
            self._life,
            scheduler,
            self._admission,
            self._control,
            timers,
        )
        self._reconfigurer = Reconfigurer(
            self._tasks, self._life, scheduler, self._admission, self._membership
        )
        self._parts = (
            self._leases,
            self._life,
            self._life.retention,
            self._admission,
            self._membership,
            self._clients,
            self._workers,
        )
        self._now = 0.0
        self._is_open = False
        """Whether messages were taken in whose step is not finished."""

    # ---- inputs --------------------------------------------------------------------------------

    def restore(self, tasks: Sequence[StoredTask], *, now: float) -> Step:
        """Take over the tasks that the journal held. Call this once, before anything else."""
        self._control.started_at = now
        for task in tasks:
            entry = TaskEntry(task.request, task.status, self._checked(task.request))
            self._life.restore(entry, now=now)
        step = self._finish_step(now)
        return Step((BrokerBooted(self._incarnation, now), *step.records), step.sends)

    def receive(
        self,
        peer: PeerId,
        message: ToBroker,
        *,
        now: float,
        credentials: Credentials = NO_KEYS,
    ) -> Step:
        """Handle a message from a client or a worker, whose key says this of it."""
        self.take_in(peer, message, now=now, credentials=credentials)
        return self.finish(now=now)

    def take_in(
        self,
        peer: PeerId,
        message: ToBroker,
        *,
        now: float,
        credentials: Credentials = NO_KEYS,
    ) -> int:
        """Handle a message as ``receive`` does, but let others share its step: see ``finish``.

        Returns how many records the open step has: those of a message are the ones it added.

        What one step costs, the choice of tasks for free workers above all, is then paid once for
        all that arrived together, and the workers are given fuller batches.
        """
        if now != self._now or not self._is_open:
            # What falls due at the very time of a step that is open can wait for its end.
            self._is_open = True
            self._advance(now)
        self._life.step.at_work_on = None
        worker = self._sessions.workers.get(peer)
        if worker is not None:
            self._workers.receive(worker, message, now, credentials)
        elif peer in self._sessions.clients:
            self._clients.receive(peer, message, now, credentials)
        elif isinstance(message, WorkerHello):
            self._workers.hello(peer, message, now, credentials)
        elif isinstance(message, ClientHello):
            self._clients.hello(peer, message, now, credentials)
        elif not isinstance(message, ClientGoodbye | WorkerGoodbye):
            # The peer knows an earlier broker at this address, or was silent for too long. It will
            # introduce itself and repeat what it said.
            self._workers.heard_of_stranger(message)
            self._life.step.send(peer, WhoAreYou())
        return len(self._life.step.records)

    def finish(self, *, now: float) -> Step:
        """Close the step of all messages that were taken in; call it at the same ``now``."""
        return self._finish_step(now)

    def recover(self, reason: str, *, now: float) -> Step:
        """Clean up after an input whose handling raised an exception.

        The task that was being dealt with ends as DEAD, for this reason. What was changed before
        the exception stands; its records and messages are in the step. If this raises too, call it
        once more: then the task is left as it is.
        """
        task_id, self._life.step.at_work_on = self._life.step.at_work_on, None
        entry = None if task_id is None else self._tasks.get(task_id)
        if entry is not None and not entry.status.state.is_final:
            self._life.give_up(entry, f"the broker failed on this task: {reason}", now=now)
        self._is_open = False
        return self._life.step.take()

    def peer_lost(self, peer: PeerId, *, now: float) -> Step:
        """Record that a peer cannot be reached. It may come back, so its leases continue."""
        self._advance(now)
        self._membership.drop(peer, now, gone=False)
        return self._finish_step(now)

    def tick(self, *, now: float) -> Step:
        """Act on every deadline that has passed."""
        self._advance(now)
        return self._finish_step(now)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` should next be called; None if nothing can fall due."""
        deadline = self._life.deadlines.next()
        if self._admission.disk_full and self._life.retention.keeps_confirmed:
            purge = self._now + PURGE_PAUSE
            deadline = purge if deadline is None else min(deadline, purge)
        if self._admission.draining:
            return deadline  # nothing more is dispatched, so no end of a backoff matters
        wakeup = self._scheduler.next_wakeup(now=self._now)
        if wakeup is None or deadline is None:
            return deadline if wakeup is None else wakeup
        return min(wakeup, deadline)

    def replace_router(self, router: Router, *, now: float) -> Step:
        """Use another router from now on; tasks and leases are unaffected."""
        self._advance(now)
        self._scheduler.replace_router(router, now=now)
        return self._finish_step(now)

    def reconfigure(self, new: Reconfiguration, *, now: float) -> Step:
        """Use other settings from now on; no accepted task is lost by it."""
        self._advance(now)
        self._timers = new.timers
        obey(self._parts, new.timers, new.limits)
        self._reconfigurer.apply(new, now=now)
        return self._finish_step(now)

    def set_disk_full(self, *, full: bool) -> None:
        """Refuse new tasks while the disk is full; running tasks are still recorded."""
        self._admission.disk_full = full

    def set_disk_busy(self, *, busy: bool) -> None:
        """Refuse new tasks while too many records wait to be written."""
        self._admission.disk_busy = busy

    def set_draining(self) -> None:
        """Accept and dispatch nothing more; running attempts may still end."""
        self._admission.draining = True

    # ---- outputs -------------------------------------------------------------------------------

    def statistics(self, *, now: float) -> BrokerStatistics:
        return self._control.statistics(now=now)

    def knows(self, task_id: TaskId, credentials: Credentials) -> bool:
        """Return whether a peer with these credentials may learn of the task, and there is one."""
        return self._tasks.seen_by(credentials, task_id) is not None

    def stored_task(self, task_id: TaskId) -> StoredTask | None:
        """Return one task as the journal must hold it; None if it is unknown."""
        entry = self._tasks.get(task_id)
        return None if entry is None else StoredTask(entry.request, entry.status)

    def progress_of(self, task_id: TaskId) -> tuple[StoredTask, int, int] | None:
        """Return a running task and how far it is, a step of a total; None if it does not run."""
        entry = self._tasks.get(task_id)
        if entry is None or entry.status.state is not TaskState.RUNNING:
            return None
        return StoredTask(entry.request, entry.status), entry.step, entry.total

    def hello_of(self, peer: PeerId) -> WorkerHello | None:
        """Return how a connected worker has introduced itself; None if there is none."""
        worker = self._sessions.workers.get(peer)
        return None if worker is None else worker.hello

    def hellos(self) -> list[WorkerHello]:
        """Return how the connected workers have introduced themselves."""
        return [worker.hello for worker in self._sessions.workers.values()]

    def stored(self) -> dict[TaskId, StoredTask]:
        """Return all tasks as a restart from the journal must find them."""
        return self._tasks.stored()

    def is_idle(self) -> bool:
        """Return whether no attempt is running."""
        return not self._tasks.any_leased

    def leased(self) -> list[TaskEntry]:
        """Return the tasks that workers hold."""
        return self._tasks.leased()

    def unfinished(self) -> Iterable[TaskEntry]:
        """Return the tasks that have not ended, in order of acceptance."""
        return (entry for entry in self._tasks if not entry.status.state.is_final)

    def watchers_of(self, entry: TaskEntry) -> list[str]:
        """Return the names of the connected clients that watch the task."""
        clients = (self._sessions.clients.get(peer) for peer in entry.watchers)
        return [client.hello.name for client in clients if client is not None]

    def check_invariants(self) -> None:
        """Raise AssertionError if the state contradicts itself; for tests and simulations."""
        self._tasks.check_invariants()
        self._scheduler.check_invariants()
        deadlines = self._life.deadlines
        for entry in self._tasks:
            state = entry.status.state
            timers = set(entry.timers)
            assert TIMERS[state].allow(timers), f"{entry.id} is {state} with the timers {timers}"
            first = min(entry.timers.values(), default=None)
            assert deadlines.get(("task", entry.id, 0)) == first, f"{entry.id}: its first timer"
            assert state.is_leased or entry.session is None, f"{entry.id} is {state} on a worker"
            if state is TaskState.QUEUED and entry.status.queue not in self._life.paused:
                assert self._scheduler.is_waiting(entry.id), (
                    f"{entry.id} is queued, but not in the scheduler"
                )

    def conserves_work(self, *, now: float) -> bool:
        """Return whether no task waits that an idle worker could take and the router would give it.

        For tests and simulations.
        """
        return self._scheduler.conserves_work(now=now)

    # ---- time ----------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        self._now = now
        if self._admission.disk_full:
            self._life.retention.purge_confirmed(at_most=PURGED_AT_ONCE)
        for kind, key, number in self._life.deadlines.pop_due(now):
            if kind == "peer":
                assert isinstance(key, bytes)
                self._membership.drop(PeerId(key), now, gone=True)
                continue
            assert isinstance(key, str)
            task_id = TaskId(key)
            if kind == "zombie":
                self._life.zombies.leave(task_id, number, now=now)
                continue
            self._life.step.at_work_on = task_id
            entry = self._tasks.get(task_id)
            assert entry is not None
            match min(entry.timers, key=entry.timers.__getitem__):
                case "expire":
                    self._life.expire(entry, now=now)
                case "exclusion":
                    self._life.forgive(entry, now=now)
                case "lease":
                    self._life.lose(entry, now=now)
                case "run":
                    self._life.lose(entry, overdue=True, now=now)
                case "purge":
                    self._life.retention.purge(entry)
                case never:
                    assert_never(never)

    def _finish_step(self, now: float) -> Step:
        self._is_open = False
        if self._life.strayed:
            self._reconfigurer.collect_strays(now=now)
        self._life.step.at_work_on = None
        if not self._admission.draining:
            self._leases.dispatch(now=now)
            while (preload := self._scheduler.next_preload(now=now)) is not None:
                session, model = preload
                self._life.step.send(session, Preload(model))
        return self._life.step.take()

    def _checked(self, request: TaskRequest) -> CheckedTask | None:
        try:
            return self._admission.catalog.check(request)
        except InvalidTaskError:
            return None
