"""Work under way comes before intake: what clients send waits, and is not refused for it (I25)."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve
from tests.harness.toy_broker import toy_client, toy_config, toy_plugins, toy_task, toy_worker
from tests.harness.wire_peer import WirePeer

from paintmq.broker.connections.peers import Peer
from paintmq.broker.shell import intake
from paintmq.broker.shell.intake import (
    BUSY_RECORDS,
    BUSY_SHARE,
    IDLE_RECORDS,
    MOST_SECONDS,
    PATIENCE,
    Intake,
)
from paintmq.broker.shell.server import BrokerServer
from paintmq.broker.stores.memory import MemoryStore
from paintmq.config import QueueConfig
from paintmq.storing import Collected, Entry
from paintmq.testing.example_tasks import PATIENCE as AMPLE
from paintmq.wire.messages import (
    Accepted,
    Assign,
    AttemptRecorded,
    AttemptSucceeded,
    BrokerHeartbeat,
    Heartbeat,
    Submit,
    Welcome,
    WhoAreYou,
)


def caught_up() -> Intake:
    taking = Intake()
    assert taking.is_open(unwritten=0, durable=0, is_working=False, now=1.0)
    return taking


def test_without_work_under_way_clients_get_all_the_time_and_a_long_line_of_records() -> None:
    taking = caught_up()

    assert taking.seconds(is_working=False) == MOST_SECONDS
    assert taking.is_open(unwritten=IDLE_RECORDS - 1, durable=0, is_working=False, now=1.0)
    assert not taking.is_open(unwritten=IDLE_RECORDS, durable=0, is_working=False, now=1.0)


def test_with_work_under_way_clients_get_what_is_idle_and_a_share_of_what_is_busy() -> None:
    taking = caught_up()
    assert taking.seconds(is_working=True) == 0.0
    taking.earn(idle=0.0, busy=0.01)
    assert taking.seconds(is_working=True) == pytest.approx(0.01 * BUSY_SHARE)
    taking.earn(idle=1.0, busy=0.0)
    assert taking.seconds(is_working=True) == MOST_SECONDS, "and none is saved up"

    assert taking.is_open(unwritten=BUSY_RECORDS - 1, durable=0, is_working=True, now=1.0)
    assert not taking.is_open(unwritten=BUSY_RECORDS, durable=0, is_working=True, now=1.0)


def hears_light(taking: Intake) -> bool:
    return taking.hears_light


def test_time_that_clients_took_beyond_their_share_is_earned_before_they_are_read_again() -> None:
    taking, turns = caught_up(), 0
    taking.earn(idle=0.0, busy=0.01)
    taking.spend(0.005)
    assert taking.seconds(is_working=True) == 0.0
    assert hears_light(taking), "those that say little are heard all the same"
    while not taking.seconds(is_working=True):
        taking.earn(idle=0.0, busy=0.001)
        turns += 1
    assert turns == pytest.approx((0.005 - 0.01 * BUSY_SHARE) / BUSY_SHARE / 0.001, abs=1.1)
    assert taking.wait == 0.0

    for _ in range(9):
        taking.spend(1.0)
    assert not hears_light(taking), "but not without end"
    assert taking.wait > 0.0
    taking.earn(idle=taking.wait, busy=0.0)
    assert taking.seconds(is_working=True) > 0.0


def test_clients_are_heard_again_when_no_commit_comes_for_long() -> None:
    taking = Intake()
    held = {"unwritten": BUSY_RECORDS, "is_working": True}

    assert taking.is_open(unwritten=0, durable=7, is_working=True, now=10.0)
    assert not taking.is_open(durable=7, now=10.0 + PATIENCE, **held)  # type: ignore[arg-type]
    assert taking.is_open(durable=7, now=10.1 + PATIENCE, **held)  # type: ignore[arg-type]
    assert not taking.is_open(durable=8, now=10.1 + PATIENCE, **held)  # type: ignore[arg-type]


class StuckStore(MemoryStore):
    """Makes nothing durable until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.appended = 0
        self.reached = threading.Event()
        self.released = threading.Event()
        self.wake: Callable[[], None] = lambda: None
        self._durable = 0

    def open(self, wake: Callable[[], None]):  # type: ignore[no-untyped-def]  # as MemoryStore
        self.wake = wake
        return super().open(wake)

    def append(self, entry: Entry) -> None:
        super().append(entry)
        self.appended += 1
        if self.appended >= IDLE_RECORDS:
            self.reached.set()

    def collect(self) -> Collected:
        collected = super().collect()
        if self.released.is_set() or self.appended < 3:
            self._durable = collected.durable_sequence
        return evolve(collected, durable_sequence=self._durable)


def test_clients_wait_while_the_journal_is_behind_and_are_read_when_it_has_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others are heard meanwhile, and nobody is refused or dropped."""
    monkeypatch.setattr(intake, "PATIENCE", 1e9)
    store, plugins = StuckStore(), toy_plugins()
    monkeypatch.setattr("paintmq.broker.shell.server.make_store", lambda *_, **__: store)
    config = evolve(toy_config(), queues={"cpu-light": QueueConfig(capacity=10_000)})
    with BrokerServer(config, plugins) as server, toy_client(server) as client:
        for _ in range(1_000):
            client.link.send(Submit(toy_task()))
        client.say(Heartbeat())
        assert store.reached.wait(AMPLE)
        with WirePeer(server.queue_endpoints["cpu-light"]) as stranger:
            stranger.say_raw(b"whatever")
            stranger.hear(WhoAreYou)

            assert IDLE_RECORDS <= store.appended < IDLE_RECORDS + 64
        store.released.set()
        store.wake()
        for _ in range(1_000):
            client.hear(Accepted)
        server.stop(grace=0)


@pytest.mark.parametrize("durable", [False, True])
def test_endings_are_recorded_while_submissions_stream_in(tmp_path: Path, *, durable: bool) -> None:
    config = toy_config(tmp_path / "journal" if durable else None)
    queues = {"cpu-light": QueueConfig(capacity=10_000)}
    with (
        BrokerServer(evolve(config, queues=queues), toy_plugins()) as server,
        toy_client(server) as client,
        toy_worker(server) as worker,
    ):
        client.say(Submit(toy_task()))
        for _ in range(2_000):
            client.link.send(Submit(toy_task()))
        client.say(Heartbeat())
        ended = 0
        while ended < 20:
            for item in worker.hear(Assign).assignments:
                done = AttemptSucceeded(
                    task_id=item.task.id, fence=item.fence, outputs=(), ran=0.01
                )
                worker.say(done)
                worker.hear(AttemptRecorded)
                ended += 1
        for _ in range(2_001):
            client.hear(Accepted)
        server.stop(grace=0)


def test_a_single_task_does_not_wait_behind_the_many_of_another_client() -> None:
    """It has its turn after a few of them, though all came before it."""
    queues = {"cpu-light": QueueConfig(capacity=10_000)}
    with (
        BrokerServer(evolve(toy_config(), queues=queues), toy_plugins()) as server,
        toy_client(server) as flood,
        toy_client(server) as other,
        toy_worker(server) as worker,
    ):
        flood.say(Submit(toy_task()))
        item = worker.hear(Assign).assignments[0]  # so that work is under way
        for _ in range(3_000):
            flood.link.send(Submit(toy_task()))
        single = toy_task()
        other.link.send(Submit(single))
        flood.say(Heartbeat())
        other.say(Heartbeat())
        assert other.hear(Accepted).task_id == single.id
        for _ in range(3_001):
            flood.hear(Accepted)
        worker.say(AttemptSucceeded(task_id=item.task.id, fence=item.fence, outputs=(), ran=0.01))
        worker.hear(AttemptRecorded)
        server.stop(grace=0)


def test_a_peer_that_is_behind_is_heard_but_not_given_more_to_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever is ignored is repeated, since it was not answered."""
    behind, asked = False, threading.Event()

    def is_behind(peer: Peer) -> bool:
        was_behind = behind
        asked.set()
        return was_behind

    monkeypatch.setattr(Peer, "is_behind", property(is_behind))
    with BrokerServer(toy_config(), toy_plugins()) as server, toy_client(server) as client:
        client.hear(Welcome)
        task = toy_task()
        behind = True
        asked.clear()
        client.say(Submit(task))
        assert asked.wait(AMPLE)
        behind = False
        client.say(Heartbeat())
        client.hear(BrokerHeartbeat)
        assert not [each for each in client.put_aside() if isinstance(each, Accepted)]

        client.say(Submit(task))
        assert client.hear(Accepted).task_id == task.id
        server.stop(grace=0)
