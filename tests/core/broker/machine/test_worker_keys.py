"""I24: a worker answers for what its own key was given, whatever it calls itself and knows."""

from typing import Any

from tests.harness.broker_harness import (
    ALICE,
    W1,
    W2,
    BrokerHarness,
    beat,
    cancel,
    make_machine,
    ready,
    restarted,
    workers,
)

from paintmq.broker.machine import Credentials
from paintmq.task import PeerId, TaskError, TaskState
from paintmq.testing.example_tasks import make_hello, make_request
from paintmq.wire.messages import (
    Abandon,
    AttemptFailed,
    AttemptSucceeded,
    Finished,
    WorkerGoodbye,
)

W1_AGAIN = PeerId(b"worker-1-again")
ERROR = TaskError(code="model_error", message="boom")


def with_two_keys(**of_second: Any) -> BrokerHarness:
    """Return a broker with a worker of one key, and a second key that a hostile program has."""
    broker = BrokerHarness(make_machine())
    broker.keys = {
        W1: Credentials(key="one", is_admin=False),
        W1_AGAIN: Credentials(key="one", is_admin=False),
        W2: Credentials(key="two", is_admin=False, **of_second),
    }
    broker.greet()
    broker.join(W1)
    return broker


def test_workers_of_two_keys_may_have_one_name_and_are_two() -> None:
    """I25: a key that takes another's name neither keeps its worker out nor is taken for it."""
    broker = with_two_keys()
    broker.receive(W2, make_hello("node/cpu-0"))
    first, second = broker.submit(make_request("1")), broker.submit(make_request("2"))
    broker.receive(W1_AGAIN, make_hello("node/cpu-0", replaces=W1))

    assert [(row["name"], row["key"]) for row in workers(broker)] == [
        ("node/cpu-0", "two"),
        ("node/cpu-0", "one"),
    ]
    assert broker.status(second).worker_key == "two", "it goes on"
    assert broker.status(first).history[-1].outcome == "undelivered"


def test_of_two_workers_with_one_name_none_is_drained_until_it_is_said_which() -> None:
    broker = with_two_keys()
    broker.receive(W2, make_hello("node/cpu-0"))
    refused = broker.ask("drain_worker", name="node/cpu-0").error

    assert "key one" in refused
    assert "key two" in refused
    assert [row["draining"] for row in workers(broker)] == [False, False]
    broker.ask("drain_worker", name="node/cpu-0", session=workers(broker)[1]["session"])
    assert [row["draining"] for row in workers(broker)] == [False, True]


def test_a_result_from_another_worker_changes_nothing() -> None:
    """I5, I24: it knows task and fence."""
    broker = with_two_keys()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.join(W2)
    forged = AttemptSucceeded(task_id=task.id, fence=item.fence, outputs=(), ran=1.0)
    broker.receive(W2, forged)

    assert broker.status(task).state is TaskState.LEASED
    assert broker.heard(ALICE, Finished) == []
    broker.succeed(item)
    assert broker.status(task).worker == "node/cpu-0"


def test_a_lease_is_not_claimed_by_another_key_in_the_name_of_its_worker() -> None:
    """I24: while the worker is away, its name is free and its fence is known."""
    broker = with_two_keys()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    broker.take(broker.machine.peer_lost(W1, now=broker.now))
    claim = ((task.id, item.fence),)

    broker.receive(W2, make_hello("node/cpu-0", running=claim))
    beat(broker, item, worker=W2)
    broker.succeed(item, W2)

    assert broker.heard(W2, Abandon) == [Abandon(task_id=task.id, fence=item.fence, grace=0.0)] * 2
    assert broker.status(task).state is TaskState.RUNNING
    assert broker.status(task).losses == 0, "nor is it lost because the namesake does not claim it"
    broker.receive(W2, WorkerGoodbye())
    broker.receive(W1_AGAIN, make_hello("node/cpu-0", running=claim))
    broker.succeed(item, W1_AGAIN)
    assert broker.status(task).state is TaskState.SUCCEEDED


def test_a_lease_is_not_claimed_by_another_key_after_a_restart() -> None:
    """I24."""
    broker = with_two_keys()
    task = broker.submit()
    (item,) = broker.assigned()
    again = restarted(broker)
    again.keys = broker.keys
    again.receive(W2, make_hello("node/cpu-0", running=((task.id, item.fence),)))
    again.succeed(item, W2)
    assert again.status(task).state is TaskState.LEASED

    again.receive(W2, WorkerGoodbye())
    again.receive(W1, make_hello("node/cpu-0", running=((task.id, item.fence),)))
    again.succeed(item)

    assert again.status(task).state is TaskState.SUCCEEDED


def test_a_lease_in_a_queue_that_its_key_is_not_for_any_more_is_not_claimed() -> None:
    broker = with_two_keys()
    task = broker.submit()
    (item,) = broker.assigned()
    assert broker.status(task).queue == "cpu-light"
    broker.take(broker.machine.peer_lost(W1, now=broker.now))
    broker.keys[W1] = Credentials(key="one", is_admin=False, queues=("cpu-intensive",))

    hello = make_hello("node/cpu-0", queue="cpu-intensive", running=((task.id, item.fence),))
    broker.receive(W1, hello)

    assert len(broker.heard(W1, Abandon)) == 2, "once as it was lost, once as it was claimed"
    assert broker.status(task).state is TaskState.QUEUED


def test_a_lease_from_before_the_broker_had_keys_is_claimed_by_fence_and_name() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    again = restarted(broker)
    again.keys = {W1: Credentials(key="one", is_admin=False)}
    again.receive(W1, make_hello("node/cpu-0", running=((task.id, item.fence),)))
    again.succeed(item)

    assert again.status(task).state is TaskState.SUCCEEDED


def test_a_worker_replaces_nobody_but_itself() -> None:
    """I24, I25: the id of another's connection may be known."""
    broker = with_two_keys()
    task = broker.submit(make_request(cancel_on_disconnect=True))
    (item,) = broker.assigned()
    broker.start(item)
    broker.receive(W2, make_hello("node/cpu-1", replaces=ALICE))
    broker.receive(W2, make_hello("node/cpu-1", replaces=W1))

    assert broker.status(task).state is TaskState.RUNNING
    assert {row["name"] for row in workers(broker)} == {"node/cpu-0", "node/cpu-1"}
    broker.receive(
        W1_AGAIN, make_hello("node/cpu-0", replaces=W1, running=((task.id, item.fence),))
    )
    assert len(workers(broker)) == 2, "a connection of its own is replaced"
    broker.succeed(item, W1_AGAIN)
    assert broker.status(task).state is TaskState.SUCCEEDED


def test_a_worker_that_does_not_stop_is_given_no_credit_by_what_another_says() -> None:
    broker = with_two_keys()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    cancel(broker, task.id)
    broker.join(W2, models=("other",))
    error = AttemptFailed(task_id=task.id, fence=item.fence, error=ERROR)
    broker.receive(W2, error)
    broker.submit(make_request("2"))
    assert len(broker.assigned()) == 1, "it is still at the first"

    broker.receive(W1, error)

    assert len(broker.assigned()) == 2
