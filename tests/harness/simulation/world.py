"""Virtual time, and an unreliable network."""

import random
from collections.abc import Callable
from functools import lru_cache
from heapq import heappop, heappush
from typing import Any, TypeAlias

from attrs import define, field, frozen

from paintmq.task import PeerId
from paintmq.wire.codec import decode, encode
from paintmq.wire.messages import BrokerHeartbeat, Heartbeat, Message

EPOCH = 1_000_000.0

_Appointment: TypeAlias = tuple[float, int, Callable[..., None], tuple[Any, ...]]


@frozen(kw_only=True)
class Weather:
    """How bad the world is in one run. Rates are faults an hour for one process."""

    loss: float = 0.0
    duplication: float = 0.0
    delay: float = 0.01
    """Most seconds a message takes; often far less."""
    broker_kills: float = 0.0
    broker_freezes: float = 0.0
    node_kills: float = 0.0
    host_kills: float = 0.0
    node_freezes: float = 0.0
    partitions: float = 0.0
    client_kills: float = 0.0
    disks_full: float = 0.0
    broker_drains: float = 0.0
    node_drains: float = 0.0
    requeues: float = 0.0
    """How often an operator requeues all dead letters."""
    new_routers: float = 0.0
    clock_jumps: float = 0.0
    """Share of the broker's restarts at which its wall clock was set, by an hour or by years."""
    bad_starts: float = 0.0
    """Share of the model hosts that die at their start."""
    damage: float = 0.0
    """Share of the broker's kills after which a record on its disk cannot be read any more."""
    commit: float = 0.01
    """Most seconds a commit takes."""
    lying_disk: bool = False
    """A killed broker may also lose records that the disk had called durable."""

    @classmethod
    def draw(cls, rng: random.Random) -> "Weather":
        """Return one of many climates: many mixes find more bugs than any fixed one."""

        def some(rate: float) -> float:
            return rng.choice([0.0, rate, rate])

        return cls(
            loss=rng.choice([0.0, 0.01, 0.1]),
            duplication=rng.choice([0.0, 0.01, 0.1]),
            delay=rng.choice([0.01, 0.2, 5.0]),
            broker_kills=some(8.0),
            broker_freezes=some(2.0),
            node_kills=some(4.0),
            host_kills=some(4.0),
            node_freezes=some(3.0),
            partitions=some(3.0),
            client_kills=some(3.0),
            disks_full=some(1.0),
            broker_drains=some(1.0),
            node_drains=some(1.0),
            requeues=some(3.0),
            new_routers=some(1.0),
            clock_jumps=rng.choice([0.0, 0.0, 0.2]),
            bad_starts=rng.choice([0.0, 0.0, 0.3]),
            damage=rng.choice([0.0, 0.0, 0.1]),
            commit=rng.choice([0.005, 0.2, 2.0]),
            lying_disk=rng.random() < 0.1,
        )


@define
class Agenda:
    """What happens next. Equal times are kept apart by a number, so a run is never ambiguous."""

    now: float = EPOCH
    _heap: list[_Appointment] = field(factory=list[_Appointment], init=False)
    events: int = field(default=0, init=False)

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        self.events += 1
        now = self.now
        heappush(self._heap, (max(now, when), self.events, action, arguments))

    def after(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        self.events += 1
        heappush(self._heap, (self.now + seconds, self.events, action, arguments))

    def run(self, until: float) -> None:
        """Do one thing after the other, up to this time."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, action, arguments = heappop(heap)
            action(*arguments)
        self.now = until


@define
class Network:
    """Carries messages between named processes, more or less."""

    agenda: Agenda
    rng: random.Random
    weather: Weather
    calm: bool = False
    """From then on nothing is lost, doubled or cut."""
    carried: int = 0
    lost: int = 0
    doubled: int = 0
    _cuts: dict[tuple[str, str], float] = field(factory=dict[tuple[str, str], float], init=False)

    def heal(self) -> None:
        self.calm = True
        self._cuts.clear()

    def cut(self, a: str, b: str, seconds: float, *, both_ways: bool) -> None:
        """Let nothing pass from a to b for a while."""
        self._cuts[a, b] = self.agenda.now + seconds
        if both_ways:
            self._cuts[b, a] = self.agenda.now + seconds

    def transmit(
        self, a: str, b: str, message: Message, deliver: Callable[..., None], peer: PeerId
    ) -> None:
        """Carry a message from a to b, where ``deliver(peer, message)`` takes it."""
        weather, draw = self.weather, self.rng.random
        copies = 1
        if not self.calm:
            cut = self._cuts and self._cuts.get((a, b), 0.0) > self.agenda.now
            if draw() < weather.loss or cut:
                self.lost += 1
                return
            if draw() < weather.duplication:
                copies = 2
                self.doubled += 1
        data = _encode_heartbeat(message) if type(message) in _HEARTBEATS else encode(message)
        for _ in range(copies):
            self.carried += 1
            most = weather.delay if draw() < 0.2 else 0.002
            self.agenda.after(0.0005 + draw() * (most - 0.0005), _arrive, deliver, peer, data)


def _arrive(deliver: Callable[..., None], peer: PeerId, data: bytes) -> None:
    deliver(peer, _decode(data))


_HEARTBEATS = frozenset({Heartbeat, BrokerHeartbeat})
# Two of three messages are heartbeats, and most of them are equal; messages are never changed.
_decode = lru_cache(maxsize=512)(decode)
_encode_heartbeat = lru_cache(maxsize=512)(encode)
