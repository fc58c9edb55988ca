"""Events: numbered, filtered, told to whom they concern; whoever missed some is told so."""

from typing import Any

import pytest
from tests.harness.broker_harness import ALICE, W1, BrokerHarness, make_machine

from paintmq.broker.accounting import events as events_module
from paintmq.broker.accounting.events import EventLog, Filter, Told
from paintmq.broker.accounting.ledger import Ledger
from paintmq.client.event_reader import FIRST_PAUSE, LONGEST_PAUSE, EventReader
from paintmq.task import TaskError
from paintmq.testing.example_tasks import make_request
from paintmq.wire.messages import (
    AttemptFailed,
    AttemptStarted,
    ModelLoaded,
    ResultReceived,
)


class Followed:
    def __init__(self) -> None:
        self.ledger, self.log = Ledger(), EventLog()
        self.broker = BrokerHarness(make_machine(observe=self.ledger.waiting.append))
        self.broker.greet()

    def tell(self, after: int = 0, *, owner: str | None = None, **wanted: Any) -> Told:
        self.log.add(self.ledger.settle(), now=self.broker.now)
        is_admin = owner is None
        return self.log.tell(
            after, Filter(**wanted), lambda of: is_admin or of == owner, is_admin=is_admin
        )

    def names(self, **more: Any) -> list[Any]:
        return [event["event"] for event in self.tell(**more).events]  # type: ignore[index, call-overload]  # tables


@pytest.fixture
def followed() -> Followed:
    return Followed()


def test_a_tasks_life_is_told_in_order(followed: Followed) -> None:
    broker = followed.broker
    request = broker.submit(make_request("a", tenant="studio"))
    broker.join()
    broker.receive(W1, ModelLoaded(model="toy", seconds=2.0, memory_mb=64))
    item = broker.assigned()[0]
    broker.receive(W1, AttemptStarted(task_id=item.task.id, fence=item.fence, loading=True))
    broker.let_pass(1.0)
    broker.start(item)
    broker.let_pass(1.0)
    broker.succeed(item)
    broker.receive(ALICE, ResultReceived(request.id))
    told: Any = followed.tell(task=request.id)

    names = ["accepted", "leased", "loading", "running", "succeeded", "acknowledged"]
    assert [event["event"] for event in told.events] == names
    assert [event["number"] for event in told.events] == sorted(e["number"] for e in told.events)
    times = [event["at"] - told.events[0]["at"] for event in told.events]
    assert times == [0.0, 0.0, 0.0, 1.0, 2.0, 2.0]
    assert {event["tenant"] for event in told.events} == {"studio"}
    everything: Any = followed.tell()
    worker = [event for event in everything.events if event["kind"] == "worker"]
    assert [(event["event"], event.get("seconds")) for event in worker] == [
        ("joined", None),
        ("loaded", 2.0),
    ]


def test_why_an_attempt_failed_is_told(followed: Followed) -> None:
    followed.broker.join()
    followed.broker.submit()
    item = followed.broker.assigned()[0]
    error = TaskError(code="model_error", message="boom", retryable=True)
    ids: dict[str, Any] = {"task_id": item.task.id, "fence": item.fence}
    followed.broker.receive(W1, AttemptFailed(**ids, error=error))
    told: Any = followed.tell()

    assert (told.events[-1]["event"], told.events[-1]["detail"]) == ("queued again", "boom")


def test_filters_choose(followed: Followed) -> None:
    followed.broker.join()
    followed.broker.submit(make_request("a", tenant="a"))
    followed.broker.submit(make_request("b", tenant="b", queue="gpu-high"))
    followed.tell()

    assert followed.names(queue="gpu-high") == ["rejected"]
    assert followed.names(tenant="a") == ["accepted", "leased"]
    assert followed.names(model="toy") == ["accepted", "leased"]
    assert followed.names(queue="cpu-light", model="toy") == ["accepted", "leased"]
    assert followed.names(model="other", task="x") == []


def test_others_tasks_and_workers_are_not_told_of(followed: Followed) -> None:
    followed.broker.join()
    followed.broker.submit(make_request("a"))
    followed.broker.submit(make_request("b"))
    waiting = followed.ledger.waiting
    for place, happening in enumerate(waiting):
        if isinstance(happening, tuple) and happening[1].id.endswith("b"):
            event, request, status, before = happening
            waiting[place] = (event, request, status.changed(owner="bob"), before)
    told: Any = followed.tell(owner="bob")

    assert [event["task_id"][-1] for event in told.events] == ["b"]
    assert told.next == followed.log.last


def test_a_reader_goes_on_where_it_was(followed: Followed) -> None:
    followed.broker.submit(make_request("a"))
    first = followed.tell()
    followed.broker.submit(make_request("b"))
    second: Any = followed.tell(first.next)

    assert [event["task_id"][-1] for event in second.events] == ["b"]
    assert followed.tell(second.next).events == []
    assert followed.tell(-1).next == followed.log.last
    assert followed.tell(10_000) == Told(events=[], next=followed.log.last, missed=0, more=False)


def test_whoever_is_too_slow_is_told_how_many_are_gone(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "MOST_KEPT", 5)
    followed.log = EventLog()
    for number in range(8):
        followed.broker.submit(make_request(f"{number:x}"))
    told = followed.tell(after=1)

    assert told.missed == 2
    assert [event["number"] for event in told.events] == [4, 5, 6, 7, 8]  # type: ignore[index, call-overload]  # tables


def test_an_answer_is_bounded(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "MOST_TOLD", 3)
    for number in range(5):
        followed.broker.submit(make_request(f"{number:x}"))
    first = followed.tell()
    second = followed.tell(first.next)

    assert (len(first.events), first.more) == (3, True)
    assert (len(second.events), second.more) == (2, False)
    assert second.to_json()["next"] == 5


# ---- the reader ----------------------------------------------------------------------------------


def answer(*numbers: int, incarnation: int = 1, missed: int = 0, more: bool = False) -> Any:
    events = [{"number": number, "kind": "task", "event": "accepted"} for number in numbers]
    following = max(numbers, default=0)
    return {
        "incarnation": incarnation,
        "events": events,
        "next": following,
        "missed": missed,
        "more": more,
    }


def test_a_reader_asks_for_what_came_after() -> None:
    reader = EventReader({"queue": "q"})
    start = reader.question()
    seen = [event["number"] for event in reader.take(answer(4, 5))]

    assert start == {"queue": "q", "after": -1}
    assert seen == [4, 5]
    assert reader.question()["after"] == 5
    assert reader.pause == FIRST_PAUSE


def test_a_reader_is_told_of_gaps_and_restarts() -> None:
    reader = EventReader({}, after=1)
    gap = list(reader.take(answer(7, missed=5, more=True)))
    hurried = reader.pause
    again = list(reader.take(answer(3, incarnation=2)))

    assert [event["event"] for event in gap] == ["missed", "accepted"]
    assert gap[0]["count"] == 5
    assert hurried == 0.0
    assert [event["event"] for event in again] == ["restarted"]
    assert reader.question()["after"] == 0


def test_a_reader_with_nothing_to_read_asks_ever_more_seldom() -> None:
    reader = EventReader({}, after=0)
    for _ in range(30):
        assert list(reader.take(answer())) == []

    assert reader.pause == LONGEST_PAUSE
