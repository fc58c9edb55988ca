"""The doors: what odd callers may do at each, and how it is done."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from attrs import frozen
from hypothesis import strategies as st

from tests.containment import (
    api_door,
    client_door,
    http_door,
    live_door,
    manager_door,
    model_door,
    plugin_door,
    spec_door,
)
from tests.containment.case import Case
from tests.containment.site import Site


@frozen
class Door:
    """One kind of odd caller."""

    cases: Callable[[], st.SearchStrategy[Case]]
    act: Callable[[Site, Case], None]
    """Do it. HarmError says that the answer itself is wrong; what else it raises is an answer."""
    channels: tuple[str, ...]
    """Where harm would show first: honest tasks go there after each case."""
    share: int
    """Cases of a hundred that are this door's, by what one costs."""
    seconds: float = 40.0
    """Within which the caller must have its answer."""


DOORS: Mapping[str, Door] = MappingProxyType(
    {
        "client": Door(lambda: client_door.cases("client"), client_door.act, ("client",), 25),
        "asyncio": Door(lambda: client_door.cases("asyncio"), client_door.act, ("asyncio",), 12),
        "http": Door(http_door.cases, http_door.act, ("http",), 15),
        "api": Door(api_door.cases, api_door.act, ("http",), 12),
        "live": Door(live_door.cases, live_door.act, ("http",), 8),
        "spec": Door(spec_door.cases, spec_door.act, ("client",), 7),
        "model": Door(model_door.cases, model_door.act, ("client",), 3, seconds=90.0),
        "plugin": Door(plugin_door.cases, plugin_door.act, (), 13),
        "manager": Door(manager_door.cases, manager_door.act, (), 5),
    }
)
