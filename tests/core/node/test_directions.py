"""Where the workers of a node go, and when it asks again."""

import threading
from typing import Any

import pytest

from paintmq.config import QueueConfig
from paintmq.node.directions import Directions, DirectionsKeeper, directions_from, unreachable
from paintmq.worker.agent.known_broker import KnownBroker

ANSWER: dict[str, Any] = {
    "client": "tcp://0.0.0.0:5550",
    "queues": {"cpu": "tcp://0.0.0.0:15559", "gpu": "tcp://[::]:5555"},
    "advertise": "",
    "incarnation": 7,
    "requirements": {"gpu": {"device": "cuda", "gpu_memory_mb": 100, "effort": "any"}},
}


def test_queues_are_on_the_host_by_which_the_broker_was_reached() -> None:
    found = directions_from("tcp://far:15550", ANSWER)

    assert found == Directions(
        endpoints={"cpu": "tcp://far:15559", "gpu": "tcp://far:5555"},
        queues={"gpu": QueueConfig(device="cuda", gpu_memory_mb=100)},
        incarnation=7,
    )


@pytest.mark.parametrize("host", ["far", "2001:db8::1"])
def test_queues_are_on_the_host_that_the_broker_advertises(host: str) -> None:
    found = directions_from("tcp://near:15550", {**ANSWER, "advertise": host})

    assert found is not None
    where = f"[{host}]" if ":" in host else host
    assert found.endpoints["gpu"] == f"tcp://{where}:5555"


def test_a_broker_of_version_6_is_reached_by_version_6() -> None:
    found = directions_from("tcp://[::1]:15550", ANSWER)

    assert found is not None
    assert found.endpoints["cpu"] == "tcp://[::1]:15559"


def test_an_earlier_broker_tells_neither_who_it_is_nor_what_its_queues_are_for() -> None:
    found = directions_from("tcp://far:1", {"client": "", "queues": {"cpu": "tcp://127.0.0.1:2"}})

    assert found == Directions(endpoints={"cpu": "tcp://far:2"}, queues={}, incarnation=None)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"queues": ["tcp://127.0.0.1:2"]},
        {**ANSWER, "requirements": {"gpu": {"device": "cuda"}}},
        {**ANSWER, "queues": {"cpu": "tcp://127.0.0.1:port"}},
    ],
)
def test_what_is_no_brokers_answer_gives_no_directions(answer: Any) -> None:
    assert directions_from("tcp://far:1", answer) is None


def test_a_queue_that_cannot_be_reached_is_told_with_its_address_and_the_remedy() -> None:
    (line,) = unreachable({"cpu": "tcp://nowhere.invalid:5"}, broker="tcp://far:1")

    assert "queue cpu is at tcp://nowhere.invalid:5" in line
    assert "no machine is known by the name nowhere.invalid" in line
    assert "queues.cpu.advertise_port" in line


class Broker:
    """Answers with these directions, and is down for the first question."""

    def __init__(self) -> None:
        self.asked = 0
        self.followed = threading.Event()
        self.directions = Directions(endpoints={}, queues={}, incarnation=2)

    def ask(self) -> Directions:
        self.asked += 1
        if self.asked == 1:
            raise ConnectionRefusedError("nobody there")
        return self.directions

    def follow(self, directions: Directions) -> None:
        assert directions is self.directions
        self.followed.set()


def test_a_doubt_is_settled_by_asking_until_the_broker_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("paintmq.node.directions.AGAIN", 0.01)
    broker, known = Broker(), KnownBroker(1)
    keeper = DirectionsKeeper(
        ask=broker.ask, follow=broker.follow, homes=dict, known=known, broker="tcp://far:1"
    )
    keeper.start()
    assert not known.accepts(2)

    known.doubt("another broker answers")

    assert broker.followed.wait(30)
    assert known.accepts(2)
    keeper.stop()
    assert "no directions from the broker at tcp://far:1: nobody there" in caplog.text


def test_where_brokers_stand_by_for_each_other_who_leads_is_found_without_a_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked in vain at first, as while nobody leads."""
    monkeypatch.setattr("paintmq.node.directions.AGAIN", 0.01)
    broker, known = Broker(), KnownBroker(1)
    keeper = DirectionsKeeper(
        ask=broker.ask,
        follow=broker.follow,
        homes=dict,
        known=known,
        broker="tcp://a:1,tcp://b:1",
        looks_after=0.01,
    )

    keeper.start()

    assert broker.followed.wait(30)
    assert known.accepts(2)
    keeper.stop()


def test_who_leads_still_is_not_followed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paintmq.node.directions.AGAIN", 0.01)
    asked = threading.Semaphore(0)
    homes = {"cpu": "tcp://a:2"}
    same = Directions(endpoints=dict(homes), queues={}, incarnation=1)
    followed: list[Directions] = []

    def ask() -> Directions:
        asked.release()
        return same

    keeper = DirectionsKeeper(
        ask=ask,
        follow=followed.append,
        homes=lambda: homes,
        known=KnownBroker(1),
        broker="tcp://a:1,tcp://b:1",
        looks_after=0.01,
    )
    keeper.start()
    for _ in range(5):
        assert asked.acquire(timeout=30)
    assert not followed

    homes["cpu"] = "tcp://b:2"  # a worker's key does not tell which broker it is

    for _ in range(5):
        assert asked.acquire(timeout=30)
    keeper.stop()
    assert followed
