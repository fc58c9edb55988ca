"""The nodes a broker starts for itself: kept alive through their launcher, and ended together."""

import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from attrs import define, evolve, field

from paintmq.config import LOCAL, Config
from paintmq.errors import ConfigError
from paintmq.launching import (
    SETTINGS_VARIABLE,
    LaunchedNode,
    Launcher,
    NodeEnding,
    NodeOrder,
)
from paintmq.node.directions import Directions
from paintmq.node.local_launcher import LocalLauncher
from paintmq.plugin.manager import PluginManager
from paintmq.settings.toml_text import node_settings
from paintmq.task import TaskId
from paintmq.transport.addresses import tcp_endpoint
from paintmq.transport.sockets import Context

START_PATIENCE = 30.0
"""Seconds that ``start`` waits for a launcher to have started its nodes; then it goes on alone."""
STOP_PATIENCE = 30.0
"""Seconds beyond their grace that nodes have to end; then ``stop`` returns without them."""
KILL_AFTER = 10.0
"""Seconds beyond its grace after which a node that was stopped is killed."""
LOOK_EVERY = 0.5
AGAIN_FIRST, AGAIN_MOST = 1.0, 60.0
"""Seconds before a node that ended is started again: doubled each time it does not last."""
LASTING = 60.0
"""Seconds a node must have run to count as one that lasts."""

logger = logging.getLogger(__name__)


def make_fleet(
    config: Config,
    plugins: PluginManager,
    *,
    queue_endpoints: Mapping[str, str],
    client_endpoint: str,
    context: "Context | None" = None,
) -> "NodeFleet":
    """Return the nodes the settings ask for, not started yet.

    Raises:
        ConfigError: the launcher is not installed, or does not take its options.
    """
    wanted = config.node
    if wanted.launcher == LOCAL:
        launcher: Launcher = LocalLauncher(config, plugins, queue_endpoints, context)
        names = [socket.gethostname()]
    else:
        launcher = plugins.make_launcher(wanted)
        names = [f"{wanted.launcher}-{number}" for number in range(wanted.count)]
    settings = node_settings(_with_ports(config, queue_endpoints))
    connect = wanted.connect or _from_here(client_endpoint)
    return NodeFleet(
        launcher,
        [
            NodeOrder(
                name=name,
                number=number,
                arguments=("node", "--connect", connect, "--name", name, "--tethered"),
                environment={SETTINGS_VARIABLE: settings},
            )
            for number, name in enumerate(names)
        ],
        title=wanted.launcher,
    )


@define
class _Place:
    """One node of the fleet, whether it runs or not."""

    order: NodeOrder
    node: LaunchedNode | None = None
    launch_at: float = 0.0
    launched_at: float = 0.0
    failures: int = 0


@define
class NodeFleet:
    """Starts nodes, replaces those that end unasked, stops them: in a thread of its own.

    ``start`` once, then ``stop``, which may be called again to shorten the grace.
    """

    launcher: Launcher
    orders: list[NodeOrder]
    title: str = field(kw_only=True)
    handed_back: list[TaskId] = field(factory=list[TaskId], init=False)
    """Tasks that nodes gave back, unharmed, when they were stopped; where that is known."""
    _places: list[_Place] = field(factory=list[_Place], init=False)
    _grace: float | None = field(default=None, init=False)
    _asked: threading.Event = field(factory=threading.Event, init=False)
    _first_round: threading.Event = field(factory=threading.Event, init=False)
    _refusal: ConfigError | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the nodes.

        Raises:
            ConfigError: a node's settings cannot work; nothing is left running.
        """
        self._places = [_Place(order) for order in self.orders]
        self._thread = threading.Thread(target=self._run, name="paintmq-nodes", daemon=True)
        self._thread.start()
        if not self._first_round.wait(START_PATIENCE):
            logger.warning("launcher %s is slow to start its nodes; going on", self.title)
        if self._refusal is not None:
            self._thread.join()
            raise self._refusal

    def follow(self, directions: Directions) -> None:
        """Bring workers to these queues, where the nodes are in this process: others ask."""
        if isinstance(self.launcher, LocalLauncher):
            self.launcher.follow(directions)

    def stop(self, grace: float) -> None:
        """Let what runs finish within ``grace`` seconds, and end all nodes."""
        self._grace = grace if self._grace is None else min(grace, self._grace)
        self._asked.set()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.join(grace + STOP_PATIENCE)
        if thread.is_alive():
            logger.warning("launcher %s does not return; its nodes may go on", self.title)

    # ---- in the fleet's thread -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            for place in self._places:
                self._launch(place)
        except ConfigError as error:
            self._refusal, self._grace = error, 0.0
            self._asked.set()
        self._first_round.set()
        while not self._asked.wait(LOOK_EVERY):
            for place in self._places:
                self._look_after(place)
        self._end_all()
        try:
            self.launcher.close()
        except Exception:
            logger.exception("launcher %s cannot be closed", self.title)

    def _launch(self, place: _Place) -> None:
        place.launched_at = time.monotonic()
        try:
            place.node = self.launcher.launch(place.order)
        except ConfigError:
            if not self._first_round.is_set():
                raise
            self._launch_later(place, "cannot be launched: its settings no longer work")
        except Exception as error:  # noqa: BLE001 -- a plugin's code; the others' nodes go on
            self._launch_later(place, f"cannot be launched: {type(error).__name__}: {error}")

    def _look_after(self, place: _Place) -> None:
        if place.node is None:
            if place.launch_at <= time.monotonic():
                self._launch(place)
            return
        ending = self._ending_of(place.node, seconds=0.0)
        if ending is None:
            return
        place.node = None
        if ending.again:
            self._launch_later(place, ending.reason)
        else:
            logger.info("node %s: %s", place.order.name, ending.reason)
            place.launch_at = math.inf

    def _launch_later(self, place: _Place, reason: str) -> None:
        lasted = time.monotonic() - place.launched_at >= LASTING
        place.failures = 1 if lasted else place.failures + 1
        delay = min(AGAIN_FIRST * 2.0 ** min(place.failures - 1, 10), AGAIN_MOST)
        place.launch_at = time.monotonic() + delay
        logger.warning("node %s: %s; again in %g s", place.order.name, reason, delay)

    def _ending_of(self, node: LaunchedNode, *, seconds: float) -> NodeEnding | None:
        try:
            return node.wait(seconds)
        except Exception as error:  # noqa: BLE001 -- as above
            return NodeEnding(f"cannot be looked after: {type(error).__name__}: {error}")

    def _end_all(self) -> None:
        """Stop all nodes at once, and wait for each; kill what does not heed it."""
        running = {place.order.name: place.node for place in self._places if place.node is not None}
        told = math.inf
        killed = False
        asked_at = time.monotonic()
        while running:
            grace = self._grace or 0.0
            if grace < told:
                told = grace
                self._each(running, partial(_stop, grace=grace))
            elif not killed and time.monotonic() > asked_at + told + KILL_AFTER:
                killed = True
                logger.warning("nodes %s did not stop and are killed", ", ".join(running))
                self._each(running, _kill)
            elif time.monotonic() > asked_at + told + 2 * KILL_AFTER:
                logger.warning("nodes %s may go on", ", ".join(running))
                return
            for name, node in list(running.items()):
                if self._ending_of(node, seconds=0.1) is not None:
                    self.handed_back += node.handed_back
                    del running[name]
            if running:
                time.sleep(0.01)  # a launcher's wait() may return at once

    def _each(self, nodes: Mapping[str, LaunchedNode], act: Callable[[LaunchedNode], None]) -> None:
        for name, node in nodes.items():
            try:
                act(node)
            except Exception:
                logger.exception("node %s cannot be stopped", name)


def _stop(node: LaunchedNode, *, grace: float) -> None:
    node.stop(grace)


def _kill(node: LaunchedNode) -> None:
    node.kill()


def _with_ports(config: Config, queue_endpoints: Mapping[str, str]) -> Config:
    """Return the settings with the ports that queues really have."""
    return evolve(
        config,
        queues={
            name: evolve(queue, port=int(queue_endpoints[name].rpartition(":")[2]))
            for name, queue in config.queues.items()
        },
    )


def _from_here(endpoint: str) -> str:
    """Return where a program on this machine reaches what is bound there."""
    host, _, port = endpoint.partition("://")[2].rpartition(":")
    return tcp_endpoint(host.strip("[]"), int(port))
