"""QueueManager in a program: odd arguments of its methods, odd settings, odd observers."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import attrs
import numpy as np
from attrs import evolve
from hypothesis import strategies as st

from paintmq import Config, QueueManager, Task, TaskType
from paintmq.testing.embedded_manager import config_on_free_ports, embedded_manager
from tests.containment import client_door
from tests.containment.case import Case
from tests.containment.client_door import picture, settle
from tests.containment.odd_models import SPEC_FUNCTIONS
from tests.containment.recipes import value_of
from tests.containment.site import PATIENCE, HarmError, HonestTasks, Site, kit_plugins
from tests.containment.strategies import calls, public_methods, raising_or_odd, values, values_like
from tests.containment.strategies import cases as odd_fields

SECTIONS = ("broker", "router", "http", "timers", "limits", "monitoring", "plugins", "weights")
"""Of the settings; `workers` and `node` start processes, of which no case may start thousands."""


def cases() -> st.SearchStrategy[Case]:
    """Odd calls of the public methods of a manager that works; odd settings of one that starts."""
    methods = [
        calls("manager", name, getattr(QueueManager, name))
        for name in public_methods(QueueManager, but=("ask",))
    ]
    asked = odd_fields("manager", "ask", {"subject": values_like("str"), "task_id": values()})
    routed = st.tuples(st.sampled_from(SPEC_FUNCTIONS), raising_or_odd()).map(
        lambda odd: Case("manager", "spec", (("recipe", odd[1]), ("where", odd[0])))
    )
    fields = {
        f"{section}.{field.name}": values_like(field.type)
        for section in SECTIONS
        for field in attrs.fields(type(getattr(Config(), section)))
    }
    settings = odd_fields("manager", "settings", fields)
    observers = st.tuples(st.sampled_from(("events", "statistics")), raising_or_odd()).map(
        lambda odd: Case("manager", "observer", (("hook", odd[0]), ("recipe", odd[1])))
    )
    return st.one_of(*methods, *methods, asked, routed, settings, observers)


def act(site: Site, case: Case) -> None:
    """Do it to a manager of this program, and have its honest work done afterwards."""
    _ACTS.get(case.call, _as_a_client)(site, case)


def check(manager: QueueManager, tasks: HonestTasks) -> None:
    """Have an honest task done by a manager.

    Raises:
        HarmError: it is not, or with another's result.
    """
    task, expected = tasks.next()
    try:
        queue = manager.route_task(task)
        image = manager.send_task(queue, task).result(PATIENCE).image
    except Exception as error:
        raise HarmError(f"an honest task of the manager: {error!r}") from error
    if not np.array_equal(image, expected):
        raise HarmError("an honest task of the manager got another's picture")


def _values(case: Case) -> dict[str, Any]:
    return {name: value_of(recipe) for name, recipe in case.arguments}


def _shared(do: Callable[[QueueManager, Site, Case], None]) -> Callable[[Site, Case], None]:
    """Do it to the manager that all cases share, which must work on."""

    def act(site: Site, case: Case) -> None:
        manager = site.manager()
        try:
            do(manager, site, case)
        finally:
            check(manager, site.honest)

    return act


@_shared
def _route_task(manager: QueueManager, site: Site, case: Case) -> None:
    manager.route_task(**{"task": site.honest_task(), **_values(case)})


@_shared
def _send_task(manager: QueueManager, site: Site, case: Case) -> None:
    settle(manager.send_task(**{"queue": "cpu-light", "task": site.honest_task(), **_values(case)}))


@_shared
def _as_a_client(manager: QueueManager, site: Site, case: Case) -> None:
    client_door.act(site, case)


@_shared
def _stats(manager: QueueManager, site: Site, case: Case) -> None:
    manager.get_queue_stats(**_values(case))


@_shared
def _spec(manager: QueueManager, site: Site, case: Case) -> None:
    task = Task(TaskType.PLUGIN, {"model": "odd-spec", **case.odd()}, {"image": picture()})
    with suppress(BaseException):  # a program that asks for it may be told so
        manager.route_task(task)
    settle(manager.send_task("cpu-light", task))


def _settings(site: Site, case: Case) -> None:
    config = config_on_free_ports()
    for name, value in _values(case).items():
        section, _, key = name.partition(".")
        odd = evolve(getattr(config, section), **{key: value})
        config = evolve(config, **{section: odd})
    with QueueManager(config, workers=0, plugins=kit_plugins()) as manager:
        manager.get_queue_stats()


def _stop(site: Site, case: Case) -> None:
    manager = embedded_manager(plugins=kit_plugins(), workers=0)
    manager.start()
    try:
        manager.stop(**_values(case))
    finally:
        manager.stop(grace=0.0)


def _observer(site: Site, case: Case) -> None:
    odd = case.odd()
    hooks: Mapping[str, Callable[..., Any]] = {
        "events": lambda batch: value_of(odd["recipe"]),
        "statistics": lambda sample: value_of(odd["recipe"]),
    }
    observing = kit_plugins(**{odd["hook"]: hooks[odd["hook"]]})
    with embedded_manager(plugins=observing, workers=1) as manager:
        check(manager, site.honest)


_ACTS: Mapping[str, Callable[[Site, Case], None]] = {
    "route_task": _route_task,
    "send_task": _send_task,
    "get_queue_stats": _stats,
    "spec": _spec,
    "settings": _settings,
    "observer": _observer,
    "stop": _stop,
}
