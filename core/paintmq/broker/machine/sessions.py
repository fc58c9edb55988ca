"""Who is connected: workers and clients, by their routing id."""

from typing import assert_never

from attrs import define, field

from paintmq.task import PeerId
from paintmq.wire.messages import ClientHello, WorkerHello

MAX_NAME = 255
"""Characters of a name."""
MAX_INTRODUCTION = 65_536
"""Characters of all that a peer says of itself: it is kept for as long as it is connected."""
MAX_CREDIT = 1_000
MAX_TROUBLE = 4_000
"""Characters that are kept of what a worker says is wrong with it."""


@define
class WorkerSession:
    """One connection of one worker."""

    peer: PeerId
    hello: WorkerHello
    queues: tuple[str, ...] | None = None
    """What its key is for; None: every queue."""
    draining: bool = False
    trouble: str = ""
    """Why it can run nothing for now, in its own words; then it counts as draining, too."""


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


def introduction_objection(hello: WorkerHello | ClientHello) -> str:
    """Return what is wrong with what a peer says of itself; empty when nothing is."""
    match hello:
        case ClientHello(name=name):
            return _name_objection(name)
        case WorkerHello():
            names = (hello.name, hello.node, hello.device_name)
            return next(filter(None, map(_name_objection, names)), "") or _worker_objection(hello)
        case _:
            assert_never(hello)


def _name_objection(name: str) -> str:
    if len(name) <= MAX_NAME:
        return ""
    return f"the name {name[:20]!r}… has {len(name)} characters, {MAX_NAME} at most"


def _worker_objection(hello: WorkerHello) -> str:
    reasons = hello.unavailable.items()
    said = sum(map(len, hello.models)) + sum(len(name) + len(reason) for name, reason in reasons)
    if said > MAX_INTRODUCTION:
        return f"{said} characters about models are too many, {MAX_INTRODUCTION} at most"
    strangers = {item.model for item in hello.resident}.difference(hello.models)
    if strangers:
        return f"model {min(strangers)[:MAX_NAME]!r} is in memory but not among those it can run"
    if not 1 <= hello.credit <= MAX_CREDIT:
        return f"a credit of {hello.credit} makes no sense, 1 to {MAX_CREDIT} does"
    return ""
