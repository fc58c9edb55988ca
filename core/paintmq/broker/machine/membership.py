"""Which peers are connected: they introduce themselves, keep in touch, and leave."""

from attrs import define

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


@define
class Membership:
    """Admits peers, and settles what a peer leaves behind."""

    sessions: Sessions
    _tasks: TaskTable
    _life: Lifecycle
    _scheduler: Scheduler
    _timers: Timers

    def refuses(self, peer: PeerId, hello: WorkerHello | ClientHello) -> bool:
        versions = hello.oldest, hello.newest
        objection = version_objection(
            *versions, ours=PROTOCOL_VERSION, our_oldest=OLDEST_PROTOCOL_VERSION
        ) or introduction_objection(hello)
        if objection:
            self._life.step.send(peer, Refused(objection))
        return bool(objection)

    def heard(self, peer: PeerId, now: float) -> None:
        self._life.deadlines.set(("peer", peer, 0), now + self._timers.lease)

    def drop(self, peer: PeerId, now: float, *, gone: bool) -> None:
        """Forget a connection.

        ``gone``: the peer certainly will not come back, so tasks that depend on it end as well.
        """
        self._life.deadlines.discard(("peer", peer, 0))
        if self.sessions.workers.pop(peer, None) is not None:
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
                leaves = gone and entry.request.cancel_on_disconnect and not entry.watchers
                if leaves and not entry.status.state.is_final:
                    self._life.cancel(entry, now=now)

    def held_by(self, peer: PeerId) -> list[TaskEntry]:
        return [entry for entry in self._tasks.leased() if entry.session == peer]
