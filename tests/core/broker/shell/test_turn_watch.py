"""A plugin's function that does not return costs the broker one pause, not its life (I25)."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import evolve, field, frozen
from tests.harness.toy_broker import ToyPlugin, toy_client, toy_config, toy_task, toy_worker
from tests.harness.wire_peer import WirePeer

from paintmq.broker.shell.server import BrokerServer
from paintmq.broker.shell.turn_watch import LOOKS, BrokerStuckError, TurnWatch
from paintmq.config import Config, PluginsConfig
from paintmq.errors import PaintMQError
from paintmq.hookspecs import RegisterModel, RegisterRouter
from paintmq.plugin.manager import PluginManager
from paintmq.testing.example_tasks import make_spec
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import Answer, Ask, Assign, AttemptSucceeded, Finished, Rejected, Submit

LIMIT = 0.3
FUNCTIONS = ("needs", "run_seconds", "batch_key", "result_bytes")


def spin(*_: Any, **__: Any) -> Any:
    """Never return, and let nothing be done about it but what a BaseException does."""
    while True:
        try:
            while True:
                pass
        except Exception:  # noqa: BLE001 -- as careless plugins do
            pass


@frozen
class SpinningOptions:
    size: int = field(default=0, validator=spin)


def plugins_with(
    models: dict[str, dict[str, Any]], router: type[PlainRouter] = PlainRouter
) -> PluginManager:
    class Spinning(ToyPlugin):
        def paintmq_register_models(self, register: RegisterModel) -> None:
            super().paintmq_register_models(register)
            for name, functions in models.items():
                register(make_spec(name, **functions))

        def paintmq_register_routers(self, register: RegisterRouter) -> None:
            register("plain", lambda parameters: router())

    manager = PluginManager()
    manager.register(Spinning(), "spinning")
    return manager


def watched_config() -> Config:
    return evolve(toy_config(), plugins=PluginsConfig(call_limit=LIMIT))


def honest_task_succeeds(alice: WirePeer, bob: WirePeer) -> None:
    honest = toy_task()
    alice.say(Submit(honest))
    fence = bob.hear(Assign).assignments[0].fence
    bob.say(AttemptSucceeded(task_id=honest.id, fence=fence, outputs=(), ran=0.1))
    assert alice.hear(Finished).task_id == honest.id


@pytest.fixture(scope="module")
def spinning() -> Iterator[BrokerServer]:
    models: dict[str, dict[str, Any]] = {name: {name: spin} for name in FUNCTIONS}
    with BrokerServer(
        watched_config(), plugins_with(models | {"options": {"options": SpinningOptions}})
    ) as server:
        yield server


@pytest.mark.parametrize("function", [*FUNCTIONS, "options"])
def test_a_task_whose_model_does_not_say_what_it_needs_is_refused_and_others_go_on(
    spinning: BrokerServer, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    with toy_client(spinning) as alice, toy_worker(spinning) as bob:
        request = toy_task(model=function)
        alice.say(Submit(request))
        refused = alice.hear(Rejected)
        honest_task_succeeds(alice, bob)

    assert refused.task_id == request.id
    assert "spin" in refused.reason
    assert f"had not returned after {LIMIT:g} s (plugins.call_limit)" in refused.reason
    assert spinning.failure is None
    assert "is interrupted here" in caplog.text
    assert 'test_turn_watch.py", line' in caplog.text  # the stack, for the plugin's author


def test_a_model_whose_functions_often_do_not_return_is_not_asked_again() -> None:
    asked: list[object] = []

    def needs(job: object) -> Any:
        asked.append(job)
        return spin()

    with (
        BrokerServer(watched_config(), plugins_with({"slow": {"needs": needs}})) as server,
        toy_client(server) as alice,
        toy_worker(server) as bob,
    ):
        for _ in range(5):
            alice.say(Submit(toy_task(model="slow")))
            refused = alice.hear(Rejected)
        honest_task_succeeds(alice, bob)

    assert len(asked) == 3
    assert "takes no tasks until the broker is started again" in refused.reason


@pytest.mark.parametrize("function", ["choose_queue", "choose_worker", "choose_backlog", "score"])
def test_a_router_that_does_not_return_is_replaced_by_first_come_first_served(
    function: str,
) -> None:
    router = type("Spinning", (PlainRouter,), {function: spin})
    with (
        BrokerServer(watched_config(), plugins_with({}, router)) as server,
        toy_client(server) as alice,
        toy_worker(server) as bob,
    ):
        for _ in range(3):
            honest_task_succeeds(alice, bob)
        alice.say(Submit(toy_task()))
        bob.hear(Assign)
        alice.say(Submit(waits := toy_task()))
        alice.say(Ask(request_id=1, subject="why", arguments={"task_id": waits.id}))
        alice.hear(Answer)
        alice.say(Ask(request_id=2, subject="statistics"))
        answer: Any = alice.hear(Answer).value
        server.stop(grace=0)

    assert answer["router_faults"] == 1
    assert "spin" in answer["router_fault"]
    assert "first come, first served from now on" in answer["router_fault"]


# Slow, as slow tests run without coverage: while an exception for another thread is pending,
# CPython 3.11 does not let a traced thread enter any function, so that the watch itself would spin.
@pytest.mark.slow
def test_a_function_that_cannot_be_interrupted_ends_the_broker_with_a_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    entered, released = threading.Event(), threading.Event()

    def needs(job: object) -> None:
        entered.set()
        released.wait()

    server = BrokerServer(watched_config(), plugins_with({"asleep": {"needs": needs}}))
    server.start()
    thread = server._thread
    assert thread is not None
    with toy_client(server) as alice:
        alice.say(Submit(toy_task(model="asleep")))
        try:
            assert entered.wait(10.0)
            with pytest.raises(PaintMQError, match="does not return and cannot be interrupted"):
                server.stop()

            assert isinstance(server.failure, BrokerStuckError)
            assert not server.is_running
            assert "the broker is stuck" in caplog.text
            assert "released.wait()" in caplog.text
        finally:
            released.set()
            thread.join()
    assert isinstance(server.failure, BrokerStuckError), "what ended it is still told"


def wait_until(condition: Callable[[], object]) -> None:
    while not condition():
        threading.Event().wait(0.005)


def test_our_own_slow_turn_is_logged_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    found: list[BrokerStuckError] = []
    watch = TurnWatch(0.02, found.append)
    with watch:
        watch.start()
        wait_until(lambda: "a turn of the broker's loop has taken" in caplog.text)
    watch.stop()

    assert not found


def test_a_process_that_was_stopped_is_charged_for_one_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However long a look takes, it counts as one: a closed lid is no plugin's fault."""
    overdue: list[int] = []
    watch = TurnWatch(1000.0 * LOOKS, lambda error: None)
    monkeypatch.setattr(TurnWatch, "_overdue", lambda self, turn: overdue.append(turn))

    def look(times: int) -> None:
        looks = iter([False] * times + [True])
        monkeypatch.setattr(watch._ended, "wait", lambda seconds: next(looks))
        watch._run()

    with watch:
        look(LOOKS)  # the first sees the turn, the others that it goes on
        assert not overdue
        look(LOOKS + 1)
        assert overdue == [1]
    look(10 * LOOKS)  # the loop waits: that is no turn
    assert overdue == [1]
