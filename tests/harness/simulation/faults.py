"""What goes wrong in one run, and when. Faults are counted by kind, and all of them end."""

from collections import Counter
from collections.abc import Callable

from attrs import define, field

from paintmq.routing import Router
from tests.harness.simulation.broker import SimulatedBroker
from tests.harness.simulation.client import SimulatedClient
from tests.harness.simulation.node import SimulatedNode
from tests.harness.simulation.world import Network, Weather

HOUR = 3600.0
BROKER = "broker"
YEARS = 10 * 365 * 24 * HOUR


@define
class Faults:
    """Draws the faults of one run from its weather, and commits them."""

    weather: Weather
    network: Network
    broker: SimulatedBroker
    nodes: list[SimulatedNode]
    clients: list[SimulatedClient]
    routers: tuple[Callable[[], Router], ...]
    note: Callable[..., None]
    counts: Counter[str] = field(factory=Counter[str], init=False)

    def plan(self, hours: float) -> None:
        """Put each fault of the next hours on the agenda."""
        w, rng, agenda = self.weather, self.network.rng, self.network.agenda
        nodes = len(self.nodes)
        plans: list[tuple[float, Callable[[], None]]] = [
            (w.broker_kills, self._kill_broker),
            (w.broker_freezes, self._freeze_broker),
            (w.broker_drains, self._drain_broker),
            (w.node_kills * nodes, self._kill_node),
            (w.host_kills * nodes, self._kill_host),
            (w.node_freezes * nodes, self._freeze_node),
            (w.node_drains * nodes, self._drain_node),
            (w.partitions, self._partition),
            (w.client_kills, self._kill_client),
            (w.disks_full, self._fill_disk),
            (w.requeues, self._requeue_the_dead),
            (w.new_routers, self._replace_router),
        ]
        for rate, fault in plans:
            count = int(rate * hours)
            count += rng.random() < rate * hours - count
            for _ in range(count):
                agenda.at(rng.uniform(agenda.now, agenda.now + hours * HOUR), fault)

    def heal(self) -> None:
        """From now on nothing goes wrong any more, and what is frozen goes on."""
        self.note("the faults end")
        self.network.heal()
        for node in self.nodes:
            node.bad_starts = 0.0
            node.thaw()

    def _commit(self, kind: str, *details: object) -> None:
        self.counts[kind] += 1
        self.note("FAULT", kind, *details)

    # ---- the broker ----------------------------------------------------------------------------

    def _kill_broker(self) -> None:
        if self.broker.machine is None:
            return
        down = self._downtime()
        self._commit("broker killed", f"for {down:.1f} s")
        self.broker.kill()
        self._start_broker(down)

    def _freeze_broker(self) -> None:
        if self.broker.machine is not None:
            seconds = self.network.rng.uniform(1.0, 60.0)
            self._commit("broker frozen", f"for {seconds:.1f} s")
            self.broker.freeze(seconds)

    def _drain_broker(self) -> None:
        if self.broker.machine is not None and not self.broker.draining:
            self._commit("broker drained")
            self.broker.drain(30.0, lambda: self._start_broker(self._downtime()))

    def _start_broker(self, down: float) -> None:
        """Start it again, perhaps with a wall clock that was set meanwhile."""
        rng = self.network.rng
        if rng.random() < self.weather.clock_jumps:
            jump = rng.choice([-YEARS, -HOUR, HOUR, 6 * HOUR])
            self._commit("clock set", f"by {jump:.0f} s")
            # Never so far ahead that results go which their clients have not fetched in a day.
            self.broker.wall_clock = min(self.broker.wall_clock + jump, 12 * HOUR)
        self.network.agenda.after(down, self.broker.start)

    def _downtime(self) -> float:
        return self.network.rng.choice([0.1, 1.0, self.network.rng.uniform(1.0, 120.0)])

    def _fill_disk(self) -> None:
        self._commit("disk full")
        self.broker.set_disk_full(full=True)
        seconds = self.network.rng.uniform(5.0, 120.0)
        self.network.agenda.after(seconds, lambda: self.broker.set_disk_full(full=False))

    def _requeue_the_dead(self) -> None:
        """An operator has read the dead letters and gives each another chance."""
        dead = self.broker.dead()
        if dead:
            self._commit("dead requeued", *dead)
            for task_id in dead:
                self.broker.ask("dead_requeue", {"task_id": task_id})

    def _replace_router(self) -> None:
        if self.broker.machine is not None:
            router = self.network.rng.choice(self.routers)()
            self._commit("router replaced", "by", type(router).__name__)
            self.broker.replace_router(router)

    # ---- nodes and clients ---------------------------------------------------------------------

    def _kill_node(self) -> None:
        node = self.network.rng.choice(self.nodes)
        self._commit("node killed", node.name)
        node.kill(self.network.rng.uniform(0.5, 90.0))

    def _kill_host(self) -> None:
        node = self.network.rng.choice(self.nodes)
        self._commit("host killed", node.name)
        node.kill_host()

    def _freeze_node(self) -> None:
        node = self.network.rng.choice(self.nodes)
        seconds = self.network.rng.choice([5.0, 40.0, 120.0, 900.0])
        self._commit("node frozen", node.name, f"for {seconds:.0f} s")
        node.freeze(seconds)

    def _drain_node(self) -> None:
        node = self.network.rng.choice(self.nodes)
        grace = self.network.rng.choice([0.0, 5.0, 60.0])
        self._commit("node drained", node.name, f"within {grace:.0f} s")
        node.drain(grace)

    def _partition(self) -> None:
        rng = self.network.rng
        names = [node.name for node in self.nodes] + [client.name for client in self.clients]
        a, b = rng.choice(names), BROKER
        if rng.random() < 0.5:
            a, b = b, a
        seconds, both_ways = rng.uniform(3.0, 300.0), rng.random() < 0.7
        kind = "partition" if both_ways else "one-way partition"
        self._commit(kind, a, "from", b, f"for {seconds:.0f} s")
        self.network.cut(a, b, seconds, both_ways=both_ways)

    def _kill_client(self) -> None:
        client = self.network.rng.choice(self.clients)
        if client.machine is not None:
            self._commit("client killed", client.name)
            client.kill(self.network.rng.uniform(0.5, 60.0))
