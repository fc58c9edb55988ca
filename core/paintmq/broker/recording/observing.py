"""What can observe the inputs and the decisions of the broker's machine."""

from collections.abc import Sequence
from typing import Protocol

from paintmq.broker.machine import NO_KEYS, Credentials, Step
from paintmq.broker.machine.reconfiguration import Reconfiguration
from paintmq.broker.records import Recovered, StoredTask
from paintmq.config import RouterConfig
from paintmq.task import PeerId
from paintmq.wire.messages import ToBroker


class Observer(Protocol):
    """Sees what the machine decided. Must not wait, nor raise."""

    def stepped(self, step: Step) -> None: ...


class Follower(Observer, Protocol):
    """Sees also what no record tells: what a broker began with, and how far its tasks are."""

    def took_over(self, tasks: Sequence[StoredTask], now: float) -> None: ...
    def progressed(self, task: StoredTask, step: int, total: int, now: float) -> None: ...


class Recorder(Observer, Protocol):
    """Records every input of the machine, so that it can be replayed."""

    def restored(self, now: float, recovered: Recovered) -> None: ...
    def received(
        self, now: float, peer: PeerId, message: ToBroker, credentials: Credentials = NO_KEYS
    ) -> None: ...
    def lost(self, now: float, peer: PeerId) -> None: ...
    def ticked(self, now: float) -> None: ...
    def disk_full(self, now: float, *, full: bool) -> None: ...
    def disk_busy(self, now: float, *, busy: bool) -> None: ...
    def draining(self, now: float) -> None: ...
    def reconfigured(self, now: float, new: Reconfiguration) -> None: ...
    def rerouted(self, now: float, router: RouterConfig) -> None: ...
