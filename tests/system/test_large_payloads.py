"""A cancel or a heartbeat never waits behind an image, on either way, in either transport."""

from collections.abc import Iterator

import pytest
from tests.harness.broker_process import BrokerProcess
from tests.harness.toy_broker import picture_task, toy_client, toy_task, toy_worker
from tests.harness.wire_peer import WirePeer

from paintmq.task import TaskId, TaskState
from paintmq.testing.example_tasks import describe
from paintmq.wire.messages import (
    Abandon,
    Accepted,
    Assign,
    AttemptRecorded,
    AttemptSucceeded,
    BrokerHeartbeat,
    Cancel,
    CancelAnswered,
    Finished,
    Heartbeat,
    Submit,
    WorkerWelcome,
)

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
SIZE = 200 * MIB
HALF_WAY = 100 * MIB
NOBODYS = TaskId("f" * 32)


@pytest.fixture(params=["router", "pushpull"])
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerProcess]:
    with BrokerProcess(transport=request.param, limits={"max_bytes_in_flight": 3 * SIZE}) as broker:
        yield broker


def large(byte: int) -> bytes:
    return bytes([byte]) * SIZE


def begins_to_arrive(peer: WirePeer) -> None:
    while peer.link.arriving is None:
        peer.wait()
        peer.read()


def test_nothing_waits_behind_a_picture_on_its_way_to_a_worker(broker: BrokerProcess) -> None:
    picture = large(1)
    with toy_client(broker) as client, toy_worker(broker) as worker:
        worker.hear(WorkerWelcome)

        request = picture_task(picture)
        client.say(Submit(request), [picture])
        client.say(Heartbeat())
        client.say(Cancel(NOBODYS))
        client.hear(BrokerHeartbeat)
        assert client.hear(CancelAnswered).answer == "unknown"
        assert client.link.queued_bytes > HALF_WAY
        client.hear(Accepted)

        begins_to_arrive(worker)
        worker.say(Heartbeat())
        worker.hear(BrokerHeartbeat)
        client.say(Cancel(request.id))
        assert client.hear(CancelAnswered).answer == "cancelled"
        assert worker.hear(Abandon).task_id == request.id
        assert 0 < worker.link.arrived_bytes < HALF_WAY

        assign, [received] = worker.hear_with_payloads(Assign)
        assert (assign.assignments[0].task, received == picture) == (request, True)


def test_nothing_waits_behind_a_result_on_its_way_to_a_client(broker: BrokerProcess) -> None:
    result = large(2)
    with toy_client(broker) as client, toy_worker(broker) as worker:
        request = toy_task()
        client.say(Submit(request))
        fence = worker.hear(Assign).assignments[0].fence

        outputs = (describe("image", result),)
        worker.say(
            AttemptSucceeded(task_id=request.id, fence=fence, outputs=outputs, ran=0.1), [result]
        )
        worker.say(Heartbeat(running=((request.id, fence),)))
        worker.hear(BrokerHeartbeat)
        assert worker.link.queued_bytes > HALF_WAY
        worker.hear(AttemptRecorded)

        begins_to_arrive(client)
        client.say(Heartbeat())
        client.say(Cancel(request.id))
        client.hear(BrokerHeartbeat)
        assert client.hear(CancelAnswered).answer == "too_late"
        assert 0 < client.link.arrived_bytes < HALF_WAY
        finished, [received] = client.hear_with_payloads(Finished)

        assert (finished.state, received == result) == (TaskState.SUCCEEDED, True)
