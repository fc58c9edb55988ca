"""What may come in by which port, and what becomes of payloads that are too large."""

import pytest
from tests.harness.message_strategies import payload_infos

from paintmq.broker.connections.ingress import (
    objection,
    too_much_arrives,
    without_payloads,
    without_superfluous_starts,
)
from paintmq.task import Fence, TaskId, TaskState
from paintmq.testing.example_tasks import make_hello, make_request
from paintmq.wire.link import Delivery
from paintmq.wire.messages import (
    AttemptFailed,
    AttemptProgressed,
    AttemptStarted,
    AttemptSucceeded,
    ClientHello,
    Finished,
    Heartbeat,
    Message,
    Rejected,
    Submit,
)

TASK, FENCE = TaskId("0" * 31 + "1"), Fence(5, 2)
OUTPUTS = payload_infos([10])


@pytest.mark.parametrize("message", [ClientHello(), Heartbeat(), Submit(make_request())])
def test_the_port_for_clients_takes_what_clients_say(message: Message) -> None:
    assert objection(message, port="clients", is_queue=False) == ""


@pytest.mark.parametrize("message", [make_hello(queue="cpu"), Heartbeat()])
def test_the_port_of_a_queue_takes_what_its_workers_say(message: Message) -> None:
    assert objection(message, port="cpu", is_queue=True) == ""


def test_anything_else_is_refused_in_words() -> None:
    """I15."""
    assert objection(make_hello(), port="clients", is_queue=False) == (
        "WorkerHello is not understood on the port for clients"
    )
    assert objection(ClientHello(), port="cpu", is_queue=True) == (
        "ClientHello is not understood on the port for cpu"
    )
    assert objection(make_hello(queue="cpu"), port="gpu", is_queue=True) == (
        "this is the port of queue gpu, not of cpu"
    )


def test_a_worker_that_knows_no_digest_of_version_2_is_refused() -> None:
    """I18, I20."""
    assert objection(make_hello(queue="cpu", newest=1), port="cpu", is_queue=True) == (
        "speaks protocol 1 to 1, this broker 2 to 4: update it"
    )


def test_a_submission_that_is_too_large_is_answered() -> None:
    """I15."""
    request = make_request()

    answer = without_payloads(Delivery(Submit(request), refusal="9 bytes are too many"))

    assert answer == Rejected(
        task_id=request.id, code="invalid_input", reason="9 bytes are too many"
    )


def test_a_result_that_is_too_large_ends_its_attempt() -> None:
    """Otherwise its worker would repeat it for ever."""
    result = AttemptSucceeded(task_id=TASK, fence=FENCE, outputs=OUTPUTS, ran=1.0)

    failed = without_payloads(Delivery(result, refusal="9 bytes are too many"))

    assert isinstance(failed, AttemptFailed)
    assert (failed.task_id, failed.fence, failed.error.code) == (TASK, FENCE, "too_large")
    assert failed.error.message == "its result: 9 bytes are too many"
    assert not failed.error.retryable


def test_of_progress_only_the_preview_is_lost() -> None:
    progress = AttemptProgressed(task_id=TASK, fence=FENCE, step=1, total=2, preview=OUTPUTS)

    assert without_payloads(Delivery(progress, refusal="too many")) == AttemptProgressed(
        task_id=TASK, fence=FENCE, step=1, total=2
    )


def test_what_no_peer_may_say_is_left_to_be_refused() -> None:
    finished = Finished(task_id=TASK, state=TaskState.SUCCEEDED, outputs=OUTPUTS)

    assert without_payloads(Delivery(finished, refusal="too many")) is finished


def test_who_comes_while_too_much_is_arriving_is_told_when_to_come_again() -> None:
    rejected = too_much_arrives(Submit(make_request()), held=100, most=90)

    assert (rejected.code, rejected.retry_after) == ("bytes_full", 5.0)
    assert "at most 90 are allowed (limits.max_bytes_arriving)" in rejected.reason


def test_a_start_is_left_out_only_where_its_own_end_came_with_it() -> None:
    def started(task_id: str, attempt: int = 1) -> Delivery:
        return Delivery(AttemptStarted(task_id=TaskId(task_id), fence=Fence(1, attempt)))

    def ended(task_id: str) -> Delivery:
        fence = Fence(1, 1)
        return Delivery(AttemptSucceeded(task_id=TaskId(task_id), fence=fence, outputs=(), ran=1.0))

    beat = Delivery(Heartbeat())
    deliveries = [started("a"), beat, started("b"), ended("a"), started("a", attempt=2)]

    assert without_superfluous_starts(deliveries) == [
        beat,
        started("b"),
        ended("a"),
        started("a", attempt=2),
    ]
    assert without_superfluous_starts([started("a"), beat]) == [started("a"), beat]
