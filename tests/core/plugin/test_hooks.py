"""Hooks that are called later: observers, commands and routes."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from tests.harness.trial_plugins import plugin, report_on

from paintmq.errors import PluginError
from paintmq.hookspecs import hookimpl
from paintmq.plugin.manager import FAILURES_ALLOWED, PluginManager
from paintmq.plugin.registry import PluginRoute
from paintmq.statistics import BrokerStatistics


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_one_observer_that_raises_keeps_nothing_from_the_others(
    error: type[BaseException],
) -> None:
    manager, seen = PluginManager(), []

    def fail(batch: object) -> None:
        raise error

    manager.register(plugin(events=fail), "bad")
    manager.register(plugin(events=lambda batch: seen.append(batch)), "good")
    manager.register(plugin(statistics=lambda sample: seen.append(sample)), "counts")

    manager.deliver_events([{"event": "lease"}])
    manager.deliver_statistics(BrokerStatistics(workers=3))

    assert seen == [[{"event": "lease"}], BrokerStatistics(workers=3)]
    assert manager.observes_events


def test_an_observer_that_keeps_raising_is_no_longer_called_and_reported() -> None:
    manager, calls = PluginManager(), []

    def fail(batch: object) -> None:
        calls.append(batch)
        raise ValueError("no disk")

    manager.register(plugin(events=fail), "bad")

    for _ in range(FAILURES_ALLOWED + 3):
        manager.deliver_events([])

    assert len(calls) == FAILURES_ALLOWED
    (warning,) = report_on(manager, "bad").warnings
    assert "paintmq_events raised 5 times in a row and is no longer called" in warning
    assert "ValueError: no disk" in warning


def test_an_observer_that_recovers_stays() -> None:
    manager, calls = PluginManager(), []

    def sometimes(batch: object) -> None:
        calls.append(batch)
        if len(calls) % FAILURES_ALLOWED:
            raise ValueError

    manager.register(plugin(events=sometimes), "flaky")

    for _ in range(4 * FAILURES_ALLOWED):
        manager.deliver_events([])

    assert len(calls) == 4 * FAILURES_ALLOWED
    assert report_on(manager, "flaky").warnings == ()


def test_hooks_may_take_fewer_arguments_and_be_decorated_for_order() -> None:
    manager, seen = PluginManager(), []

    class Last:
        @hookimpl(trylast=True)
        def paintmq_events(self) -> None:
            seen.append("last")

    manager.register(Last(), "last")
    manager.register(plugin(events=lambda batch: seen.append("first")), "first")

    manager.deliver_events([])

    assert seen == ["first", "last"]


def test_a_plugin_adds_commands_and_a_failing_one_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    manager, app = PluginManager(), typer.Typer()

    def fail(app: object) -> None:
        raise ImportError("no click")

    manager.register(plugin(register_commands=fail), "bad")
    manager.register(
        plugin(register_commands=lambda app: app.command("greet")(lambda: None)), "good"
    )
    manager.register_commands(app)

    assert [command.name for command in app.registered_commands] == ["greet"]
    assert "plugin bad: its commands are left out: ImportError: no click" in caplog.text


async def endpoint(request: object) -> None:
    pass


def test_plugins_add_routes_and_a_failing_one_adds_none() -> None:
    manager = PluginManager()

    def half(register: Callable[..., None]) -> None:
        register("/fine", endpoint)
        register("not-fine", endpoint)

    def good(register: Callable[..., None]) -> None:
        register("/hello", endpoint, ["GET", "POST"])

    manager.register(plugin(register_routes=half), "bad")
    manager.register(plugin(register_routes=good), "good")

    assert manager.routes() == [PluginRoute("good", "/hello", endpoint, ("GET", "POST"))]
    assert report_on(manager, "good").provides == ("routes",)
    (warning,) = report_on(manager, "bad").warnings
    assert warning == "its routes are left out: route 'not-fine' does not begin with a slash"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, endpoint, ("GET",)), "route 3 does not begin"),
        (("/x", 3, ("GET",)), "3 cannot be called"),
        (("/x", endpoint, ("PUT",)), "methods are GET, POST and DELETE"),
        (("/x", endpoint, ()), "methods are GET, POST and DELETE"),
    ],
)
def test_a_route_that_cannot_be_served_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        PluginRoute("x", *arguments)


def test_a_hook_wrapper_is_refused() -> None:
    class Wraps:
        @hookimpl(wrapper=True)
        def paintmq_events(self, batch: object) -> Iterator[None]:
            yield

    manager = PluginManager()
    with pytest.raises(PluginError, match="paintmq_events must not be a hook wrapper"):
        manager.register(Wraps(), "wraps")
