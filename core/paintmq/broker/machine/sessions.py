"""Sessions: the connected workers and clients, by routing id."""

from typing import assert_never

from attrs import define, field

from paintmq.broker.machine.credentials import NO_KEYS, Credentials
from paintmq.task import PeerId
from paintmq.wire.messages import PROTOCOL_VERSION, RUNS_VERSION, ClientHello, WorkerHello

MAX_NAME = 255
"""Longest name, in characters."""
MAX_INTRODUCTION = 65_536
"""Characters a worker may use to describe its models; they are kept while it is connected."""
MAX_CREDIT = 1_000
MAX_TROUBLE = 4_000
"""Characters kept of a worker's description of its trouble."""


class BadQuestionError(Exception):
    """The arguments of a control request are invalid; the text is sent to the client."""


@define
class WorkerSession:
    """One connection of one worker.

    A worker is identified by its name and key together, because it chooses its name itself. If the
    name alone identified it, a worker with another key could answer in its place; if a name
    belonged to the first key that uses it, another key could take it and keep the worker out.
    """

    peer: PeerId
    hello: WorkerHello
    credentials: Credentials = NO_KEYS
    draining: bool = False
    trouble: str = ""
    """Why it cannot run anything for now, as it says itself; it then counts as draining as well."""


@define
class ClientSession:
    """One connection of one client."""

    peer: PeerId
    hello: ClientHello
    credentials: Credentials = NO_KEYS


@define
class Sessions:
    """The connected peers. Their silence is watched by the broker's deadlines, not here."""

    workers: dict[PeerId, WorkerSession] = field(factory=dict[PeerId, WorkerSession], init=False)
    clients: dict[PeerId, ClientSession] = field(factory=dict[PeerId, ClientSession], init=False)

    cordoned: dict[str, None] = field(factory=dict[str, None], init=False)
    """Workers and nodes that are given nothing, by name."""

    def named(self, name: str) -> list[WorkerSession]:
        """Return the worker of that name, or those of the node."""
        return [
            each for each in self.workers.values() if name in (each.hello.name, each.hello.node)
        ]

    def is_cordoned(self, worker: WorkerSession) -> bool:
        return worker.hello.name in self.cordoned or worker.hello.node in self.cordoned

    def workers_by_queue(self) -> dict[str, int]:
        """Return the number of workers per home queue."""
        counts: dict[str, int] = {}
        for worker in self.workers.values():
            counts[worker.hello.queue] = counts.get(worker.hello.queue, 0) + 1
        return counts


def version_objection(oldest: int, newest: int, *, ours: int, our_oldest: int) -> str:
    """Return why a peer with these protocol versions cannot be served; empty if it can."""
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


def spoken_to(hello: WorkerHello | ClientHello) -> int:
    """Return what a welcome says of the versions spoken here: nothing, to those who cannot read
    it.
    """
    return PROTOCOL_VERSION if hello.newest >= RUNS_VERSION else RUNS_VERSION - 1


def introduction_objection(hello: WorkerHello | ClientHello) -> str:
    """Return what is wrong with a peer's introduction; empty if nothing is."""
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
    return f"the name {name[:20]!r}… has {len(name)} characters, at most {MAX_NAME} are allowed"


def _worker_objection(hello: WorkerHello) -> str:
    reasons = hello.unavailable.items()
    said = sum(map(len, hello.models)) + sum(len(name) + len(reason) for name, reason in reasons)
    if said > MAX_INTRODUCTION:
        return f"its list of models has {said} characters, at most {MAX_INTRODUCTION} are allowed"
    strangers = {item.model for item in hello.resident}.difference(hello.models)
    if strangers:
        return (
            f"model {min(strangers)[:MAX_NAME]!r} is in memory but not among the models it can run"
        )
    if not 1 <= hello.credit <= MAX_CREDIT:
        return f"a credit of {hello.credit} is not allowed, it must be 1 to {MAX_CREDIT}"
    return ""
