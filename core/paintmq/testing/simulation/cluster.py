"""One run: a cluster under faults, then healed, then judged."""

import hashlib
import random
from collections import deque
from collections.abc import Callable

from attrs import define, field, frozen

from paintmq.model import ModelSpec
from paintmq.task import PeerId, TaskId, TaskRequest
from paintmq.testing.simulation.broker import SimulatedBroker
from paintmq.testing.simulation.client import SimulatedClient
from paintmq.testing.simulation.node import GroundTruth, SimulatedNode, draw_behaviour
from paintmq.testing.simulation.store import SimulatedStore
from paintmq.testing.simulation.world import EPOCH, Agenda, Network, Weather
from paintmq.wire.messages import FromBroker, FromClient, FromWorker, Heartbeat, Message

HOUR = 3600.0
BROKER = "broker"


@frozen(kw_only=True)
class Scale:
    """How large a run is."""

    hours: float = 1.0
    nodes: int = 3
    clients: int = 2
    tasks: int = 120
    """Tasks an hour."""


@define
class Counts:
    """What a run did; added up over runs."""

    hours: float = 0.0
    events: int = 0
    tasks: int = 0
    faults: int = 0
    messages: int = 0
    message_faults: int = 0
    endings: dict[str, int] = field(factory=dict[str, int])

    def add(self, other: "Counts") -> None:
        self.hours += other.hours
        self.events += other.events
        self.tasks += other.tasks
        self.faults += other.faults
        self.messages += other.messages
        self.message_faults += other.message_faults
        for state, count in other.endings.items():
            self.endings[state] = self.endings.get(state, 0) + count


class SimulatedCluster:
    """Broker, nodes and clients of one seed."""

    def __init__(
        self,
        seed: int,
        *,
        scale: Scale | None = None,
        weather: Weather | None = None,
        trace: Callable[[str], None] | None = None,
        digested: bool = False,
    ) -> None:
        self.rng = random.Random(seed)
        self.scale = scale or Scale()
        self.weather = weather or Weather.draw(self.rng)
        self.agenda = Agenda()
        self.network = Network(self.agenda, self.rng, self.weather)
        self.truth = GroundTruth()
        self.faults = 0
        self.submitted = 0
        self._log: deque[tuple[float, tuple[object, ...]]] = deque(maxlen=4_000)
        self.digest = hashlib.sha256() if digested else None
        self._trace = trace
        self.specs = [
            ModelSpec(
                name=name,
                implementation="nowhere:Nothing",
                inputs=(),
                max_batch=batch,
                batch_key=(lambda job: "all") if batch > 1 else None,
                run_limit=120.0,
                stall_limit=60.0,
                load_limit=60.0,
            )
            for name, batch in (("single", 1), ("batched", 3))
        ]
        self.store = SimulatedStore(self.agenda, self.rng, self.weather)
        self.broker = SimulatedBroker(
            self.agenda, self.rng, self.specs, self.store, self._from_broker
        )
        self.nodes = [
            SimulatedNode(
                f"node-{n}", self.agenda, self.rng, self.specs, self.truth, self._from_node
            )
            for n in range(self.scale.nodes)
        ]
        self.clients = [
            SimulatedClient(f"client-{n}", self.agenda, self.rng, self._from_client)
            for n in range(self.scale.clients)
        ]

        self._receivers: dict[str, Callable[..., None]] = {
            **{node.name: node.receive for node in self.nodes},
            **{client.name: client.receive for client in self.clients},
        }

    def run(self) -> Counts:
        """Run through the faults to a quiet end, and check every promise.

        Raises:
            AssertionError: a promise was broken; ``last_lines`` tells what happened before.
        """
        # Imported here: the oracle reads the cluster, and the cluster ends by asking the oracle.
        from paintmq.testing.simulation.oracle import judge

        end = self.agenda.now + self.scale.hours * HOUR
        self.broker.start()
        for node in self.nodes:
            node.start()
        for client in self.clients:
            client.start()
        self._plan_tasks(end)
        self._plan_faults(end)
        self.agenda.run(end)
        self._heal()
        self._let_quieten(end + 6 * HOUR)
        judge(self)
        return self._counts()

    # ---- messages ------------------------------------------------------------------------------

    def _from_broker(self, peer: PeerId, message: FromBroker) -> None:
        name = peer.decode().split("/")[0]
        self._note(BROKER, "->", name, message)
        receive: Callable[..., None] = self._receivers[name]
        self.network.transmit(BROKER, name, message, receive, peer)

    def _from_node(self, node: SimulatedNode, message: FromWorker) -> None:
        self._to_broker(node.name, node.peer, message)

    def _from_client(self, client: SimulatedClient, message: FromClient | Heartbeat) -> None:
        self._to_broker(client.name, client.peer, message)

    def _to_broker(self, name: str, peer: PeerId, message: Message) -> None:
        self._note(name, "->", BROKER, message)
        self.network.transmit(name, BROKER, message, self.broker.receive, peer)

    def _note(self, *words: object) -> None:
        # Most runs end well and nobody reads what happened, so it is not put in words yet.
        self._log.append((self.agenda.now, words))
        if self._trace is not None:
            self._trace(self.last_lines(1)[0])
        if self.digest is not None:
            self.digest.update(self.last_lines(1)[0].encode())

    def last_lines(self, count: int = 200) -> list[str]:
        """Return what happened last, in words."""
        return [
            f"{at - EPOCH:10.3f} {' '.join(map(str, words))}"
            for at, words in list(self._log)[-count:]
        ]

    # ---- what happens --------------------------------------------------------------------------

    def _plan_tasks(self, end: float) -> None:
        rng, now = self.rng, self.agenda.now
        for _ in range(int(self.scale.tasks * self.scale.hours)):
            self.agenda.at(rng.uniform(now, end - 60.0), self._submit)

    def _submit(self) -> None:
        rng = self.rng
        self.submitted += 1
        task_id = TaskId(f"{self.submitted:032x}")
        self.truth.behaviours[task_id] = draw_behaviour(rng)
        request = TaskRequest(
            id=task_id,
            task_type="inpaint",
            model=rng.choice(["single", "single", "batched"]),
            priority=rng.choice([0, 0, 0, 5, 9]),
            tenant=rng.choice(["", "", "a", "b"]),
            expires_in=rng.choice([None, None, None, rng.uniform(1.0, 300.0)]),
        )
        client = rng.choice(self.clients)
        client.submit(request)
        if rng.random() < 0.08:
            delay = rng.expovariate(1 / 10.0)
            self.agenda.after(delay, lambda: client.cancel(task_id))

    def _plan_faults(self, end: float) -> None:
        w, rng = self.weather, self.rng
        plans: list[tuple[float, Callable[[], None]]] = [
            (w.broker_kills, self._kill_broker),
            (w.broker_freezes, self._freeze_broker),
            (w.node_kills * len(self.nodes), self._kill_node),
            (w.host_kills * len(self.nodes), self._kill_host),
            (w.node_freezes * len(self.nodes), self._freeze_node),
            (w.partitions, self._partition),
            (w.client_kills, self._kill_client),
            (w.disks_full, self._fill_disk),
        ]
        for rate, fault in plans:
            count = int(rate * self.scale.hours)
            count += rng.random() < rate * self.scale.hours - count
            for _ in range(count):
                self.agenda.at(rng.uniform(self.agenda.now, end), fault)

    def _fault(self, line: str) -> None:
        self.faults += 1
        self._note("FAULT", line)

    def _kill_broker(self) -> None:
        if self.broker.machine is None:
            return
        down = self.rng.choice([0.1, 1.0, self.rng.uniform(1.0, 120.0)])
        self._fault(f"broker killed for {down:.1f} s")
        self.broker.kill()
        self.agenda.after(down, self.broker.start)

    def _freeze_broker(self) -> None:
        if self.broker.machine is not None:
            seconds = self.rng.uniform(1.0, 60.0)
            self._fault(f"broker frozen for {seconds:.1f} s")
            self.broker.freeze(seconds)

    def _kill_node(self) -> None:
        node = self.rng.choice(self.nodes)
        self._fault(f"{node.name} killed")
        node.kill(self.rng.uniform(0.5, 90.0))

    def _kill_host(self) -> None:
        node = self.rng.choice(self.nodes)
        self._fault(f"host of {node.name} killed")
        node.kill_host()

    def _freeze_node(self) -> None:
        node = self.rng.choice(self.nodes)
        seconds = self.rng.choice([5.0, 40.0, 120.0, 900.0])
        self._fault(f"{node.name} frozen for {seconds:.0f} s")
        node.freeze(seconds)

    def _partition(self) -> None:
        a, b = self.rng.choice(list(self._receivers)), BROKER
        if self.rng.random() < 0.5:
            a, b = b, a
        seconds = self.rng.uniform(3.0, 300.0)
        self._fault(f"{a} cut from {b} for {seconds:.0f} s")
        self.network.cut(a, b, seconds, both_ways=self.rng.random() < 0.7)

    def _kill_client(self) -> None:
        client = self.rng.choice(self.clients)
        if client.machine is not None:
            self._fault(f"{client.name} killed")
            client.kill(self.rng.uniform(0.5, 60.0))

    def _fill_disk(self) -> None:
        self._fault("disk full for a while")
        self.broker.set_disk_full(full=True)
        self.agenda.after(
            self.rng.uniform(5.0, 120.0), lambda: self.broker.set_disk_full(full=False)
        )

    # ---- the end -------------------------------------------------------------------------------

    def _heal(self) -> None:
        self._note("the faults end")
        self.network.calm = True
        self.network._cuts.clear()

    def _let_quieten(self, latest: float) -> None:
        """Run on until every client has an ending for every task."""
        while self.agenda.now < latest and not self._is_quiet():
            self.agenda.run(self.agenda.now + 60.0)

    def _is_quiet(self) -> bool:
        if self.broker.machine is None or any(c.machine is None for c in self.clients):
            return False
        if not self.store.is_settled or any(self.broker.machine.unfinished()):
            return False
        return all(
            task_id in client.memory.endings or task_id in client.memory.refused
            for client in self.clients
            for task_id in client.memory.submitted
        )

    def _counts(self) -> Counts:
        endings: dict[str, int] = {}
        for client in self.clients:
            for finished in client.memory.endings.values():
                state = finished[0].state.value
                endings[state] = endings.get(state, 0) + 1
        return Counts(
            hours=self.scale.hours,
            events=self.agenda.events,
            tasks=sum(len(client.memory.accepted) for client in self.clients),
            faults=self.faults,
            messages=self.network.carried,
            message_faults=self.network.lost + self.network.doubled,
            endings=endings,
        )
