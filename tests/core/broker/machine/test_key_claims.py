"""I24: which ids, tenants, priorities and older tasks a key may claim."""

import json
from typing import Any

import pytest
from attrs import evolve
from tests.harness.broker_harness import (
    ALICE,
    BOB,
    BrokerHarness,
    cancel,
    make_machine,
    rejection,
    restarted,
)
from tests.harness.two_owners import ADMIN, IDS, submit, with_two_owners

from paintmq.broker.machine import Credentials
from paintmq.broker.records import TaskChanged
from paintmq.broker.stores.rows import decode_status, encode
from paintmq.task import TaskId, TaskRequest
from paintmq.task_ids import task_id_for_key
from paintmq.testing.example_tasks import make_request
from paintmq.wire.messages import (
    Accepted,
    Finished,
    Query,
    Rejected,
    UnknownTask,
)

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
