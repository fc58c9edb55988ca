"""The workers of one machine in one loop: started, watched, drained, and cleaned up."""

import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence

from attrs import evolve

from paintmq.config import Config
from paintmq.errors import ConfigError, PaintMQError
from paintmq.node.capabilities import Capabilities, detect
from paintmq.node.directions import Directions
from paintmq.node.node_meter import NodeMeter
from paintmq.node.worker_plan import WorkerPlan
from paintmq.plugin.manager import PluginManager
from paintmq.task import TaskId
from paintmq.transport.key_files import LOCAL_WORKER, own_key
from paintmq.transport.sockets import Context, new_context
from paintmq.transport.wakeup import Wakeup
from paintmq.worker.agent.agent import AgentSetup, WorkerAgent
from paintmq.worker.agent.crash_journal import CrashJournal, runtime_folder
from paintmq.worker.agent.host_process import sweep_scratch
from paintmq.worker.agent.known_broker import KnownBroker
from paintmq.worker.agent.observations import not_measured
from paintmq.worker.agent.readiness import Readiness
from paintmq.worker.agent.strays import sweep_strays
from paintmq.worker.machine.profile import WorkerTimers

LONGEST_WAIT = 5.0
"""Seconds of the loop's sleep at most."""

logger = logging.getLogger(__name__)


class NodeSupervisor:
    """Keeps this machine's workers alive: ``start`` and ``stop``, or ``run`` in the foreground.

    ``stop`` may be called from any thread or signal handler, more than once; when it returns
    nothing is left: no thread, socket, process or file.
    """

    def __init__(
        self,
        config: Config,
        plugins: PluginManager,
        *,
        queue_endpoints: Mapping[str, str],
        context: "Context | None" = None,
        name: str = "",
        capabilities: Capabilities | None = None,
        worker_timers: WorkerTimers | None = None,
        known: KnownBroker | None = None,
    ) -> None:
        """Take what it needs; nothing is started yet.

        Args:
            config: the settings; of its queues, those with an endpoint count.
            plugins: for the models that are installed here.
            queue_endpoints: where workers connect, by queue.
            context: a ZeroMQ context to share; None: one of its own.
            name: of the node; empty: the machine's.
            capabilities: of the machine; None: what is found.
            worker_timers: the patience of its workers.
            known: the broker they belong to; None: whoever answers at these endpoints.
        """
        self.name = name or socket.gethostname()
        self._config = config
        self._plugins = plugins
        self._queue_endpoints = queue_endpoints
        self._context = context
        self._capabilities = capabilities
        self._timers = worker_timers or WorkerTimers()
        self._known = known or KnownBroker()
        self._found: Capabilities | None = None
        self._loop: _NodeLoop | None = None
        self._thread: threading.Thread | None = None
        self.failure: Exception | None = None
        """The exception that ended a started node's thread, if one did."""

    def start(self) -> None:
        """Start the workers' agents in a thread; model hosts start when they are needed.

        Raises:
            PaintMQError: it runs already, or the settings fit no worker of this machine.
        """
        if self._thread is not None and self._thread.is_alive():
            raise PaintMQError(f"node {self.name} runs already")
        self._loop = self._make_loop()
        self.failure = None
        # A program that ends without stopping its node must still end.
        self._thread = threading.Thread(
            target=self._run_logged,
            args=(self._loop,),
            name=f"paintmq-node-{self.name}",
            daemon=True,
        )
        self._thread.start()

    def run(self) -> None:
        """Work in this thread until ``stop`` is called or the broker has drained all workers.

        Raises:
            PaintMQError: the settings fit no worker of this machine.
        """
        self._loop = self._make_loop()
        self._loop.run()

    def stop(self, *, grace: float | None = None) -> None:
        """Take nothing more, let what runs finish within ``grace`` seconds, and end everything.

        What does not finish is handed back. A second call can only shorten the first one's grace.
        """
        self.request_stop(grace=grace)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def request_stop(self, *, grace: float | None = None) -> None:
        """Ask for what ``stop`` does, and return at once."""
        if self._loop is not None:
            self._loop.request_stop(self._config.timers.drain_grace if grace is None else grace)

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for a started node to end; return whether it has."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def follow(self, directions: Directions) -> None:
        """Have each worker go to the queue that is its home by these directions, with all that it
        holds, and to come back where it stayed away. Safe in any thread; nothing while not running.
        """
        if self._loop is not None:
            self._loop.follow(self._plan(directions, self._found or detect()))

    @property
    def homes(self) -> Mapping[str, str]:
        """The queues that workers of this node connect to, and their addresses."""
        return self._loop.homes if self._loop is not None else {}

    @property
    def workers(self) -> tuple[str, ...]:
        """The names of the workers that have not left."""
        return self._loop.workers if self._loop is not None else ()

    @property
    def handed_back(self) -> tuple[TaskId, ...]:
        """The tasks that workers which have left gave back, unharmed, for others to run."""
        return tuple(self._loop.handed_back) if self._loop is not None else ()

    def _run_logged(self, loop: "_NodeLoop") -> None:
        try:
            loop.run()
        except Exception as error:
            logger.exception("node %s has stopped by itself", self.name)
            self.failure = error

    def _make_loop(self) -> "_NodeLoop":
        capabilities = self._found = self._capabilities or detect()
        directions = Directions(endpoints=self._queue_endpoints, queues={})
        config = self._config.monitoring
        setups = self._plan(directions, capabilities).setups()
        logger.info(
            "node %s: %d cores, %d MB, %s; workers: %s",
            self.name,
            capabilities.cores,
            capabilities.memory_mb,
            ", ".join(gpu.name for gpu in capabilities.gpus) or capabilities.no_gpus_because,
            ", ".join(setup.profile.name for setup in setups) or "none",
        )
        measures = config.enabled and config.collect_system_metrics
        return _NodeLoop(setups, self._context, self._known, NodeMeter() if measures else None)

    def _plan(self, directions: Directions, capabilities: Capabilities) -> WorkerPlan:
        config = self._config
        if directions.queues:
            config = evolve(config, queues=directions.queues)
        return WorkerPlan(
            config=config,
            specs=self._plugins.catalog().specs,
            capabilities=capabilities,
            node=self.name,
            queue_endpoints=directions.endpoints,
            worker_timers=self._timers,
            key=own_key(self._config.broker, LOCAL_WORKER),
        )


class _NodeLoop:
    """One run of a node, from its agents' first hello to the last goodbye."""

    def __init__(
        self,
        setups: Sequence[AgentSetup],
        context: "Context | None",
        known: KnownBroker,
        meter: NodeMeter | None,
    ) -> None:
        self._meter = meter
        self._context = context or new_context()
        self._owns_context = context is None
        self._readiness = Readiness()
        self._wakeup = Wakeup()
        self._grace: float | None = None
        self._new_plan: WorkerPlan | None = None
        self.handed_back: list[TaskId] = []
        sweep_strays()
        sweep_scratch()
        folder = runtime_folder()
        journals = [CrashJournal.open(folder, setup.profile.name) for setup in setups]
        self._found = sum(journal is not None and journal.found is not None for journal in journals)
        self._agents = [
            WorkerAgent(
                setup,
                context=self._context,
                readiness=self._readiness,
                journal=journal,
                known=known,
                measure=not_measured if meter is None else meter.take,
            )
            for setup, journal in zip(setups, journals, strict=True)
        ]

    @property
    def workers(self) -> tuple[str, ...]:
        return tuple(agent.name for agent in self._agents)

    def request_stop(self, grace: float) -> None:
        """Ask the loop to end; safe from any thread or signal handler."""
        self._grace = grace if self._grace is None else min(grace, self._grace)
        self._wakeup.set()

    @property
    def homes(self) -> Mapping[str, str]:
        return {agent.profile.queue: agent.endpoint for agent in tuple(self._agents)}

    def follow(self, plan: WorkerPlan) -> None:
        """Ask the loop to bring each worker to its home by this plan; safe from any thread."""
        self._new_plan = plan
        self._wakeup.set()

    def run(self) -> None:
        """Serve the agents until they have all left; leave nothing behind, whatever happens."""
        try:
            if self._meter is not None:
                self._meter.start()
            self._readiness.watch(self._wakeup.fileno(), self._wake_up)
            for agent in self._agents:
                agent.start(found_alone=self._found == 1)
            self._serve()
        finally:
            self._close()

    def _serve(self) -> None:
        while self._agents:
            deadline = min(agent.next_deadline() for agent in self._agents)
            self._readiness.wait(min(max(deadline - time.monotonic(), 0.0), LONGEST_WAIT))
            for agent in list(self._agents):
                agent.tick()
                if agent.has_left:
                    self.handed_back += agent.handed_back
                    agent.close()
                    self._agents.remove(agent)

    def _wake_up(self) -> None:
        self._wakeup.clear()
        plan, self._new_plan = self._new_plan, None
        if plan is not None:
            self._move(plan)
        if self._grace is not None:
            for agent in self._agents:
                agent.drain(self._grace)

    def _move(self, plan: WorkerPlan) -> None:
        for agent in self._agents:
            try:
                agent.move_to(*plan.home_of(agent.profile))
            except ConfigError as error:
                logger.warning("%s stays where it is: %s", agent.name, error)
                agent.move_to(agent.profile.queue, agent.endpoint)

    def _close(self) -> None:
        if self._meter is not None:
            self._meter.stop()
        for agent in self._agents:
            agent.close()
        self._agents.clear()
        self._readiness.forget(self._wakeup.fileno())
        self._wakeup.close()
        if self._owns_context:
            self._context.term()
