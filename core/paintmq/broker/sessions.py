"""Who is connected: workers and clients, by their routing id."""

from attrs import define, field

from paintmq.task import PeerId
from paintmq.wire.messages import ClientHello, WorkerHello


@define
class WorkerSession:
    """One connection of one worker."""

    peer: PeerId
    hello: WorkerHello
    draining: bool = False


@define
class ClientSession:
    """One connection of one client."""

    peer: PeerId
    hello: ClientHello


@define
class Sessions:
    """Connected peers. When one falls silent is kept with the broker's other deadlines."""

    workers: dict[PeerId, WorkerSession] = field(factory=dict[PeerId, WorkerSession], init=False)
    clients: dict[PeerId, ClientSession] = field(factory=dict[PeerId, ClientSession], init=False)

    def __contains__(self, peer: object) -> bool:
        return peer in self.workers or peer in self.clients

    def __len__(self) -> int:
        return len(self.workers) + len(self.clients)

    def workers_by_queue(self) -> dict[str, int]:
        """Return how many workers have each queue as their home."""
        counts: dict[str, int] = {}
        for worker in self.workers.values():
            counts[worker.hello.queue] = counts.get(worker.hello.queue, 0) + 1
        return counts


def version_objection(oldest: int, newest: int, *, ours: int, our_oldest: int) -> str:
    """Return why a peer that speaks these versions cannot be served; empty when it can."""
    if newest < our_oldest:
        return (
            f"speaks protocol {oldest} to {newest}, this broker {our_oldest} to {ours}: update it"
        )
    if oldest > ours:
        return (
            f"speaks protocol {oldest} to {newest}, this broker {our_oldest} to {ours}: "
            f"update the broker"
        )
    return ""
