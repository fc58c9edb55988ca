"""Specs and hooks of a plugin at load: odd fields, odd registrations, hooks that raise."""

from types import SimpleNamespace
from typing import Any

import attrs
from hypothesis import strategies as st

from paintmq.errors import PaintMQError
from paintmq.model import ModelSpec
from paintmq.plugin.manager import PluginManager
from tests.containment import odd_models
from tests.containment.case import Case
from tests.containment.recipes import value_of
from tests.containment.site import HarmError, Site
from tests.containment.strategies import cases as odd_fields
from tests.containment.strategies import raising_or_odd, values, values_like

HOOKS = (
    *("configure", "register_models", "register_routers", "register_stores"),
    *("register_launchers", "register_http_apis", "register_routes", "register_commands"),
    *("events", "statistics"),
)


def cases() -> st.SearchStrategy[Case]:
    """Odd fields of a spec, odd registrations, and hooks that do odd things."""
    fields = {field.name: values_like(field.type) for field in attrs.fields(ModelSpec)}
    specs = odd_fields("plugin", "spec", fields)
    registered = odd_fields(
        "plugin", "register", dict.fromkeys(("first", "second", "third"), values())
    )
    hook = st.sampled_from(HOOKS)
    hooks = st.tuples(hook, raising_or_odd()).map(
        lambda pair: Case("plugin", "hook", (("hook", pair[0]), ("recipe", pair[1])))
    )
    no_hooks = st.tuples(hook, values()).map(
        lambda pair: Case("plugin", "is", (("hook", pair[0]), ("recipe", pair[1])))
    )
    return st.one_of(specs, specs, registered, hooks, hooks, no_hooks)


def act(site: Site, case: Case) -> None:
    """Load the plugin beside an honest one: it is refused with a reason, or taken.

    Raises:
        HarmError: the honest one suffers, or the refusal is no PluginError.
    """
    manager = PluginManager()
    manager.register(odd_models, odd_models.PLUGIN)
    try:
        _ACTS[case.call](manager, case)
    except PaintMQError as error:
        if not str(error):
            raise HarmError("refused without a word") from error
    except BaseException as error:
        raise HarmError(f"not contained: {error!r:.300}") from error
    catalog = manager.catalog()
    if catalog.get("honest").implementation != odd_models.spec().implementation:
        raise HarmError("the honest plugin lost its model")
    for name in catalog.specs:
        if not isinstance(name, str):
            raise HarmError(f"a model is called {name!r}")


def _plugin(**hooks: object) -> SimpleNamespace:
    return SimpleNamespace(**{f"paintmq_{name}": hook for name, hook in hooks.items()})


def _spec(manager: PluginManager, case: Case) -> None:
    def register_models(register: Any) -> None:
        fields = {name: value_of(recipe) for name, recipe in case.arguments}
        register(odd_models.spec(**({"name": "odd"} | fields)))

    manager.register(_plugin(register_models=register_models), "odd")


def _register(manager: PluginManager, case: Case) -> None:
    for hook in HOOKS[1:7]:

        def odd_hook(register: Any) -> None:
            register(*(value_of(recipe) for _, recipe in case.arguments))

        try:
            manager.register(_plugin(**{hook: odd_hook}), f"odd-{hook}")
        except PaintMQError:
            continue


def _hook(manager: PluginManager, case: Case) -> None:
    odd = case.odd()

    def fail(argument: object = None) -> Any:
        return value_of(odd["recipe"])

    manager.register(_plugin(**{odd["hook"]: fail}), "odd")
    _call_later_hooks(manager)


def _is(manager: PluginManager, case: Case) -> None:
    """What should be a function is something else."""
    odd = case.odd()
    manager.register(_plugin(**{odd["hook"]: value_of(odd["recipe"])}), "odd")
    _call_later_hooks(manager)


def _call_later_hooks(manager: PluginManager) -> None:
    import typer

    from paintmq.statistics import BrokerStatistics

    for _ in range(3):
        manager.deliver_events([{"event": "boot"}])
        manager.deliver_statistics(BrokerStatistics())
    manager.routes()
    manager.register_commands(typer.Typer())


_ACTS = {"spec": _spec, "register": _register, "hook": _hook, "is": _is}
