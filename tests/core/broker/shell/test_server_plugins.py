"""Whatever a plugin's functions do, the broker goes on with the honest work beside them."""

from collections.abc import Iterator

import pytest
from attrs import field, frozen
from tests.harness.odd_values import EXCEPTIONS, VALUES, raising, returning
from tests.harness.toy_broker import ToyPlugin, toy_client, toy_config, toy_task, toy_worker

from paintmq.broker.shell.server import BrokerServer
from paintmq.hookspecs import RegisterModel, RegisterRouter
from paintmq.model import Needs
from paintmq.plugin.manager import PluginManager
from paintmq.testing.example_tasks import make_spec
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import (
    Accepted,
    Answer,
    Ask,
    Assign,
    AttemptSucceeded,
    Finished,
    Rejected,
    Submit,
)

FUNCTIONS = ("needs", "run_seconds", "batch_key")
FINE = tuple(f"batch_key-gives-{list(VALUES).index(name)}" for name in ("digits", "odd text"))
"""Any text is a key."""


@frozen
class OddOptions:
    """Options whose validator raises what it is told to."""

    error: str = field(default="an error")

    @error.validator
    def _raise(self, attribute: object, value: str) -> None:
        raise EXCEPTIONS[value]


class OddPlugin(ToyPlugin):
    """Beside ``toy``, a model for every function and fault."""

    def paintmq_register_models(self, register: RegisterModel) -> None:
        super().paintmq_register_models(register)
        register(make_spec("odd-options", options=OddOptions))
        for function in FUNCTIONS:
            for number, error in enumerate(EXCEPTIONS.values()):
                register(make_spec(f"{function}-raises-{number}", **{function: raising(error)}))
            for number, value in enumerate(VALUES.values()):
                register(make_spec(f"{function}-gives-{number}", **{function: returning(value)}))
        for number, value in enumerate(VALUES.values()):
            needs = returning(Needs(memory_mb=value))
            register(make_spec(f"memory-{number}", needs=needs))

    def paintmq_register_routers(self, register: RegisterRouter) -> None:
        odd = {
            name: staticmethod(raising(SystemExit(1)))
            for name in ("choose_queue", "choose_worker", "choose_backlog", "explain")
        }
        register("plain", lambda parameters: type("Odd", (PlainRouter,), odd)())


@pytest.fixture(scope="module")
def plugins() -> PluginManager:
    manager = PluginManager()
    manager.register(OddPlugin(), "odd")
    return manager


@pytest.fixture
def server(plugins: PluginManager) -> Iterator[BrokerServer]:
    with BrokerServer(toy_config(), plugins) as server:
        yield server


def test_a_task_of_every_odd_plugin_is_refused_with_a_reason_and_honest_work_is_done(
    server: BrokerServer, plugins: PluginManager
) -> None:
    with toy_client(server) as alice, toy_worker(server) as bob:
        for model in plugins.catalog().specs:
            if model in ("toy", "picture", "odd-options", *FINE):
                continue
            request = toy_task(model=model)
            alice.say(Submit(request))
            refused = alice.hear(Rejected)
            assert refused.task_id == request.id
            assert refused.reason
        honest = toy_task()
        alice.say(Submit(honest))
        fence = bob.hear(Assign).assignments[0].fence
        bob.say(AttemptSucceeded(task_id=honest.id, fence=fence, outputs=(), ran=0.1))

        assert alice.hear(Finished).task_id == honest.id


def test_options_that_cannot_be_checked_are_refused(server: BrokerServer) -> None:
    with toy_client(server) as alice:
        for error in EXCEPTIONS:
            alice.say(Submit(toy_task(model="odd-options", options={"error": error})))

            assert alice.hear(Rejected).code == "invalid_option"


def test_an_explanation_survives_a_router_that_fails(server: BrokerServer) -> None:
    with toy_client(server) as alice:
        request = toy_task()
        alice.say(Submit(request))
        alice.hear(Accepted)
        alice.say(Ask(request_id=1, subject="why", arguments={"task_id": request.id}))

        assert alice.hear(Answer).error == ""
