"""A broker server with toy models, on ports of the system's choice: for tests over real sockets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import evolve, frozen

from paintmq.config import BrokerConfig, Config, QueueConfig, RouterConfig
from paintmq.hookspecs import RegisterModel, RegisterRouter
from paintmq.identifiers import new_task_id
from paintmq.model import InputSpec
from paintmq.plugin.manager import PluginManager
from paintmq.task import TaskRequest
from paintmq.testing.example_tasks import describe, make_hello, make_request, make_spec
from paintmq.testing.plain_router import PlainRouter
from paintmq.transport.pipes import Secure, no_keys
from paintmq.wire.messages import ClientHello
from tests.harness.wire_peer import WirePeer

TOY_QUEUES = {"cpu-light": QueueConfig(), "cpu-intensive": QueueConfig(effort="intensive")}


class Reachable(Protocol):
    """A broker that was started, in this process or in another."""

    @property
    def client_endpoint(self) -> str: ...
    @property
    def queue_endpoints(self) -> Mapping[str, str]: ...


@frozen
class TunableParameters:
    """Two parameters, so that there is something to set and something to leave."""

    patience: float = 1.5
    mode: str = "calm"


class ToyPlugin:
    """The model ``toy`` takes nothing, ``picture`` an image; routers are ``plain`` and ``tunable``,
    which takes parameters and does the same.
    """

    def paintmq_register_models(self, register: RegisterModel) -> None:
        register(make_spec())
        register(make_spec("picture", inputs=(InputSpec(name="image"),)))

    def paintmq_register_routers(self, register: RegisterRouter) -> None:
        register("plain", lambda parameters: PlainRouter())
        register("tunable", lambda parameters: PlainRouter(), TunableParameters)


def toy_plugins() -> PluginManager:
    manager = PluginManager()
    manager.register(ToyPlugin(), "toys")
    return manager


def toy_config(journal: Path | None = None, **broker: Any) -> Config:
    """Return a configuration; with a path the journal is kept there."""
    settings: dict[str, Any] = {"port": 0}
    if journal is not None:
        settings |= {"durability": "process", "journal": str(journal)}
    return Config(
        broker=BrokerConfig(**(settings | broker)),
        queues=TOY_QUEUES,
        router=RouterConfig(name="plain"),
    )


def by_pipes(config: Config) -> Config:
    """Return the configuration with the ``pushpull`` transport in all queues."""
    queues = {name: evolve(queue, transport="pushpull") for name, queue in config.queues.items()}
    return evolve(config, queues=queues)


def toy_client(server: Reachable, secure: Secure = no_keys) -> WirePeer:
    return WirePeer(server.client_endpoint, ClientHello(name="test"), secure=secure)


def toy_worker(
    server: Reachable, queue: str = "cpu-light", *, secure: Secure = no_keys, **changes: Any
) -> WirePeer:
    hello = make_hello(queue=queue, **({"models": ("toy", "picture")} | changes))
    return WirePeer(server.queue_endpoints[queue], hello, secure=secure)


def toy_task(**changes: Any) -> TaskRequest:
    """Return a task of the model ``toy`` with a fresh id."""
    return evolve(make_request(), id=new_task_id(), **changes)


def picture_task(data: bytes) -> TaskRequest:
    """Return a task of the model ``picture`` with a fresh id, and these bytes as its input."""
    return toy_task(model="picture", inputs=(describe("image", data),))
