"""A machine whose step raised goes on: the task it dealt with ends, everything else stays."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.harness.broker_harness import ALICE, W1, BrokerHarness, beat, ready

from paintmq.broker.machine.leases import Leases
from paintmq.broker.machine.lifecycle import Lifecycle
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.task import TaskState
from paintmq.testing.example_tasks import make_request
from paintmq.wire.messages import Abandon, Ask, Cancel, Finished, Submit


def once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    """Let a method raise when it is next called."""
    original: Callable[..., Any] = getattr(owner, name)

    def method(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(owner, name, original)
        raise LookupError("planted")

    monkeypatch.setattr(owner, name, method)


def failed(broker: BrokerHarness, message: Any, peer: Any = ALICE) -> None:
    """Give the machine what it fails on, and let it recover."""
    with pytest.raises(LookupError, match="planted"):
        broker.machine.receive(peer, message, now=broker.now)
    broker.take(broker.machine.recover("LookupError", now=broker.now))


def test_a_task_that_was_recorded_but_not_queued_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = ready()
    once(monkeypatch, Scheduler, "add")

    task = make_request()
    failed(broker, Submit(task))

    assert broker.status(task).state is TaskState.DEAD
    assert broker.status(task).error.code == "broker_error"
    assert "LookupError" in broker.heard(ALICE, Finished)[0].error.message  # type: ignore[union-attr]
    other = broker.submit(make_request("2"))
    assert broker.status(other).state is TaskState.LEASED, "the worker is free for it"


def test_a_task_that_cannot_be_leased_ends_and_its_worker_takes_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = ready()
    once(monkeypatch, Leases, "_lease")

    task = make_request()
    failed(broker, Submit(task))

    assert broker.status(task).state is TaskState.DEAD
    assert broker.assigned() == []
    other = broker.submit(make_request("2"))
    assert [item.task.id for item in broker.assigned()] == [other.id]


def test_an_attempt_on_whose_end_the_machine_fails_is_taken_from_its_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = ready()
    task = broker.submit()
    once(monkeypatch, Scheduler, "started")
    (item,) = broker.assigned()
    with pytest.raises(LookupError):
        broker.start(item)
    broker.take(broker.machine.recover("LookupError", now=broker.now))

    assert broker.status(task).state is TaskState.DEAD
    assert broker.heard(W1, Abandon)[0].task_id == task.id
    beat(broker)
    other = broker.submit(make_request("2"))
    assert broker.status(other).state is TaskState.LEASED


def test_a_deadline_on_which_the_machine_fails_ends_its_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = BrokerHarness()
    broker.greet()
    task = broker.submit(make_request(expires_in=5.0))
    once(monkeypatch, Lifecycle, "expire")
    with pytest.raises(LookupError):
        broker.let_pass(6.0)
    broker.take(broker.machine.recover("LookupError", now=broker.now))

    assert broker.status(task).state is TaskState.DEAD


def test_a_fault_that_no_task_is_to_blame_for_ends_none(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = ready()
    task = broker.submit()
    once(monkeypatch, type(broker.machine._control), "answer")

    failed(broker, Ask(request_id=1, subject="statistics"))
    once(monkeypatch, Leases, "dispatch")
    failed(broker, Submit(make_request("2")))

    assert broker.status(task).state is TaskState.LEASED
    assert broker.status(make_request("2")).state is TaskState.QUEUED


def test_if_giving_a_task_up_fails_too_it_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = ready()
    task = broker.submit()
    once(monkeypatch, Lifecycle, "_take_away")
    with pytest.raises(LookupError):
        broker.machine.receive(ALICE, Cancel(task.id), now=broker.now)
    once(monkeypatch, Lifecycle, "give_up")
    with pytest.raises(LookupError):
        broker.machine.recover("LookupError", now=broker.now)

    assert broker.machine.recover("LookupError", now=broker.now).records == ()
    assert broker.status(task).state is TaskState.LEASED
