"""Plugins: loading them, setting aside those that cannot be used, and calling their hooks.

Rule 1: nothing a plugin does while it is loaded reaches the host: an exception of any kind,
``sys.exit``, a call that never returns, a clash or an invalid registration sets the whole plugin
aside, and the others are used.
Rule 2: the rest of PaintMQ calls the methods here, never a hook directly.
Rule 3: there is no module-level manager: code that needs plugins is given one.
"""

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve

from paintmq.config import LOCAL, NodeConfig, PluginsConfig, RouterConfig
from paintmq.errors import ConfigError, PluginError, shown
from paintmq.plugin.catalog import Catalog
from paintmq.plugin.discovery import FoundPlugin, find_plugins, select
from paintmq.plugin.guarded_call import PluginThread, describe
from paintmq.plugin.hooks import HookTable, call
from paintmq.plugin.options import nearest, options_to_json
from paintmq.plugin.registry import Offered, PluginRoute, Registry
from paintmq.plugin.report import PluginReport
from paintmq.task import Json

if TYPE_CHECKING:
    import typer

    from paintmq.http_api import HttpApi
    from paintmq.launching import Launcher
    from paintmq.routing import Router
    from paintmq.statistics import BrokerStatistics

logger = logging.getLogger(__name__)

HEAVY_MODULES = (
    "cv2",
    "diffusers",
    "jax",
    "numba",
    "onnxruntime",
    "tensorflow",
    "torch",
    "transformers",
)
"""What a manifest must not import: each costs the broker and every command seconds or memory."""

FAILURES_ALLOWED = 5
"""An observer that raised this many times in a row is no longer called."""

_DEFAULTS = PluginsConfig()


class PluginManager:
    """The plugins of one embedding application, command or process."""

    def __init__(self, config: PluginsConfig = _DEFAULTS) -> None:
        self.warnings: list[str] = []
        """Problems with the plugin settings, one line each."""
        self._config = config
        self._hooks = HookTable()
        self._registry = Registry()
        self._reports: dict[tuple[str, str], PluginReport] = {}
        self._failures: dict[tuple[str, str], int] = {}
        self._thread = PluginThread(config.load_limit)

    @classmethod
    def installed(cls, config: PluginsConfig = _DEFAULTS) -> "PluginManager":
        """Return a manager with every installed plugin that works.

        Never raises for one that does not: ``reports()`` tells, and so does the log.
        """
        manager = cls(config)
        found = find_plugins()
        selection = select(found, config)
        for plugin in found:
            refused = selection.refused.get((plugin.distribution, plugin.name))
            if refused is None:
                manager._load(plugin)
            else:
                manager._keep(evolve(_report_of(plugin), state="disabled", reason=refused))
        manager._thread.close()
        manager._warn([*selection.warnings, *manager._unmatched_settings()])
        return manager

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin that is not installed: for tests and embedding applications.

        Worker processes are told of its models; their classes must be importable there.

        Raises:
            PluginError: it cannot be used, and why; nothing of it is kept.
        """
        if name in self._hooks:
            raise PluginError(f"plugin {name}: a plugin of this name is already registered")
        report = self._admit(PluginReport(name=name), lambda: plugin)
        self._thread.close()
        if report.state == "set aside":
            raise PluginError(f"plugin {name}: {report.reason}")
        self._keep(report)

    def reports(self) -> list[PluginReport]:
        """Return the outcome of loading each plugin, ours first, in order of loading."""
        return list(self._reports.values())

    # ---- what plugins provide ------------------------------------------------------------------

    def catalog(self) -> Catalog:
        absent = {
            report.name: f"{report.title} is {report.state}: {report.reason}"
            for report in self._reports.values()
            if report.state != "ready"
        }
        return Catalog(self._registry.models.values(), absent=absent)

    @property
    def routers(self) -> Sequence[str]:
        return sorted(self._registry.routers)

    @property
    def stores(self) -> Mapping[str, Callable[[str], Any]]:
        """Factories of stores, by scheme."""
        return dict(self._registry.stores)

    @property
    def launchers(self) -> Sequence[str]:
        return sorted(self._registry.launchers)

    @property
    def http_apis(self) -> "Mapping[str, Callable[[Any], HttpApi] | str]":
        """Factories of APIs of the gateway, by name."""
        return dict(self._registry.http_apis)

    def router_parameters(self, name: str) -> type:
        """Return the attrs class of a router's parameters.

        Raises:
            ConfigError: no such router is installed.
        """
        return self._offered_router(name).options_class

    def make_router(self, config: RouterConfig) -> "Router":
        """Return a fresh router of the configured name with its parameters.

        Raises:
            ConfigError: no such router is installed, or it does not take these parameters.
        """
        from paintmq.routing import Router

        offered = self._offered_router(config.name)
        router = offered.make(f"[router] {config.name}", config.parameters)
        if not isinstance(router, Router):
            raise ConfigError(
                f"[router] {config.name} of plugin {offered.owner} made {shown(router)}, which is"
                f" no paintmq.routing.Router"
            )
        return router

    def describe_router(self, config: RouterConfig) -> Json:
        """Return the name of a configured router and all its parameters, defaults included.

        Raises:
            ConfigError: no such router is installed, or it does not take these parameters.
        """
        router = self._offered_router(config.name)
        parameters = router.options(f"[router] {config.name}", config.parameters)
        return {"name": config.name, "parameters": options_to_json(parameters)}

    def make_launcher(self, config: NodeConfig) -> "Launcher":
        """Return a fresh launcher of the configured name with its options.

        Raises:
            ConfigError: no such launcher is installed, or it does not take these options.
        """
        name = config.launcher
        launcher = self._registry.launchers.get(name)
        if launcher is None:
            raise self._not_installed("[node] launcher", name, [LOCAL, *self.launchers])
        return launcher.make(f"[node] launcher {name}", config.options)

    def _offered_router(self, name: str) -> "Offered[Router]":
        router = self._registry.routers.get(name)
        if router is None:
            raise self._not_installed("[router] name", name, self.routers)
        return router

    def _not_installed(self, key: str, name: str, installed: Sequence[str]) -> ConfigError:
        absent = [r for r in self._reports.values() if r.name == name and r.reason]
        why = "".join(f"; plugin {r.title} is {r.state}: {r.reason}" for r in absent)
        return ConfigError(
            f"{key} = {name!r} is not installed (installed:"
            f" {', '.join(installed) or 'none'}){why or nearest(name, installed)}"
        )

    # ---- hooks that observe or extend ----------------------------------------------------------

    @property
    def observes_events(self) -> bool:
        """Whether any plugin wants events."""
        return self._is_wanted("paintmq_events")

    @property
    def observes_progress(self) -> bool:
        """Whether any plugin wants the progress of running tasks."""
        return self._is_wanted("paintmq_progress")

    @property
    def observes_statistics(self) -> bool:
        """Whether any plugin wants statistics."""
        return self._is_wanted("paintmq_statistics")

    def _is_wanted(self, hook: str) -> bool:
        implementations = self._hooks.implementations(hook)
        return any(getattr(each.function, "is_wanted", _always)() for each in implementations)

    def deliver_events(self, batch: Sequence[Mapping[str, Json]]) -> None:
        """Pass a batch of events to every observer; ``plugin_observers`` explains the thread."""
        self._observe("paintmq_events", batch=batch)

    def deliver_progress(self, batch: Sequence[Mapping[str, Json]]) -> None:
        """Pass on how far tasks are, as ``deliver_events`` does events."""
        self._observe("paintmq_progress", batch=batch)

    def deliver_statistics(self, sample: "BrokerStatistics") -> None:
        """Pass one sample to every observer."""
        self._observe("paintmq_statistics", sample=sample)

    def register_commands(self, app: "typer.Typer") -> None:
        """Let plugins add subcommands; one that fails is omitted and reported."""
        for implementation in self._hooks.implementations("paintmq_register_commands"):
            try:
                self._thread.call(partial(call, implementation, {"app": app}))
            except Exception as error:  # noqa: BLE001 -- rule 1
                self._blame(
                    implementation.plugin_name, f"its commands are left out: {describe(error)}"
                )
        self._thread.close()

    def routes(self) -> list[PluginRoute]:
        """Return the routes that plugins add to the HTTP gateway; a failing plugin adds none."""
        routes: list[PluginRoute] = []
        for implementation in self._hooks.implementations("paintmq_register_routes"):
            own: list[PluginRoute] = []

            def register(
                path: str,
                endpoint: Callable[..., Any],
                methods: Sequence[str] = ("GET",),
                *,
                plugin: str = implementation.plugin_name,
                own: list[PluginRoute] = own,
            ) -> None:
                own.append(PluginRoute(plugin, path, endpoint, tuple(methods)))

            try:
                self._thread.call(partial(call, implementation, {"register": register}))
            except Exception as error:  # noqa: BLE001 -- rule 1
                reason = f"its routes are left out: {describe(error)}"
                self._blame(implementation.plugin_name, reason)
            else:
                routes += own
        self._thread.close()
        return routes

    def _observe(self, hook: str, **arguments: object) -> None:
        for implementation in self._hooks.implementations(hook):
            key = (hook, implementation.plugin_name)
            if self._failures.get(key, 0) >= FAILURES_ALLOWED:
                continue
            try:
                call(implementation, arguments)
                self._failures[key] = 0
            except BaseException as error:  # noqa: BLE001 -- rule 1; no signal comes to this thread
                self._failures[key] = self._failures.get(key, 0) + 1
                if self._failures[key] == FAILURES_ALLOWED:
                    self._blame(
                        implementation.plugin_name,
                        f"{hook} raised {FAILURES_ALLOWED} times in a row and is no longer called;"
                        f" last: {describe(error)}",
                    )

    # ---- loading -------------------------------------------------------------------------------

    def _load(self, found: FoundPlugin) -> None:
        report = _report_of(found)
        holder = next((r for r in self._reports.values() if r.name == found.name), None)
        if holder is not None and holder.state == "ready":
            reason = f"plugin {holder.title} already has its name"
            self._keep(evolve(report, state="set aside", reason=reason))
        else:
            self._keep(self._admit(report, found.load))

    def _admit(self, report: PluginReport, load: Callable[[], object]) -> PluginReport:
        """Load, check and register one plugin, wholly or not at all."""
        started = time.perf_counter()
        heavy_before = _heavy_imported()
        registry = self._registry.copy()
        try:
            plugin = self._thread.call(partial(_loaded, load))
            self._thread.call(partial(self._hooks.add, plugin, report.name))
            self._thread.call(partial(self._call_registering_hooks, report, registry))
        except Exception as error:  # noqa: BLE001 -- rule 1
            self._hooks.discard(report.name)
            report = evolve(report, state="set aside", reason=describe(error))
        else:
            self._registry = registry
            provides = (*registry.provided_by(report.title), *self._extras(report.name))
            warnings = [
                f"its manifest imports {name}: leave that to the implementation"
                for name in sorted(_heavy_imported() - heavy_before)
            ]
            if not provides:
                warnings.append("it provides nothing")
            report = evolve(report, provides=provides, warnings=tuple(warnings))
        return evolve(report, load_seconds=time.perf_counter() - started)

    def _call_registering_hooks(self, report: PluginReport, registry: Registry) -> None:
        def adder(add: Callable[..., None]) -> Callable[..., None]:
            return partial(add, report.title)

        settings = self._config.settings.get(report.name)
        calls: tuple[tuple[str, Mapping[str, object]], ...] = (
            ("paintmq_configure", {"settings": settings or {}}),
            ("paintmq_register_models", {"register": adder(registry.add_model)}),
            ("paintmq_register_routers", {"register": adder(registry.add_router)}),
            ("paintmq_register_stores", {"register": adder(registry.add_store)}),
            ("paintmq_register_launchers", {"register": adder(registry.add_launcher)}),
            ("paintmq_register_http_apis", {"register": adder(registry.add_http_api)}),
        )
        for hook, arguments in calls:
            self._hooks.call_one(report.name, hook, arguments)

    def _extras(self, plugin_name: str) -> tuple[str, ...]:
        return tuple(
            what for hook, what in _EXTRAS.items() if self._hooks.implements(plugin_name, hook)
        )

    def _unmatched_settings(self) -> list[str]:
        names = {report.name for report in self._reports.values()}
        warnings = []
        for name in self._config.settings:
            if name not in names:
                remedy = nearest(name, sorted(names))
                warnings.append(f"[plugins.settings.{name}]: no such plugin is installed{remedy}")
            elif self._is_ready(name) and not self._hooks.implements(name, "paintmq_configure"):
                warnings.append(f"[plugins.settings.{name}]: this plugin takes no settings")
        return warnings

    # ---- reporting -----------------------------------------------------------------------------

    def _is_ready(self, name: str) -> bool:
        return any(r.name == name and r.state == "ready" for r in self._reports.values())

    def _keep(self, report: PluginReport) -> None:
        self._reports[report.distribution, report.name] = report
        if report.state == "set aside":
            # Whoever waited for a slow plugin wants to know which, even where little is logged.
            waited = report.load_seconds >= self._config.load_limit
            level = logging.ERROR if waited else logging.WARNING
            logger.log(level, "plugin %s is set aside: %s", report.title, report.reason)
        for warning in report.warnings:
            logger.warning("plugin %s: %s", report.title, warning)

    def _blame(self, plugin_name: str, warning: str) -> None:
        for key, report in self._reports.items():
            if report.name == plugin_name and report.state == "ready":
                self._reports[key] = evolve(report, warnings=(*report.warnings, warning))
        logger.warning("plugin %s: %s", plugin_name, warning)

    def _warn(self, warnings: Sequence[str]) -> None:
        self.warnings.extend(warnings)
        for warning in warnings:
            logger.warning("%s", warning)


_EXTRAS = {
    "paintmq_events": "events",
    "paintmq_progress": "progress",
    "paintmq_statistics": "statistics",
    "paintmq_register_routes": "routes",
    "paintmq_register_commands": "commands",
}
"""Hooks that provide something without a name of its own, and how ``paintmq plugins`` calls it."""


def _report_of(found: FoundPlugin) -> PluginReport:
    return PluginReport(name=found.name, distribution=found.distribution, version=found.version)


def _heavy_imported() -> set[str]:
    return {name for name in HEAVY_MODULES if name in sys.modules}


def _always() -> bool:
    return True


def _loaded(load: Callable[[], object]) -> object:
    """Return the plugin; of a class, an instance."""
    plugin = load()
    return plugin() if isinstance(plugin, type) else plugin
