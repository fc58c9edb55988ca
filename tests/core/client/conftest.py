"""A broker that does what a test tells it, with clients of both kinds; and a machine alone."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.harness.any_client import AnyClient, LoopThread, accepts, call, succeeds
from tests.harness.client_conversation import Conversation
from tests.harness.client_port import ScriptedBroker

from paintmq import AsyncClient, Client
from paintmq.wire.messages import Submit


@pytest.fixture
def broker() -> Iterator[ScriptedBroker]:
    scripted = ScriptedBroker()
    scripted.start()
    yield scripted
    scripted.stop()


@pytest.fixture(params=["blocking", "asyncio"])
def make_client(
    request: pytest.FixtureRequest, broker: ScriptedBroker
) -> Iterator[Callable[..., AnyClient]]:
    clients: list[AnyClient] = []
    loop = LoopThread() if request.param == "asyncio" else None

    def make(**settings: Any) -> AnyClient:
        if loop is None:
            clients.append(AnyClient(call, Client(broker.endpoint, **settings)))
        else:
            clients.append(AnyClient(loop.call, AsyncClient(broker.endpoint, **settings)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
    if loop is not None:
        loop.stop()


@pytest.fixture
def client(make_client: Callable[..., AnyClient]) -> AnyClient:
    return make_client()


@pytest.fixture
def working(broker: ScriptedBroker) -> ScriptedBroker:
    """A broker that accepts every task and finishes it at once."""
    broker.when(Submit, lambda m: [accepts(m), succeeds(broker, m.task.id)])
    return broker


@pytest.fixture
def talk() -> Conversation:
    return Conversation()
