"""Who is there: peers say hello, are heard of, change and go."""

from tests.harness.broker_harness import ALICE, W1, W2, BrokerHarness, fence_before, ready, workers

from paintmq.task import TaskState
from paintmq.testing.example_tasks import make_hello, make_request
from paintmq.wire.messages import (
    Abandon,
    AttemptProgressed,
    BrokerHeartbeat,
    ClientGoodbye,
    ClientHello,
    Heartbeat,
    ModelLoaded,
    ModelUnloaded,
    Refused,
    Submit,
    WhoAreYou,
    WorkerWelcome,
)


def test_a_peer_that_speaks_another_protocol_is_refused_in_words() -> None:
    """I18."""
    broker = BrokerHarness()
    broker.receive(ALICE, ClientHello(oldest=99, newest=99))
    broker.receive(W1, make_hello(oldest=0, newest=0))

    assert "update the broker" in broker.heard(ALICE, Refused)[0].reason
    assert broker.heard(W1, Refused)[0].reason.endswith("update it")
    broker.submit()
    assert broker.heard(ALICE, WhoAreYou) == [WhoAreYou()]


def test_a_client_cannot_speak_as_a_worker_nor_a_worker_as_a_client() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.succeed(item, ALICE)
    broker.receive(W1, Submit(make_request("2")))

    assert broker.status(task).state is TaskState.LEASED
    assert "client" in broker.heard(ALICE, Refused)[0].reason
    assert "worker" in broker.heard(W1, Refused)[0].reason


def test_heartbeats_are_answered() -> None:
    broker = ready()
    broker.receive(ALICE, Heartbeat())
    broker.receive(W1, Heartbeat())

    assert broker.heard(ALICE, BrokerHeartbeat) == broker.heard(W1, BrokerHeartbeat)


def test_a_goodbye_from_a_stranger_is_not_answered() -> None:
    broker = BrokerHarness()

    assert broker.receive(ALICE, ClientGoodbye()) == []


def test_saying_hello_again_changes_nothing() -> None:
    broker = ready()
    broker.greet()
    broker.submit()
    broker.join()

    assert len(broker.assigned()) == 1
    assert len(broker.heard(W1, WorkerWelcome)) == 2


def test_a_worker_may_change_what_it_offers_while_it_runs() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    broker.join(W1, models=("toy", "other"), running=((task.id, item.fence),))
    broker.succeed(item)

    assert broker.status(task).state is TaskState.SUCCEEDED


def test_what_workers_load_and_unload_is_known() -> None:
    broker = ready()
    broker.receive(W1, ModelLoaded(model="toy", seconds=1.0, memory_mb=64))
    row = workers(broker)[0]
    assert row["resident"] == ["toy"]

    broker.receive(W1, ModelUnloaded(model="toy"))
    row = workers(broker)[0]
    assert row["resident"] == []


def test_a_client_that_leaves_as_a_lease_runs_out_leaves_nothing_behind() -> None:
    """Found by the state machine: both fell due at once, and it was queued again."""
    broker = BrokerHarness()
    broker.greet()
    task = broker.submit(make_request(cancel_on_disconnect=True))
    broker.join(W1)
    broker.start(broker.assigned()[0])
    broker.receive(ALICE, Heartbeat())
    broker.now += 60.0
    broker.take(broker.machine.tick(now=broker.now))

    assert broker.status(task).state is TaskState.CANCELLED


def test_a_worker_on_a_new_connection_may_go_on_before_its_old_one_is_missed() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    broker.receive(W2, make_hello("node/cpu-0", running=((task.id, item.fence),)))
    broker.receive(W2, AttemptProgressed(task_id=task.id, fence=item.fence, step=1, total=2))
    broker.take(broker.machine.peer_lost(W1, now=broker.now))
    broker.succeed(item, W2)

    assert broker.status(task).state is TaskState.SUCCEEDED
    assert broker.status(task).attempt == 1


def test_a_result_counts_only_from_the_connection_that_holds_the_lease() -> None:
    """I5: a worker that comes over another one says first which attempts it still holds."""
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.receive(W2, make_hello("node/cpu-0"))
    broker.succeed(item, W2)
    assert broker.status(task).state is TaskState.LEASED
    assert broker.machine.statistics(now=broker.now).stale_answers == 1

    broker.receive(W2, Heartbeat(running=((task.id, item.fence),)))
    broker.succeed(item, W2)

    assert broker.status(task).state is TaskState.SUCCEEDED


def test_progress_by_an_old_fence_is_told_to_stop() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    old = fence_before(item.fence)
    broker.receive(W1, AttemptProgressed(task_id=task.id, fence=old, step=1, total=2))

    assert broker.heard(W1, Abandon) == [Abandon(task_id=task.id, fence=old, grace=0.0)]
    assert broker.status(task).state is TaskState.LEASED
