"""Who waits at the gate, and who is held short."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from paintmq.broker.connections.access import AccessControl
from paintmq.broker.connections.endpoints import client_endpoint
from paintmq.config import BrokerConfig
from paintmq.transport.key_files import init_keys
from paintmq.transport.sockets import Context, new_context


@pytest.fixture
def context() -> Iterator[Context]:
    with new_context() as context:
        yield context


def started(context: Context, **settings: str) -> AccessControl:
    access = AccessControl(BrokerConfig(**settings), ())  # type: ignore[arg-type]
    access.start(context)
    return access


def test_without_keys_there_is_a_gate_and_with_keys_there_is_none(
    context: Context, tmp_path: Path
) -> None:
    """I19."""
    init_keys(tmp_path / "keys")
    keyless = started(context)
    assert keyless.gate is not None
    keyless.stop()

    keyed = started(context, keys=str(tmp_path / "keys"))

    assert keyed.gate is None
    keyed.stop()


def test_a_second_broker_of_one_context_has_no_gate_and_says_so(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    first = started(context)

    with caplog.at_level(logging.WARNING):
        second = started(context)

    assert second.gate is None
    assert "connections without keys are not throttled" in caplog.text
    second.stop()
    first.stop()
    third = started(context)
    assert third.gate is not None
    third.stop()


@pytest.mark.parametrize(("host", "short"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_only_strangers_of_this_machine_are_held_short(
    context: Context, host: str, short: bool
) -> None:
    """I14: over a slow line it would hold up those whom an operator trusts."""
    access = started(context)
    endpoint = client_endpoint(context, BrokerConfig(host=host, port=0), "inproc://clients", access)

    assert endpoint.strangers == short
    unread = endpoint.socket.getsockopt(zmq.RCVHWM)
    assert unread == (16 if short else 100)
    endpoint.close()
    access.stop()
