"""I24: a task has an owner, the key it came by: no other key learns of it, gets it or ends it."""

import json
from typing import Any

import pytest
from attrs import evolve
from tests.harness.broker_harness import (
    ALICE,
    BOB,
    BrokerHarness,
    cancel,
    crash,
    make_machine,
    rejection,
    restarted,
)

from paintmq.broker.machine import Credentials
from paintmq.broker.records import TaskChanged, TaskPurged
from paintmq.broker.stores.rows import decode_status, encode
from paintmq.config import Limits, Timers
from paintmq.task import PeerId, TaskId, TaskRequest, TaskState
from paintmq.task_ids import task_id_for_key
from paintmq.testing.example_tasks import describe, make_request
from paintmq.wire.messages import (
    Accepted,
    CancelAnswered,
    ClientGoodbye,
    Finished,
    Progressed,
    Query,
    Rejected,
    ResultReceived,
    UnknownTask,
)

ADMIN, ALICE_2 = PeerId(b"client-admin"), PeerId(b"client-alice-2")
IDS = [TaskId(f"{number:012x}7abc8abc{number:012x}") for number in range(20)]
"""Of tasks: UUIDs of version 7."""
OUTPUT = (describe("image", b"pixels"),)


def with_two_owners(**options: Any) -> BrokerHarness:
    """Return a broker with a worker, two clients with keys of their own, and an admin."""
    broker = BrokerHarness(make_machine(**options))
    broker.keys = {
        ALICE: Credentials(key="alice", is_admin=False),
        ALICE_2: Credentials(key="alice", is_admin=False),
        BOB: Credentials(key="bob", is_admin=False),
        ADMIN: Credentials(key="local-admin"),
    }
    broker.greet(ALICE, BOB, ADMIN)
    broker.join()
    return broker


def submit(broker: BrokerHarness, number: int = 1, client: PeerId = ALICE, **more: Any) -> Any:
    return broker.submit(evolve(make_request(), id=IDS[number], **more), client)


def succeed(broker: BrokerHarness) -> None:
    broker.succeed(broker.assigned()[-1], outputs=OUTPUT)


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


# ---- nobody takes its id -------------------------------------------------------------------------


def test_an_id_that_another_key_uses_is_refused_also_for_the_same_task() -> None:
    """I24: the answer is that for other contents, whatever the contents are."""
    broker = with_two_owners()
    submit(broker)
    submit(broker, client=BOB)
    same = broker.heard(BOB, Rejected)[-1]
    submit(broker, client=BOB, priority=3)

    assert broker.heard(BOB, Rejected)[-1] == same
    assert same.code == "conflict"
    assert not broker.heard(BOB, Finished)
    assert not broker.heard(BOB, Accepted)


def test_an_id_made_of_an_idempotency_key_is_for_its_owner_alone() -> None:
    """I24: it can be computed by anybody, so no other may even try it."""
    broker = with_two_owners()
    of_alice = task_id_for_key("", "order-17", owner="alice")
    request = evolve(make_request(), id=of_alice)

    broker.submit(request, BOB)
    refused = broker.heard(BOB, Rejected)[-1]
    broker.submit(request, ALICE)
    broker.submit(request, BOB)

    assert broker.heard(ALICE, Accepted)[-1].task_id == of_alice
    assert broker.heard(BOB, Rejected)[-1] == refused, "it is told nothing of what there is"
    assert refused.code == "not_allowed"
    assert "not for tasks of your key 'bob'" in refused.reason


@pytest.mark.parametrize(
    "task_id",
    ["0" * 31 + "1", task_id_for_key("", "order-17"), "0" * 12 + "1" + "0" * 19],
    ids=["counted", "made of an idempotency key by a client without a key", "of version 1"],
)
def test_an_id_that_can_be_guessed_is_refused(task_id: str) -> None:
    broker = with_two_owners()
    broker.submit(evolve(make_request(), id=TaskId(task_id)))

    assert rejection(broker).code == "not_allowed"


def test_a_random_id_and_any_id_of_an_admin_are_taken() -> None:
    broker = with_two_owners()
    random = TaskId(f"{0:012x}4abc8abc{0:012x}")
    broker.submit(evolve(make_request(), id=random))
    broker.submit(make_request("1"), ADMIN)

    assert [each.task_id for each in broker.heard(ALICE, Accepted)] == [random]
    assert len(broker.heard(ADMIN, Accepted)) == 1


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


# ---- what a key may claim ------------------------------------------------------------------------


def limited(broker: BrokerHarness, **terms: Any) -> None:
    broker.keys[ALICE] = Credentials(key="alice", is_admin=False, **terms)
    broker.greet(ALICE)


def test_the_tasks_of_a_key_for_a_tenant_are_that_tenants() -> None:
    broker = with_two_owners()
    limited(broker, tenant="acme")
    unnamed, named = submit(broker, 1), submit(broker, 2, tenant="acme")
    submit(broker, 3, tenant="other")

    stored = broker.machine.stored()
    assert {stored[task.id].request.tenant for task in (unnamed, named)} == {"acme"}
    assert rejection(broker).code == "not_allowed"
    assert rejection(broker).reason == "your key is for the tenant 'acme', not for 'other'"
    submit(broker, 1)
    assert broker.heard(ALICE, Accepted)[-1].task_id == IDS[1], "submitted again, it is the same"


def test_a_key_may_not_claim_more_priority_than_it_allows() -> None:
    broker = with_two_owners()
    limited(broker, max_priority=3)
    submit(broker, 1, priority=3)
    submit(broker, 2, priority=4)

    assert len(broker.heard(ALICE, Accepted)) == 1
    assert rejection(broker).reason == "your key allows priorities up to 3, not 4"


def test_a_key_has_no_more_unfinished_tasks_than_its_quota() -> None:
    broker = with_two_owners()
    limited(broker, quota=2)
    for number in (1, 2, 3):
        submit(broker, number)
    submit(broker, 4, BOB)

    assert (rejection(broker).code, rejection(broker).task_id) == ("queue_full", IDS[3])
    assert "your key 'alice' allows 2 unfinished tasks" in rejection(broker).reason
    assert rejection(broker).retry_after == 5.0
    assert len(broker.heard(BOB, Accepted)) == 1
    cancel(broker, IDS[1])
    submit(broker, 3)
    assert broker.heard(ALICE, Accepted)[-1].task_id == IDS[3]


# ---- tasks older than the keys -------------------------------------------------------------------


def without_owner() -> tuple[BrokerHarness, TaskRequest]:
    """Return a broker that asks for keys now, and a task that was submitted before it did."""
    broker = BrokerHarness(make_machine())
    broker.greet()
    broker.join()
    task = broker.submit(evolve(make_request(), id=task_id_for_key("", "order-17")))
    again = restarted(broker)
    again.keys = with_two_owners().keys
    again.greet(ALICE, BOB, ADMIN)
    return again, task


def test_a_task_that_has_no_owner_is_seen_by_admins_alone() -> None:
    """I24: the safe reading of journals from before."""
    broker, task = without_owner()
    broker.receive(ALICE, Query((task.id,)))
    broker.receive(ADMIN, Query((task.id,)))

    assert len(broker.heard(ALICE, UnknownTask)) == 1
    assert len(broker.heard(ADMIN, Accepted)) == 1


def test_a_task_that_has_no_owner_becomes_that_of_who_submits_it_again() -> None:
    """I24: its client is told that it is unknown, and so submits it again, as it was."""
    broker, task = without_owner()
    broker.submit(evolve(task, priority=1), BOB)
    refused = broker.heard(BOB, Rejected)[-1]
    broker.submit(task)

    assert broker.heard(ALICE, Accepted)[-1].task_id == task.id
    assert broker.status(task).owner == "alice"
    changed = [each.event for each in broker.records if isinstance(each, TaskChanged)]
    assert changed == ["adopt"]
    broker.submit(task, BOB)
    assert broker.heard(BOB, Rejected) == [refused, refused]
    assert refused.code == "not_allowed"


def test_a_status_of_an_older_journal_has_no_owner() -> None:
    """I17: it was written before statuses had one, or the key of a worker."""
    broker = BrokerHarness(make_machine())
    broker.greet()
    broker.join()
    status = broker.status(broker.submit())
    written = json.loads(encode(status))
    del written["owner"], written["worker_key"]

    assert decode_status(json.dumps(written).encode()) == status
