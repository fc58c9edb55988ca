"""A broker with two clients of different keys: for tests of what each may see and do."""

from typing import Any

from attrs import evolve

from paintmq.broker.machine import Credentials
from paintmq.task import PeerId, TaskId
from paintmq.testing.example_tasks import describe, make_request
from tests.harness.broker_harness import (
    ALICE,
    BOB,
    BrokerHarness,
    make_machine,
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
