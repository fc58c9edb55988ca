"""Questions to the broker, and the connection to it, of either client."""

import pytest
from tests.harness.any_client import AnyClient, make_task
from tests.harness.client_port import ScriptedBroker

from paintmq.errors import (
    ManagerStoppedError,
    RejectedError,
)
from paintmq.wire.messages import (
    Answer,
    Ask,
    ClientGoodbye,
    ClientHello,
    Submit,
)


def test_the_broker_is_asked_with_arguments(client: AnyClient, broker: ScriptedBroker) -> None:
    broker.when(
        Ask,
        lambda m: [Answer(request_id=m.request_id, value={m.subject: dict(m.arguments)})],
    )

    assert client.ask("why", task_id="x") == {"why": {"task_id": "x"}}


def test_what_the_broker_cannot_answer_is_raised(client: AnyClient, broker: ScriptedBroker) -> None:
    broker.when(Ask, lambda m: [Answer(request_id=m.request_id, error="no such task")])

    with pytest.raises(RejectedError, match="no such task"):
        client.ask("why", task_id="x")


def test_a_question_without_an_answer_times_out(client: AnyClient, broker: ScriptedBroker) -> None:
    with pytest.raises(TimeoutError, match="'version'"):
        client.ask("version", timeout=0.05)


def test_connecting_waits_for_the_broker(client: AnyClient, broker: ScriptedBroker) -> None:
    client.connect(30)

    assert len(broker.of(ClientHello)) == 1


def test_a_broker_that_does_not_answer_is_named(client: AnyClient, broker: ScriptedBroker) -> None:
    broker.when(ClientHello, lambda _: [])

    with pytest.raises(TimeoutError, match=broker.endpoint):
        client.connect(0.05)


def test_closing_says_goodbye_and_ends_what_waits(
    client: AnyClient, broker: ScriptedBroker
) -> None:
    handle = client.submit(make_task())
    broker.wait_for(Submit)
    client.close()

    with pytest.raises(ManagerStoppedError, match="closed before the task ended"):
        handle.result(30)
    assert broker.wait_for(ClientGoodbye)


def test_a_closed_client_stays_closed(client: AnyClient, broker: ScriptedBroker) -> None:
    client.close()
    client.close()

    with pytest.raises(RuntimeError, match="closed"):
        client.submit(make_task())
