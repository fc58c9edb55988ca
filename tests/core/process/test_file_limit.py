"""A broker that may open no more files: it lives, says so, and loses nothing it has promised."""

import resource
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.harness.broker_process import BrokerProcess
from tests.harness.toy_broker import picture_task, toy_client, toy_worker
from tests.harness.wire_peer import WirePeer

from paintmq.config import Config, Limits, QueueConfig
from paintmq.process import file_limit
from paintmq.task import TaskState
from paintmq.testing.example_tasks import describe, make_hello
from paintmq.wire.messages import (
    Accepted,
    Answer,
    Ask,
    Assign,
    AttemptSucceeded,
    ClientHello,
    Finished,
    Submit,
    Welcome,
    WhoAreYou,
    WorkerWelcome,
)

LARGE = b"large " * 100_000
"""A file in the journal."""


def config(transport: str = "router", *, max_peers: int = 100) -> Config:
    queues = {"only": QueueConfig(transport=transport)}  # type: ignore[arg-type]
    return Config(queues=queues, limits=Limits(max_peers=max_peers))


def ask(peer: WirePeer) -> None:
    """Have the broker's loop turn."""
    peer.say(Ask(request_id=1, subject="version"))
    peer.hear(Answer)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["router", "pushpull"])
def test_a_broker_works_on_while_no_file_can_be_opened_and_newcomers_wait(
    tmp_path: Path, transport: str
) -> None:
    with (
        BrokerProcess(transport=transport, journal=tmp_path / "journal") as broker,
        toy_client(broker) as alice,
        toy_worker(broker) as bob,
        ExitStack() as stack,
    ):
        bob.hear(WorkerWelcome)
        first, second = picture_task(LARGE), picture_task(LARGE + b"2")
        alice.say(Submit(first), [LARGE])
        alice.hear(Accepted)
        item = bob.hear(Assign).assignments[0]

        worker_port = broker.queue_endpoints["cpu-light"]
        early = stack.enter_context(WirePeer(worker_port))
        early.say_raw(b"nonsense")
        early.hear(WhoAreYou)  # so it is connected

        broker.close_the_door()
        early.say(make_hello("node/early"))
        output = describe("image", LARGE)
        done = AttemptSucceeded(task_id=first.id, fence=item.fence, outputs=(output,), ran=0.1)
        bob.say(done, [LARGE])
        alice.say(Submit(second), [LARGE + b"2"])
        with WirePeer(broker.client_endpoint) as late, WirePeer(worker_port) as later:
            finished, payloads = alice.hear_with_payloads(Finished)
            assert (finished.task_id, finished.state) == (first.id, TaskState.SUCCEEDED)
            assert payloads == [LARGE]
            assert alice.hear(Accepted).task_id == second.id
            ask(alice)

            broker.open_the_door()
            late.say(ClientHello())
            late.hear(Welcome)
            later.say(make_hello("node/late"))
            later.hear(WorkerWelcome)
            early.say(make_hello("node/early"))
            early.hear(WorkerWelcome)


def test_there_are_files_for_as_many_peers_as_are_allowed() -> None:
    assert file_limit.wanted(config(max_peers=100)) == file_limit.RESERVE + 200
    assert file_limit.wanted(config("pushpull", max_peers=100)) == file_limit.RESERVE + 600


@pytest.mark.parametrize(
    ("files", "peers"),
    [(file_limit.RESERVE + 50, 25), (file_limit.RESERVE, 1), (10, 1), (1_000_000, 100)],
)
def test_only_so_many_peers_are_served_as_files_may_be_opened_for(files: int, peers: int) -> None:
    assert file_limit.peers_within(files, config()) == peers
    assert file_limit.peers_within(resource.RLIM_INFINITY, config()) == 100


class Limit:
    """What the system allows this process, instead of the real one."""

    def __init__(self, soft: int, hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = (soft, hard)
        monkeypatch.setattr(resource, "getrlimit", lambda _: self.now)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, _: int, limits: tuple[int, int]) -> None:
        self.now = limits


@pytest.mark.parametrize(
    ("soft", "hard", "after"),
    [
        (1024, 4096, 3000),
        (1024, 2000, 2000),
        (1024, resource.RLIM_INFINITY, 3000),
        (5000, 8000, 5000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    ],
)
def test_a_service_lets_itself_open_what_it_may_need(
    soft: int, hard: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = Limit(soft, hard, monkeypatch)

    file_limit.allow(3000)

    assert limit.now == (after, hard)
    assert file_limit.limits_within(config()).max_peers == 100
