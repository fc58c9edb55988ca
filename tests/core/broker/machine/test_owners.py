"""I24: a task has an owner, the key it came by: no other key learns of it, gets it or ends it."""

from typing import Any

import pytest
from tests.harness.broker_harness import (
    ALICE,
    BOB,
    W1,
    BrokerHarness,
    cancel,
    crash,
    restarted,
)
from tests.harness.two_owners import ADMIN, ALICE_2, IDS, OUTPUT, submit, succeed, with_two_owners

from paintmq.broker.machine import Credentials
from paintmq.broker.machine.reconfiguration import Reconfiguration
from paintmq.broker.records import TaskPurged
from paintmq.config import Limits, QueueConfig, Timers
from paintmq.task import PeerId, TaskState
from paintmq.wire.messages import (
    Accepted,
    CancelAnswered,
    ClientGoodbye,
    Finished,
    Progressed,
    Query,
    ResultReceived,
    Submit,
    UnknownTask,
    WorkerGoodbye,
)

# ---- nobody learns of it -------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [False, True])
def test_another_key_is_told_of_a_task_what_it_is_told_of_one_that_there_is_not(
    ends: bool,
) -> None:
    """I24."""
    broker = with_two_owners()
    task = submit(broker)
    if ends:
        succeed(broker)
    heard = len(broker.said)

    for number in (1, 2):
        broker.receive(BOB, Query((IDS[number],)))
        assert cancel(broker, IDS[number], BOB) == "unknown"
        for subject in ("why", "dead_show"):
            answer = broker.ask(subject, client=BOB, task_id=IDS[number])
            assert answer.error.startswith(f"no task '{IDS[number]}'")

    told = [message for peer, message in broker.said[heard:] if peer == BOB]
    assert not any(isinstance(message, Accepted | Finished | Progressed) for message in told)
    assert [m.task_id for m in told if isinstance(m, UnknownTask)] == IDS[1:3]
    assert not broker.machine.knows(task.id, broker.keys[BOB])
    assert broker.status(task).state is not TaskState.CANCELLED


def test_lists_hold_the_tasks_of_whoever_asks() -> None:
    """I24."""
    broker = with_two_owners()
    submit(broker, 1)
    submit(broker, 2, BOB)

    def listed(client: PeerId, subject: str = "tasks") -> list[str]:
        value: Any = broker.ask(subject, client=client).value
        return [row["id"] for row in value["tasks"]]

    assert (listed(ALICE), listed(BOB)) == ([IDS[1]], [IDS[2]])
    assert listed(ADMIN) == IDS[1:3]
    workers: Any = [broker.ask("workers", client=client).value for client in (ALICE, BOB, ADMIN)]
    assert [rows[0]["running"] for rows in workers] == [[IDS[1]], [], [IDS[1]]]


def test_a_dead_letter_is_shown_to_its_owner_and_to_admins() -> None:
    """I24."""
    broker = with_two_owners(limits=Limits(crashes=1))
    task = submit(broker, options={})
    crash(broker, broker.assigned()[0])
    assert broker.status(task).state is TaskState.DEAD

    for client in (ALICE, ADMIN):
        shown: Any = broker.ask("dead_show", client=client, task_id=task.id).value
        assert (shown["id"], shown["owner"]) == (task.id, "alice")
    rows: Any = broker.ask("dead_list", client=BOB).value
    assert rows == {"tasks": [], "more": 0}


def test_a_connection_with_the_same_key_sees_and_ends_the_tasks_of_its_key() -> None:
    broker = with_two_owners()
    task = submit(broker)
    broker.greet(ALICE_2)
    broker.receive(ALICE_2, Query((task.id,)))

    assert len(broker.heard(ALICE_2, Accepted)) == 1
    assert cancel(broker, task.id, ALICE_2) == "cancelled"


def test_an_admin_sees_and_ends_every_task() -> None:
    broker = with_two_owners()
    task = submit(broker)
    broker.receive(ADMIN, Query((task.id,)))

    assert len(broker.heard(ADMIN, Accepted)) == 1
    assert cancel(broker, task.id, ADMIN) == "cancelled"
    assert broker.heard(ADMIN, CancelAnswered)[-1].task_id == task.id


def test_owners_are_known_after_a_restart() -> None:
    """I17, I24."""
    broker = with_two_owners()
    task = submit(broker)
    again = restarted(broker)
    again.keys = broker.keys
    again.greet(ALICE, BOB)
    again.receive(BOB, Query((task.id,)))
    again.receive(ALICE, Query((task.id,)))

    assert len(again.heard(BOB, UnknownTask)) == 1
    assert len(again.heard(ALICE, Accepted)) == 1


# ---- its result is kept for it -------------------------------------------------------------------


def test_a_result_that_another_fetches_is_kept_as_promised() -> None:
    """I24: an admin's fetch does not count, nor does what another key says of the task."""
    broker = with_two_owners(timers=Timers(result_kept=10.0, result_kept_at_most=1000.0))
    task = submit(broker)
    succeed(broker)
    broker.receive(ALICE, ClientGoodbye())
    broker.receive(ADMIN, Query((task.id,)))
    assert broker.heard(ADMIN, Finished)[0].outputs == OUTPUT
    for client in (ADMIN, BOB):
        broker.receive(client, ResultReceived(task.id))

    broker.let_pass(900.0)
    broker.greet(ALICE)
    broker.receive(ALICE, Query((task.id,)))

    assert broker.status(task).acknowledged_at is None
    assert broker.heard(ALICE, Finished)[-1].outputs == OUTPUT


def test_a_result_is_delivered_when_every_connected_client_of_its_owner_has_it() -> None:
    """I24: one may be slow, while the result is dropped early if memory is short."""
    broker = with_two_owners()
    task = submit(broker)
    broker.greet(ALICE_2)
    broker.receive(ALICE_2, Query((task.id,)))
    succeed(broker)

    broker.receive(ALICE_2, ResultReceived(task.id))
    broker.receive(ALICE_2, ResultReceived(task.id))
    assert broker.status(task).acknowledged_at is None
    broker.receive(ALICE, ResultReceived(task.id))

    assert broker.status(task).acknowledged_at == broker.now


def test_a_client_that_is_gone_is_not_waited_for() -> None:
    broker = with_two_owners()
    task = submit(broker)
    broker.greet(ALICE_2)
    broker.receive(ALICE_2, Query((task.id,)))
    succeed(broker)
    broker.receive(ALICE_2, ResultReceived(task.id))
    broker.receive(ALICE_2, ClientGoodbye())
    assert broker.status(task).acknowledged_at is None

    broker.take(broker.machine.peer_lost(ALICE, now=broker.now))

    assert broker.status(task).acknowledged_at == broker.now


def test_a_confirmation_that_comes_before_the_end_is_ignored() -> None:
    broker = with_two_owners()
    task = submit(broker)
    broker.receive(ALICE, ResultReceived(task.id))
    succeed(broker)
    broker.receive(ALICE, ClientGoodbye())

    assert broker.status(task).acknowledged_at is None


def test_a_revived_task_is_kept_until_its_new_ending_was_delivered() -> None:
    """I1: its first ending had been confirmed, and counted as one of the first to go."""
    broker = with_two_owners(limits=Limits(crashes=1, max_spent_bytes=1))
    task = submit(broker)
    crash(broker, broker.assigned()[0])
    broker.receive(ALICE, ResultReceived(task.id))
    broker.ask("dead_requeue", client=ADMIN, task_id=task.id)
    other = submit(broker, 2)
    succeed(broker)
    succeed(broker)
    broker.receive(ALICE, ResultReceived(other.id))

    assert broker.status(task).state is TaskState.SUCCEEDED
    assert broker.status(task).acknowledged_at is None
    broker.receive(ALICE, ResultReceived(task.id))
    assert [each for each in broker.records if isinstance(each, TaskPurged)] == [
        TaskPurged(other.id),
        TaskPurged(task.id),
    ]


# ---- it stays in the queues of its owner's key ---------------------------------------------------


@pytest.fixture
def limited() -> BrokerHarness:
    """A broker without workers; alice's key is for two of its three queues."""
    broker = with_two_owners(queues={name: QueueConfig() for name in "abc"})
    broker.keys[ALICE] = Credentials(key="alice", is_admin=False, queues=("a", "b"))
    broker.receive(W1, WorkerGoodbye())
    return broker


def reconfigure(broker: BrokerHarness, queues: str) -> None:
    new = Reconfiguration(
        queues={name: QueueConfig() for name in queues},
        timers=Timers(),
        limits=Limits(),
        admission="wait",
    )
    broker.take(broker.machine.reconfigure(new, now=broker.now))


def test_an_operators_move_leaves_a_task_where_its_owner_may_be(limited: BrokerHarness) -> None:
    """I24. Also after a restart, where the owner is not connected and its key may be another."""
    mine, anyones = submit(limited, queue="a"), submit(limited, 2, ADMIN, queue="a")
    again = restarted(limited, queues={name: QueueConfig() for name in "abc"})
    for broker in (limited, again):
        broker.keys[ADMIN] = Credentials(key="local-admin")
        broker.greet(ADMIN)
        answer: Any = broker.ask("move_tasks", client=ADMIN, to="c", queue="a").value

        assert answer["moved"] == 1
        assert answer["kept"] == (
            f"{mine.id} stays: c is not among the queues of its owner's key, a and b"
        )
        assert broker.status(mine).queue == "a"
        assert broker.status(anyones).queue == "c"
        broker.ask("move_tasks", client=ADMIN, to="b", queue="a")
        assert broker.status(mine).queue == "b"


def test_a_task_of_a_removed_queue_goes_where_its_owner_may_be_or_ends_with_the_reason(
    limited: BrokerHarness,
) -> None:
    """I24. What it ended with may be undone once there is such a queue again."""
    task = submit(limited, queue="a")
    reconfigure(limited, "cb")
    assert limited.status(task).queue == "b"

    reconfigure(limited, "c")

    assert limited.status(task).state is TaskState.DEAD
    assert limited.status(task).error.message == (
        "queue b was removed; of the queues of its owner's key, a: no such queue; b: no such queue"
    )
    refused = limited.ask("dead_requeue", client=ADMIN, task_id=task.id)
    assert "no queue can hold task" in refused.error
    reconfigure(limited, "ca")
    limited.ask("dead_requeue", client=ADMIN, task_id=task.id)
    assert limited.status(task).queue == "a"


def test_a_task_that_gets_an_owner_gets_the_queues_of_its_key(limited: BrokerHarness) -> None:
    """I24: one from before the broker had keys, submitted again."""
    del limited.keys[ALICE]
    task = submit(limited, queue="a")
    limited.keys[ALICE] = Credentials(key="alice", is_admin=False, queues=("a",))
    limited.receive(ALICE, Submit(task))
    assert limited.status(task).owner == "alice"

    limited.ask("move_tasks", client=ADMIN, to="b", queue="a")

    assert limited.status(task).queue == "a"
