"""What was unfinished when a broker stopped."""

from collections.abc import Mapping

from attrs import field, frozen

from paintmq.broker.machine import BrokerMachine
from paintmq.task import TaskId

MOST_CLIENTS = 3
"""Clients listed by name; the rest are only counted."""


@frozen(kw_only=True)
class StopReport:
    """What was unfinished when a broker stopped."""

    waiting: Mapping[str, int] = field(factory=dict[str, int])
    """Tasks that waited, by queue; queues without any are left out."""
    running: int = 0
    """Tasks that a worker held."""
    tasks: tuple[TaskId, ...] = ()
    """All of them, in order of acceptance."""
    kept: bool = False
    """The journal keeps them: the next broker on it goes on."""
    clients: tuple[str, ...] = ()
    """Names of the connected clients that wait for them."""

    def __str__(self) -> str:
        if not self.tasks:
            return "nothing was unfinished"
        parts = [f"{count} waiting in {queue}" for queue, count in self.waiting.items()]
        if self.running:
            parts.append(f"{self.running} running")
        fate = "kept in the journal" if self.kept else "lost, as the journal is in memory"
        shown = list(self.clients[:MOST_CLIENTS])
        if len(self.clients) > MOST_CLIENTS:
            shown.append(f"{len(self.clients) - MOST_CLIENTS} more")
        whose = f" (waited for by {', '.join(shown)})" if shown else ""
        return f"{', '.join(parts)}: {fate}{whose}"


def unfinished(machine: BrokerMachine, *, kept: bool) -> StopReport:
    """Return what a machine leaves behind."""
    waiting: dict[str, int] = {}
    running = 0
    tasks: list[TaskId] = []
    clients: dict[str, None] = {}
    for entry in machine.unfinished():
        tasks.append(entry.id)
        clients.update(dict.fromkeys(machine.watchers_of(entry)))
        if entry.status.state.is_leased:
            running += 1
        else:
            waiting[entry.status.queue] = waiting.get(entry.status.queue, 0) + 1
    return StopReport(
        waiting=waiting, running=running, tasks=tuple(tasks), kept=kept, clients=tuple(clients)
    )
