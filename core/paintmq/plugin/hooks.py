"""The hooks of accepted plugins: who implements what, and calling one at a time.

A thin, typed layer over pluggy. pluggy's own calls stop at the first implementation that raises,
so each implementation is called by itself here, and the caller decides what an exception means.
"""

import inspect
import types
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import pluggy

from paintmq import hookspecs
from paintmq.errors import PluginError

_PREFIX = "paintmq_"

HOOKS = tuple(name for name in vars(hookspecs) if name.startswith(_PREFIX))
"""The names of all hooks, in the order a task meets them."""


class HookTable:
    """Plugins by name, and their implementations of hooks."""

    def __init__(self) -> None:
        self._plugins = _Finder(hookspecs.PROJECT)
        self._plugins.add_hookspecs(hookspecs)

    def __contains__(self, plugin_name: str) -> bool:
        return bool(self._plugins.has_plugin(plugin_name))

    def add(self, plugin: object, name: str) -> None:
        """Accept a plugin's hooks.

        Raises:
            PluginError: it implements a hook there is not, or wraps one.
            pluggy.PluginValidationError: a hook takes arguments there are not.
        """
        for attribute in dir(plugin):
            if attribute.startswith(_PREFIX) and _is_function(plugin, attribute):
                _check_name(attribute)
        self._plugins.register(plugin, name)
        for hook in HOOKS:
            for each in self.implementations(hook):
                # A wrapper would run around other plugins' hooks.
                if each.plugin_name == name and (each.wrapper or each.hookwrapper):
                    raise PluginError(f"{hook} must not be a hook wrapper")

    def discard(self, name: str) -> None:
        """Remove a plugin's hooks, if it was accepted."""
        if name in self:
            self._plugins.unregister(name=name)

    def implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """Return the implementations of the hook, in calling order."""
        # pluggy lists them in the reverse of their calling order.
        return list(reversed(getattr(self._plugins.hook, hook).get_hookimpls()))

    def implements(self, plugin_name: str, hook: str) -> bool:
        return any(each.plugin_name == plugin_name for each in self.implementations(hook))

    def call_one(self, plugin_name: str, hook: str, arguments: Mapping[str, object]) -> None:
        """Call the hook of one plugin, if it has it. Exceptions propagate."""
        for implementation in self.implementations(hook):
            if implementation.plugin_name == plugin_name:
                call(implementation, arguments)


def call(implementation: pluggy.HookImpl, arguments: Mapping[str, object]) -> None:
    """Call one implementation with the arguments it accepts. Exceptions propagate."""
    implementation.function(*(arguments[name] for name in implementation.argnames))


class _Finder(pluggy.PluginManager):
    """Treats every function called ``paintmq_...`` as a hook implementation, decorated or not."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        if not name.startswith(_PREFIX) or not _is_function(plugin, name):
            return None
        return super().parse_hookimpl_opts(plugin, name) or {}


def _check_name(hook: str) -> None:
    if hook in HOOKS:
        return
    # Compared without the prefix they share, which makes any name look close to any hook.
    known = {name.removeprefix(_PREFIX): name for name in HOOKS}
    close = get_close_matches(hook.removeprefix(_PREFIX), known, n=1)
    remedy = f"did you mean {known[close[0]]}?" if close else f"hooks: {', '.join(HOOKS)}"
    raise PluginError(f"there is no hook {hook}; {remedy}")


def _is_function(plugin: object, name: str) -> bool:
    # Looked up statically, without running properties or a module's __getattr__.
    return isinstance(
        inspect.getattr_static(plugin, name, None),
        types.FunctionType | types.MethodType | staticmethod | classmethod,
    )
