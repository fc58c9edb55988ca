"""Which peers are connected: they introduce themselves, keep in touch, and leave."""

from functools import partial

from attrs import define, field

from paintmq.broker.accounting.happening import Note
from paintmq.broker.machine.lifecycle import Lifecycle
from paintmq.broker.machine.sessions import Sessions, introduction_objection, version_objection
from paintmq.broker.machine.tasks import TaskEntry, TaskTable
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import Timers
from paintmq.task import PeerId
from paintmq.wire.messages import (
    OLDEST_PROTOCOL_VERSION,
    PROTOCOL_VERSION,
    ClientHello,
    Refused,
    WorkerHello,
)

LATE_HEARTBEATS = 2.0
"""A peer that was not heard for so many of its heartbeats is called silent."""


@define
class Membership:
    """Admits peers, and settles what a peer leaves behind."""

    sessions: Sessions
    _tasks: TaskTable
    _life: Lifecycle
    _scheduler: Scheduler
    _timers: Timers
    _heard: tuple[PeerId, float] | None = field(default=None, init=False)
    """Who was heard last, and when: a peer says much at the same time."""

    def refuses(self, peer: PeerId, hello: WorkerHello | ClientHello) -> bool:
        versions = hello.oldest, hello.newest
        objection = version_objection(
            *versions, ours=PROTOCOL_VERSION, our_oldest=OLDEST_PROTOCOL_VERSION
        ) or introduction_objection(hello)
        if objection:
            self._life.step.send(peer, Refused(objection))
        return bool(objection)

    def heard(self, peer: PeerId, now: float) -> None:
        if self._heard != (peer, now):
            self._heard = peer, now
            self._life.deadlines.set(("peer", peer, 0), now + self._timers.lease)

    def silence(self, peer: PeerId, now: float) -> float:
        """Return for how many seconds a peer has missed its heartbeats; 0 if it has not."""
        heard_until = self._life.deadlines.get(("peer", peer, 0))
        if heard_until is None:
            return 0.0
        silent = now - (heard_until - self._timers.lease)
        return silent if silent > LATE_HEARTBEATS * self._timers.heartbeat else 0.0

    def drop(self, peer: PeerId, now: float, *, gone: bool) -> None:
        """Forget a connection.

        ``gone``: the peer certainly will not come back, so tasks that depend on it end as well.
        """
        self._heard = None
        self._life.deadlines.discard(("peer", peer, 0))
        if (worker := self.sessions.workers.pop(peer, None)) is not None:
            hello = worker.hello
            self._life.step.observe(Note("left", queue=hello.queue, worker=hello.name))
            self._life.zombies.settle(peer, (), now=now)
            for entry in self.held_by(peer):
                if entry.delivered:
                    # The worker may come back and claim it; until then its lease runs.
                    self._scheduler.released(peer, entry.id, ran=None, now=now)
                    entry.session = None
                else:
                    self._life.lose(entry, now=now)
            self._scheduler.worker_left(peer, now=now)
        if self.sessions.clients.pop(peer, None) is not None:
            for entry in self._tasks.unwatch(peer):
                self._acknowledge(entry, now)
                leaves = gone and entry.request.cancel_on_disconnect and not entry.watchers
                if leaves and not entry.status.state.is_final:
                    self._life.cancel(entry, now=now)

    def confirm(self, entry: TaskEntry, peer: PeerId, now: float) -> None:
        """Record that a client of the task's owner has the result."""
        if entry.status.state.is_final and peer not in entry.confirmed:
            entry.confirmed = (*entry.confirmed, peer)
            self._acknowledge(entry, now)

    def _acknowledge(self, entry: TaskEntry, now: float) -> None:
        """Count the result as delivered once all clients of its owner have confirmed it.

        Those that are not connected any more are not waited for: they may come back for it within
        ``timers.result_kept``.
        """
        if not entry.confirmed:
            return
        if len(entry.watchers) == 1 and entry.watchers[0] in entry.confirmed:
            self._life.retention.acknowledge(entry, now=now)  # as nearly always
        elif not any(map(partial(self._awaits, entry), entry.watchers)):
            self._life.retention.acknowledge(entry, now=now)

    def _awaits(self, entry: TaskEntry, peer: PeerId) -> bool:
        """Return whether a client of the task's owner has not confirmed the result yet."""
        client = self.sessions.clients.get(peer)
        is_owners = client is not None and client.credentials.owns(entry.owner)
        return is_owners and peer not in entry.confirmed

    def held_by(self, peer: PeerId) -> list[TaskEntry]:
        return [entry for entry in self._tasks.leased() if entry.session == peer]
