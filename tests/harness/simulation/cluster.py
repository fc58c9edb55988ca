"""One run: a cluster under faults, then healed. Whether it kept its promises: ``oracle.py``."""

import hashlib
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence

from attrs import frozen

from paintmq.broker.machine import NO_KEYS
from paintmq.model import InputSpec, ModelSpec
from paintmq.routing import Router
from paintmq.task import PeerId, TaskId, TaskRequest
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import FromBroker, FromClient, FromWorker, Heartbeat, Message
from tests.harness.simulation.broker import SimulatedBroker
from tests.harness.simulation.client import SimulatedClient
from tests.harness.simulation.counts import Counts
from tests.harness.simulation.faults import BROKER, HOUR, Faults
from tests.harness.simulation.host import input_of
from tests.harness.simulation.hostile import SECONDS, Hostile, credentials_of
from tests.harness.simulation.node import GroundTruth, SimulatedNode, draw_behaviour
from tests.harness.simulation.store import SimulatedStore
from tests.harness.simulation.world import EPOCH, Agenda, Network, Weather

QUIET_WITHIN = 2.0 * HOUR
"""Once the faults are over, everything accepted must have ended within this time: one node may have
a hundred tasks to do, and those that never end take their run limit at each of their attempts."""


@frozen(kw_only=True)
class Scale:
    """How large a run is."""

    hours: float = 1.0
    nodes: int = 3
    clients: int = 2
    tasks: int = 120
    """Tasks an hour."""
    burst: int = 1
    """Tasks that are submitted at the same moment."""
    capacity: int = 40
    """Tasks that may wait in one of the two queues."""
    tenant_window: int = 8
    keys: bool = True
    """Each program has a key of its own, and two hostile ones have one, too."""

    @classmethod
    def draw(cls, rng: random.Random, *, hours: float = 1.0) -> "Scale":
        return cls(
            hours=hours,
            nodes=rng.choice([1, 2, 2, 3, 5]),
            clients=rng.choice([1, 1, 2, 3]),
            tasks=rng.choice([60, 120, 120, 240]),
            burst=rng.choice([1, 1, 5, 30]),
            capacity=rng.choice([10, 40, 1000]),
            tenant_window=rng.choice([2, 8]),
            keys=rng.random() < 0.7,
        )


class SimulatedCluster:
    """Broker, nodes and clients of one seed."""

    def __init__(
        self,
        seed: int,
        *,
        hours: float = 1.0,
        scale: Scale | None = None,
        weather: Weather | None = None,
        routers: Sequence[Callable[[], Router]] = (PlainRouter,),
        trace: Callable[[str], None] | None = None,
        digested: bool = False,
    ) -> None:
        """Make the cluster of a seed; ``scale`` and ``weather`` are drawn unless they are given.

        ``routers`` replace each other while the broker runs. ``trace`` is called with a line per
        event; ``digested`` keeps a digest of all events.
        """
        self.seed = seed
        self.rng = random.Random(seed)
        drawn = Weather.draw(self.rng), Scale.draw(self.rng, hours=hours)
        # Drawn even if given, so that the rest of the run is the same.
        self.weather, self.scale = weather or drawn[0], scale or drawn[1]
        self.agenda = Agenda()
        self.network = Network(self.agenda, self.rng, self.weather)
        self.truth = GroundTruth()
        self.submitted = 0
        self.quiet_after = 0.0
        """Seconds from the last fault to the last ending."""
        self.digest = hashlib.sha256() if digested else None
        self._log: deque[tuple[float, tuple[object, ...]]] = deque(maxlen=4_000)
        self._trace = trace
        self._make_processes(tuple(routers))
        self.faults = Faults(
            self.weather,
            self.network,
            self.broker,
            self.nodes,
            self.clients,
            tuple(routers),
            self._note,
        )
        self._nodes_by_name = {node.name: node for node in self.nodes}
        self._receivers: dict[str, Callable[..., None]] = {
            **{node.name: node.receive for node in self.nodes},
            **{client.name: client.receive for client in self.clients},
        }

    def _make_processes(self, routers: tuple[Callable[[], Router], ...]) -> None:
        agenda, rng, scale = self.agenda, self.rng, self.scale
        specs = [_spec("single", batch=1), _spec("batched", batch=3)]
        self.store = SimulatedStore(agenda, rng, self.weather)
        self.broker = SimulatedBroker(
            agenda,
            rng,
            specs,
            self.store,
            self._from_broker,
            capacity=scale.capacity,
            tenant_window=scale.tenant_window,
            make_router=routers[0],
            credentials_of=credentials_of if scale.keys else lambda peer: NO_KEYS,
        )
        self.nodes = [
            SimulatedNode(
                f"node-{n}",
                agenda,
                rng,
                specs,
                self.truth,
                self._from_node,
                piped=n % 2 == 0,
                bad_starts=self.weather.bad_starts,
            )
            for n in range(scale.nodes)
        ]
        self.clients = [
            SimulatedClient(f"client-{n}", agenda, rng, self._from_client)
            for n in range(scale.clients)
        ]
        names = [node.name for node in self.nodes]
        self.hostile = Hostile(self.broker, random.Random(self.seed), names)

    def run(self) -> Counts:
        """Run through the faults to a quiet end; ``oracle.judge`` then checks every promise."""
        end = self.agenda.now + self.scale.hours * HOUR
        self.broker.start()
        for node in self.nodes:
            node.start()
        for client in self.clients:
            client.start()
        self._plan_tasks(end)
        if self.scale.keys:
            self._plan_hostile_acts(end)
        self.faults.plan(self.scale.hours)
        self.agenda.run(end)
        self.faults.heal()
        self._let_quieten(end + QUIET_WITHIN)
        return self._counts()

    def _plan_hostile_acts(self, end: float) -> None:
        for _ in range(int((end - self.agenda.now) / SECONDS)):
            self.agenda.at(self.hostile.rng.uniform(self.agenda.now, end), self._hostile_act)

    def _hostile_act(self) -> None:
        self.hostile.peers = [
            *(node.peer for node in self.nodes),
            *(each.peer for each in self.clients),
        ]
        self.hostile.act()

    # ---- messages ------------------------------------------------------------------------------

    def _from_broker(self, peer: PeerId, message: FromBroker) -> None:
        name = peer.decode().split("/")[0]
        if name not in self._receivers:
            return  # the operator reads no answers
        self._note(BROKER, "->", name, message)
        node = self._nodes_by_name.get(name)
        if node is not None and node.loses(peer, message, incarnation=self.broker.starts):
            return
        receive: Callable[..., None] = self._receivers[name]
        self.network.transmit(BROKER, name, message, receive, peer)

    def _from_node(self, node: SimulatedNode, message: FromWorker) -> None:
        if node.loses(node.peer, message, incarnation=self.broker.starts):
            return
        self._to_broker(node.name, node.peer, message)

    def _from_client(self, client: SimulatedClient, message: FromClient | Heartbeat) -> None:
        self._to_broker(client.name, client.peer, message)

    def _to_broker(self, name: str, peer: PeerId, message: Message) -> None:
        self._note(name, "->", BROKER, message)
        self.network.transmit(name, BROKER, message, self.broker.receive, peer)

    def _note(self, *details: object) -> None:
        # Most runs end well, so the text is only made when it is read.
        self._log.append((self.agenda.now, details))
        if self._trace is not None:
            self._trace(self.last_lines(1)[0])
        if self.digest is not None:
            self.digest.update(self.last_lines(1)[0].encode())

    def last_lines(self, count: int = 200) -> list[str]:
        """Return the last events as text."""
        return [
            f"{at - EPOCH:10.3f} {' '.join(map(str, details))}"
            for at, details in list(self._log)[-count:]
        ]

    # ---- tasks ---------------------------------------------------------------------------------

    def _plan_tasks(self, end: float) -> None:
        rng, now, burst = self.rng, self.agenda.now, self.scale.burst
        for _ in range(int(self.scale.tasks * self.scale.hours) // burst):
            at = rng.uniform(now, end - 60.0)
            for _ in range(burst):
                self.agenda.at(at, self._submit)

    def _submit(self) -> None:
        rng = self.rng
        self.submitted += 1
        task_id = TaskId(f"{self.submitted:012x}7{self.submitted:019x}")
        self.truth.behaviours[task_id] = draw_behaviour(rng)
        request = TaskRequest(
            id=task_id,
            task_type="inpaint",
            model=rng.choice(["single", "single", "batched"]),
            inputs=(input_of(task_id),),
            priority=rng.choice([0, 0, 0, 5, 9]),
            tenant=rng.choice(["", "", "a", "b"]),
            expires_in=rng.choice([None, None, None, rng.uniform(1.0, 300.0)]),
            cancel_on_disconnect=rng.random() < 0.05,
        )
        client = rng.choice(self.clients)
        client.submit(request, patient=rng.random() < 0.5)
        if rng.random() < 0.08:
            self.agenda.after(rng.expovariate(1 / 10.0), client.cancel, task_id)

    # ---- the end -------------------------------------------------------------------------------

    def _let_quieten(self, latest: float) -> None:
        """Run on until every client has an ending for every task."""
        began = self.agenda.now
        while self.agenda.now < latest and not self._is_quiet():
            self.agenda.run(self.agenda.now + 60.0)
        self.quiet_after = self.agenda.now - began

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
        endings = Counter(
            heard[0].state.value
            for client in self.clients
            for heard in client.memory.endings.values()
        )
        return Counts(
            hours=self.scale.hours,
            events=self.agenda.events,
            tasks=sum(len(client.memory.accepted) for client in self.clients),
            endings=endings,
            faults=self.faults.counts + Counter({"host not started": self.truth.bad_starts}),
            messages=self.network.carried,
            lost=self.network.lost,
            doubled=self.network.doubled,
            hostile_acts=self.hostile.acts,
            slowest=self.quiet_after,
        )


def _spec(name: str, *, batch: int) -> ModelSpec:
    return ModelSpec(
        name=name,
        implementation="nowhere:Nothing",
        inputs=(InputSpec(name="image", kind="data"),),
        max_batch=batch,
        batch_key=(lambda job: "all") if batch > 1 else None,
        run_limit=120.0,
        stall_limit=60.0,
        load_limit=60.0,
    )
