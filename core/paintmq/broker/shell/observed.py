"""What workers tell beside their work: their models' output and their machines' load.

It passes the machine by: nothing about a task depends on it, so it is neither recorded nor
journaled. A worker is believed about its own tasks alone.
"""

from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from paintmq.broker.accounting.log_book import KeptLine, LogBook, LoggedTask, log_filter
from paintmq.broker.machine import BrokerMachine, Credentials
from paintmq.statistics import NodeStatistics, ShellStatistics, SystemMetrics
from paintmq.task import Json, PeerId, TaskId
from paintmq.wire.messages import ModelLogged, NodeMeasured, WorkerHello

MOST_NODES = 500
FORGET_AFTER = 60.0
"""Seconds without a measurement after which the last one says nothing any more."""


@frozen
class _Measured:
    system: SystemMetrics
    at: float


@define
class Observed:
    """For the broker's thread."""

    _machine: BrokerMachine
    _statistics: ShellStatistics
    log: LogBook = field(factory=LogBook, init=False)
    lines: int = field(default=0, init=False)
    """Lines that it was told of."""
    _nodes: dict[str, _Measured] = field(factory=dict[str, _Measured], init=False)

    def hear(self, peer: PeerId, message: ModelLogged | NodeMeasured, *, now: float) -> None:
        """Take in what a worker tells; of one that has not introduced itself, nothing."""
        hello = self._machine.hello_of(peer)
        if hello is None:
            return
        if isinstance(message, ModelLogged):
            self._logged(hello, message, now)
        else:
            self._nodes.pop(hello.node, None)
            self._nodes[hello.node] = _Measured(message.system, now)
            if len(self._nodes) > MOST_NODES:
                del self._nodes[next(iter(self._nodes))]

    def leave_out(self, peer: PeerId, message: ModelLogged | NodeMeasured, *, now: float) -> None:
        """Count the lines of a worker that tells too much."""
        if isinstance(message, ModelLogged):
            lost = ModelLogged(dropped=message.dropped + len(message.lines))
            self.hear(peer, lost, now=now)

    def nodes(self, *, now: float) -> dict[str, NodeStatistics]:
        """Return the machines with connected workers, and what is known of their load."""
        workers: dict[str, int] = {}
        for hello in self._machine.hellos():
            workers[hello.node] = workers.get(hello.node, 0) + 1
        shown = {}
        for name in sorted(workers)[:MOST_NODES]:
            measured = self._nodes.get(name)
            if measured is not None and now - measured.at > FORGET_AFTER:
                measured = None
            shown[name] = NodeStatistics(
                name=name,
                workers=workers[name],
                age=0.0 if measured is None else now - measured.at,
                system=None if measured is None else measured.system,
            )
        return shown

    def logs(self, arguments: Mapping[str, Json], reader: Credentials) -> dict[str, Json]:
        """Return the lines after a number that this reader may be told.

        Raises:
            ValueError: the arguments make no sense.
        """
        after = arguments.get("after", 0)
        if not isinstance(after, int):
            raise ValueError(f"after = {after!r} is no number of a line")  # noqa: TRY004 -- theirs
        told = self.log.tell(after, log_filter(arguments), reader.sees, is_admin=reader.is_admin)
        return told.to_json()

    def _logged(self, hello: WorkerHello, message: ModelLogged, now: float) -> None:
        lines = [
            KeptLine(
                at=now - line.age,
                worker=hello.name,
                text=line.text,
                level=line.level,
                tasks=self._tasks(hello, line.tasks),
            )
            for line in message.lines
        ]
        if message.dropped:
            lines.append(KeptLine(at=now, worker=hello.name, text="", dropped=message.dropped))
        self.log.add(lines)
        self.lines += len(message.lines)
        self._statistics.log_lines_dropped += message.dropped

    def _tasks(self, hello: WorkerHello, ids: Iterable[TaskId]) -> tuple[LoggedTask, ...]:
        """Return the tasks of a line; none if one of them is not, or was not last, this worker's:
        then it is not known who may read it.
        """
        tasks = []
        for task_id in ids:
            stored = self._machine.stored_task(task_id)
            if stored is None or stored.status.worker != hello.name:
                return ()
            tasks.append(LoggedTask(task_id, stored.status.owner))
        return tuple(tasks)
