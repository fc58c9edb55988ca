"""The launcher that is built in: a node in this process, on the broker's own machine."""

from collections.abc import Mapping

from attrs import define, evolve, field

from paintmq.config import Config
from paintmq.interpreter import interpreter
from paintmq.launching import LaunchedNode, Launcher, NodeEnding, NodeOrder
from paintmq.node.directions import Directions
from paintmq.node.supervisor import NodeSupervisor
from paintmq.plugin.manager import PluginManager
from paintmq.transport.sockets import Context


@define
class LocalLauncher(Launcher):
    """Starts NodeSupervisors in threads; models run in child processes all the same."""

    config: Config
    plugins: PluginManager
    queue_endpoints: Mapping[str, str]
    context: "Context | None" = None
    nodes: list[NodeSupervisor] = field(factory=list[NodeSupervisor], init=False)
    """Those that were launched, to be told when queues come and go."""

    def follow(self, directions: Directions) -> None:
        """Bring the workers of all nodes to these queues."""
        self.queue_endpoints = directions.endpoints
        self.config = evolve(self.config, queues=directions.queues)
        for node in tuple(self.nodes):
            node.follow(directions)

    def launch(self, order: NodeOrder) -> LaunchedNode:
        interpreter()  # refuses at once, rather than when a task needs a model host
        node = NodeSupervisor(
            self.config,
            self.plugins,
            queue_endpoints=self.queue_endpoints,
            context=self.context,
            name=order.name,
        )
        node.start()
        self.nodes = [each for each in self.nodes if not each.wait(0.0)] + [node]
        return LocalNode(node)


class LocalNode(LaunchedNode):
    """A node in a thread of this process."""

    def __init__(self, node: NodeSupervisor) -> None:
        self._node = node

    def wait(self, seconds: float) -> NodeEnding | None:
        if not self._node.wait(seconds):
            return None
        self.handed_back = self._node.handed_back
        if self._node.failure is not None:
            return NodeEnding(f"has stopped by itself: {self._node.failure}")
        return NodeEnding("its workers have left", again=False)

    def stop(self, grace: float) -> None:
        self._node.request_stop(grace=grace)

    def kill(self) -> None:
        self._node.stop(grace=0.0)
