"""PaintMQ inside a program: a broker, workers and a client of its own, behind one object.

Rule 1: no global state: every manager has its own ZeroMQ context, plugins, settings and ports, so
several may run in one process, and beside a service.
Rule 2: after ``stop``, or a ``start`` that failed, nothing is left: no thread, socket or process.
"""

import atexit
import logging
import os
import random
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from attrs import asdict, evolve, field, frozen

from paintmq.broker.machine.queues import feasibility
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.client.session import Session
from paintmq.client.task import Task
from paintmq.client.task_handle import TaskHandle
from paintmq.client.task_verbs import TaskVerbs
from paintmq.client.window import WindowLimits
from paintmq.config import Config, QueueConfig
from paintmq.embedded_ports import on_ports_of_its_own
from paintmq.errors import RejectedError, UnknownQueueError
from paintmq.monitoring.history import History
from paintmq.plugin.manager import PluginManager
from paintmq.statistics import BrokerStatistics, QueueStatistics
from paintmq.task import Json, TaskRequest
from paintmq.transport.sockets import new_context

if TYPE_CHECKING:
    from paintmq.broker.shell.server import BrokerServer
    from paintmq.broker.shell.stop_report import StopReport
    from paintmq.node.fleet import NodeFleet
    from paintmq.plugin.catalog import Catalog

logger = logging.getLogger(__name__)

_FORKED = (
    "this queue manager was started before the process forked, and its broker, workers and sockets"
    " stay with the parent; make another in each process"
)
_NOT_STARTED = "the queue manager is not started: call start(), or use it in a with statement"


@frozen
class _Running:
    """What exists between ``start`` and ``stop``."""

    session: Session
    endpoint: str
    """Where other programs on this machine reach the broker."""
    server: "BrokerServer"
    parts: ExitStack
    """Ends everything, in the reverse order of its start."""
    pid: int = field(factory=os.getpid)


class QueueManager(TaskVerbs):
    """The queues, a broker and this machine's workers; any thread may call any method.

    ``workers`` overrides the number of worker processes in the configuration: None is one for
    each GPU and one for the CPU, 0 is none. They start when the first task needs them.

    It listens on ports that happen to be free, so that it never stands in the way of a service or
    of another manager. A port that the configuration names is kept; the service's own ports (5550
    and 5555 to 5560, the defaults) count as named with ``usual_ports``, or in ``queue_configs``.

    ``queue_configs`` are the queues instead of those of the configuration, by name: each a
    ``QueueConfig``, or a dictionary such as ``{"port": 5555, "requirements": {"gpu": True,
    "gpu_memory": 8192, "models": ["sd15", "lama"]}}``. ``gpu``: its tasks run on a GPU;
    ``gpu_memory`` and ``memory``, megabytes, and ``cores``: the most that a task in it may need, so
    what a worker must have to run all of them; ``effort``: ``"light"``, ``"intensive"`` or
    ``"any"``; ``models``: names or patterns of those it takes, all if there are none. Without a
    port the system chooses one.

    Raises:
        ConfigError: something is wrong with ``queue_configs``: every problem, one a line.

    What was started lives until ``stop`` or the end of the program, also when no reference to the
    manager is left: handles of its tasks may still be waited for.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        workers: int | None = None,
        plugins: PluginManager | None = None,
        usual_ports: bool = False,
        queue_configs: Mapping[str, QueueConfig | Mapping[str, Any]] | None = None,
    ) -> None:
        config = config or Config()
        if queue_configs is not None:
            from paintmq.settings.requirements import queues_from

            config = evolve(config, queues=queues_from(queue_configs))
        self._names_queue_ports = queue_configs is not None
        if workers is not None:
            config = evolve(config, workers=evolve(config.workers, count=workers))
        self.config = config
        self._usual_ports = usual_ports
        self._given_plugins = plugins
        self._life = threading.RLock()
        """Held by ``start`` and ``stop`` alone: they wait for threads that may ask for the rest."""
        self._lock = threading.RLock()
        self._running: _Running | None = None
        self._session: Session | None = None
        self._history = History()
        self._loaded: PluginManager | None = None
        self._catalog_cache: Catalog | None = None
        self._router: Scheduler | None = None
        self._grace: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether tasks can be sent; never in a child process of the one that started it."""
        running = self._running
        return running is not None and running.pid == os.getpid()

    @property
    def endpoint(self) -> str:
        """The address at which other programs of this machine reach the broker, as clients.

        Raises:
            RuntimeError: the manager is not running.
        """
        return self._get_running().endpoint

    @property
    def queues(self) -> Mapping[str, QueueConfig]:
        """The queues by name: as configured, with what was changed since the start."""
        running = self._running
        return self.config.queues if running is None else running.server.settings.queues

    @property
    def plugins(self) -> PluginManager:
        """The plugins in use; looked for when they are first needed."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._given_plugins or PluginManager.installed(self.config.plugins)
            return self._loaded

    # ---- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the broker and open the queues; return when tasks can be sent.

        Raises:
            PortInUseError: a port that was named is taken; nothing is left running.
            StoreError: the journal cannot be opened; nothing is left running.
            RuntimeError: it is running already, or was when this process was forked.
        """
        with self._life:
            if (running := self._running) is not None:
                if running.pid != os.getpid():
                    raise RuntimeError(_FORKED)
                raise RuntimeError("the queue manager is running already; stop() it first")
            with ExitStack() as parts:
                self._running = self._start_parts(parts)
                self._session = self._running.session
        # A program that forgets stop(), or dies of an exception, leaves no worker process behind.
        atexit.register(self.stop, grace=0.0)

    def _start_parts(self, parts: ExitStack) -> _Running:
        from paintmq.broker.shell.server import BrokerServer
        from paintmq.monitoring.sampler import StatisticsSampler
        from paintmq.node.directions import Directions
        from paintmq.node.fleet import make_fleet

        config, plugins = self.config, self.plugins
        if not self._usual_ports:
            config = on_ports_of_its_own(config, keep_queues=self._names_queue_ports)
        context = new_context()
        server = BrokerServer(config, plugins, context=context)
        parts.callback(server.end_context, context)
        server.start()
        # What is started later is stopped earlier, with one exception: the broker drains while
        # workers can still bring results and the session can still take them.
        fleets: list[NodeFleet] = []
        session = Session(
            server.inproc_endpoint, context=context, name="queue manager", window=_NO_WINDOW
        )
        parts.callback(session.close, goodbye=0.0)  # the broker is gone by then
        parts.callback(_stop_fleets, fleets)
        parts.callback(self._stop_server, server)
        session.start()
        if config.workers.count != 0:
            fleet = make_fleet(
                config,
                plugins,
                queue_endpoints=server.queue_endpoints,
                client_endpoint=server.client_endpoint,
                context=context,
            )
            fleet.start()
            fleets.append(fleet)
            server.follow_queues(
                lambda: fleet.follow(
                    Directions(endpoints=server.queue_endpoints, queues=server.settings.queues)
                )
            )
        sampler = StatisticsSampler(config.monitoring, plugins, self.statistics)
        self._history = sampler.history
        sampler.start()
        parts.callback(sampler.stop)
        return _Running(session, server.client_endpoint, server, parts.pop_all())

    def _stop_server(self, server: "BrokerServer") -> None:
        self._report = server.stop(grace=self._grace)
        if self._report.tasks:
            logger.warning("stopped with unfinished tasks: %s", self._report)

    def stop(self, *, grace: float | None = None) -> "StopReport":
        """Stop the broker, then the workers; return and log what was unfinished.

        Attempts that run get ``grace`` seconds to end (None: ``timers.drain_grace``). Handles that
        still wait get a ManagerStoppedError; with a durable journal their tasks go on at the next
        start. Harmless to repeat.

        Raises:
            RuntimeError: in a callback of a handle, whose thread it would wait for.
        """
        from paintmq.broker.shell.stop_report import StopReport

        if self._session is not None and self._session.is_own_thread:
            raise RuntimeError(
                "stop() in a callback waits for the thread it runs in; call it from another"
            )
        running = self._running
        if running is not None and running.pid != os.getpid():
            return StopReport()  # a fork: broker, workers and sockets are the parent's
        with self._life:
            running, self._running = self._running, None
            self._grace, self._report = grace, StopReport()
            if running is not None:
                atexit.unregister(self.stop)
                running.parts.close()
            return self._report

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A block left by an exception waits for no running task.
        self.stop(grace=None if error is None else 0.0)

    # ---- tasks ---------------------------------------------------------------------------------

    def route_task(self, task: Task) -> str:
        """Return the queue the task belongs to: by what it needs and, while running, by load.

        Nothing has to be running for this, and no worker connected.

        Raises:
            UnknownModelError: no plugin provides the model; the text lists what is installed.
            InvalidTaskError: an option or input does not fit the model.
            RejectedError: no queue could ever hold the task; the text says why of each.
        """
        request = task.outline()
        checked = self._catalog.check(request)
        feasible = feasibility(self.queues, checked)
        if not feasible.queues:
            raise RejectedError(
                "no_queue_fits", f"no queue can hold this task: {feasible.reason()}"
            )
        if self.is_running:
            return self._ask_route(request)
        with self._lock:
            if self._router is None:
                self._router = _idle_scheduler(self.config, self.plugins)
            return self._router.choose_queue(checked, feasible.queues, now=0.0)

    def send_task(self, queue: str, task: Task) -> TaskHandle:
        """Put the task into the queue and return at once.

        What only the broker can know, such as a full queue, is raised by ``result()``. ``submit``
        does the same for a queue of the router's choice.

        Raises:
            UnknownQueueError: there is no such queue.
            InvalidInputError: an input's file cannot be read any more.
            RuntimeError: the manager is not running.
        """
        self._check_queue(queue)
        return self.submit(task, queue=queue)

    # ---- queues --------------------------------------------------------------------------------

    def add_queue(self, name: str, queue: QueueConfig | Mapping[str, Any]) -> None:
        """Add a queue while all runs: a ``QueueConfig``, or a dictionary as in ``queue_configs``.

        Raises:
            ConfigError: it cannot be, or there is one of that name.
            PortInUseError: its port is taken.
            RuntimeError: the manager is not running.
        """
        from paintmq.settings.requirements import queue_table

        self._change_queue("add", name, queue_table(queue))

    def update_queue(self, name: str, **settings: Any) -> None:
        """Change settings of a queue while all runs: fields of ``QueueConfig``. Another port or
        transport takes effect at the next start.

        Raises:
            ConfigError: there is no such queue, or a setting cannot be.
            RuntimeError: the manager is not running.
        """
        from paintmq.settings.requirements import queue_table

        self._change_queue("set", name, queue_table(settings))

    def remove_queue(self, name: str) -> None:
        """Remove a queue while all runs. Its waiting tasks go to others that can hold them; what
        none can ends as DEAD, with the reason.

        Raises:
            ConfigError: there is no such queue, or no other.
            RuntimeError: the manager is not running.
        """
        self._change_queue("remove", name, {})

    def _change_queue(self, action: str, name: str, settings: Mapping[str, Json]) -> None:
        server = self._get_running().server
        server.change_queue(action, name, settings)
        with self._lock:
            self._router = None  # it knew the queues as they were
        if server.settings.broker.durability == "memory":
            # The journal will not tell the next start; of ports, only named ones are kept.
            kept = {key: queue for key, queue in self.config.queues.items() if key in self.queues}
            changed = {key: queue for key, queue in self.queues.items() if key not in kept}
            if action == "set":
                kept[name] = evolve(self.queues[name], port=self.config.queues[name].port)
            self.config = evolve(self.config, queues={**kept, **changed})

    # ---- statistics ----------------------------------------------------------------------------

    @overload
    def get_queue_stats(self) -> dict[str, dict[str, Any]]: ...
    @overload
    def get_queue_stats(self, queue: str) -> dict[str, Any]: ...
    def get_queue_stats(self, queue: str | None = None) -> dict[str, Any]:
        """Return the statistics of every queue by name, or of one queue.

        The keys of one queue's are the fields of ``paintmq.statistics.QueueStatistics``, which says
        what each means: ``waiting``, ``running``, ``succeeded``, ``accepted``, ``throughput_1m``,
        ``wait``, ``capacity``, ``updated_at`` and so on. Plain values that fit into JSON. All zero
        while not running.

        Raises:
            UnknownQueueError: there is no such queue.
        """
        if queue is not None:
            self._check_queue(queue)
        queues = self.statistics().queues
        return asdict(queues[queue]) if queue else {n: asdict(q) for n, q in queues.items()}

    def statistics(self) -> BrokerStatistics:
        """Return the statistics of the broker and every queue; all zero while not running."""
        queues = {
            name: QueueStatistics(name=name, port=queue.port) for name, queue in self.queues.items()
        }
        running = self._running
        if running is None:
            return BrokerStatistics(queues=queues)
        answer = super().statistics()
        queues |= answer.queues
        for name, url in running.server.queue_endpoints.items():
            if name in queues:
                queues[name] = evolve(queues[name], port=_port(url))
        return evolve(answer, queues=queues)

    @property
    def history(self) -> History:
        """The samples of ``config.monitoring`` since the last start, a day's at most; what they
        say of throughput, in tasks a second: ``history.rate("succeeded", over=600)``.
        """
        return self._history

    def __repr__(self) -> str:
        state = f"at {self.endpoint}" if self.is_running else "not running"
        return f"<{type(self).__name__} {state}: {', '.join(self.queues)}>"

    # --------------------------------------------------------------------------------------------

    @property
    def _catalog(self) -> "Catalog":
        with self._lock:
            if self._catalog_cache is None:
                self._catalog_cache = self.plugins.catalog()
            return self._catalog_cache

    def _get_session(self) -> Session:
        return self._get_running().session

    def _ask_route(self, request: TaskRequest) -> str:
        inputs: list[Json] = [
            {"name": i.name, "size": i.size, "width": i.width, "height": i.height}
            for i in request.inputs
        ]
        question: dict[str, Any] = {
            "task_type": request.task_type,
            "model": request.model,
            "device": request.device,
            "options": dict(request.options),
            "inputs": inputs,
        }
        answer: Any = self.ask("route", **question)
        if "queue" in answer:
            return str(answer["queue"])
        raise RejectedError(answer["code"], answer["reason"], answer["retry_after"])

    def _get_running(self) -> _Running:
        running = self._running
        if running is None:
            raise RuntimeError(_NOT_STARTED)
        if running.pid != os.getpid():
            raise RuntimeError(_FORKED)
        return running

    def _check_queue(self, queue: str) -> None:
        if queue not in self.queues:
            raise UnknownQueueError(f"no queue {queue!r}; there are {', '.join(self.queues)}")


_NO_WINDOW = WindowLimits(tasks=1 << 40, bytes=1 << 60)
"""The broker refuses what is too much; ``send_task`` must not wait for room."""


def _idle_scheduler(config: Config, plugins: PluginManager) -> Scheduler:
    """Return a scheduler without load or workers, for routing while nothing runs."""
    return Scheduler(
        plugins.make_router(config.router),
        tenant_window=config.limits.tenant_window,
        rng=random.Random(0),
        queue_devices={name: queue.device for name, queue in config.queues.items()},
        queue_weights={name: queue.weight for name, queue in config.queues.items()},
    )


def _stop_fleets(fleets: "list[NodeFleet]") -> None:
    for fleet in fleets:
        fleet.stop(grace=0.0)


def _port(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])
