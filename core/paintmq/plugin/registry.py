"""What plugins registered, by kind and name; invalid and clashing entries are refused."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import define, evolve, field, frozen

from paintmq.config import LOCAL
from paintmq.errors import ConfigError, InvalidOptionError, PluginError, said_by, shown
from paintmq.model import ModelSpec, NoOptions
from paintmq.plugin.options import check_options_class, parse_options
from paintmq.plugin.spec_check import NAME, checked_spec, is_name
from paintmq.task import Json

if TYPE_CHECKING:
    from paintmq.http_api import HttpApi
    from paintmq.launching import Launcher
    from paintmq.routing import Router

T = TypeVar("T")


@frozen
class Offered(Generic[T]):
    """What a setting may choose by its name: a router, a launcher."""

    factory: Callable[[Any], T]
    options_class: type
    """An attrs class; the factory's one argument is an instance of it."""
    owner: str
    """Title of the plugin."""

    def make(self, setting: str, options: Mapping[str, Json]) -> T:
        """Create one.

        Raises:
            ConfigError: it does not take these options; the text begins with the setting.
        """
        checked = self.options(setting, options)
        try:
            return self.factory(checked)
        except BaseException as error:  # a plugin's code: the operator chose it, so report it
            raise ConfigError(
                f"{setting} of plugin {self.owner} cannot be made: {said_by(error)}"
            ) from error

    def options(self, setting: str, options: Mapping[str, Json]) -> Any:
        """Return the options as an instance of their class.

        Raises:
            ConfigError: it does not take them; the text begins with the setting.
        """
        try:
            return parse_options(self.options_class, options)
        except InvalidOptionError as error:
            raise ConfigError(f"{setting}: {error}") from error


@frozen
class PluginRoute:
    """A route of a plugin's own, for ``paintmq http``."""

    plugin: str
    path: str
    endpoint: Callable[..., Any]
    methods: tuple[str, ...]

    def __attrs_post_init__(self) -> None:
        path: Any = self.path  # a plugin may hand in anything
        if not isinstance(path, str) or not path.startswith("/"):
            raise PluginError(f"route {self.path!r} does not begin with a slash")
        if not callable(self.endpoint):
            raise PluginError(f"route {self.path}: {self.endpoint!r} cannot be called")
        wrong = set(self.methods) - {"GET", "POST", "DELETE"}
        if wrong or not self.methods:
            raise PluginError(f"route {self.path}: methods are GET, POST and DELETE")


@define
class Registry:
    """Models, routers, stores, launchers and HTTP APIs by name, and whose plugin each is."""

    models: dict[str, ModelSpec] = field(factory=dict[str, ModelSpec])
    routers: "dict[str, Offered[Router]]" = field(factory=dict)
    stores: dict[str, Callable[[str], Any]] = field(factory=dict[str, Callable[[str], Any]])
    launchers: "dict[str, Offered[Launcher]]" = field(factory=dict)
    http_apis: "dict[str, Callable[[Any], HttpApi] | str]" = field(factory=dict)
    owners: dict[tuple[str, str], str] = field(factory=dict[tuple[str, str], str])
    """(kind, name) -> title of the plugin that registered it."""

    def copy(self) -> "Registry":
        """Return a copy to try a plugin on, so that a refused one leaves nothing behind."""
        return evolve(
            self,
            models=dict(self.models),
            routers=dict(self.routers),
            stores=dict(self.stores),
            launchers=dict(self.launchers),
            http_apis=dict(self.http_apis),
            owners=dict(self.owners),
        )

    def add_model(self, owner: str, spec: ModelSpec) -> None:
        spec = checked_spec(spec)
        self._claim("model", spec.name, owner)
        self.models[spec.name] = spec

    def add_router(
        self,
        owner: str,
        name: str,
        factory: "Callable[[Any], Router]",
        parameters_class: type = NoOptions,
    ) -> None:
        _check_factory("router", name, factory)
        check_options_class(parameters_class)
        self._claim("router", name, owner)
        self.routers[name] = Offered(factory, parameters_class, owner)

    def add_store(self, owner: str, scheme: str, factory: Callable[[str], Any]) -> None:
        _check_factory("store", scheme, factory)
        self._claim("store", scheme, owner)
        self.stores[scheme] = factory

    def add_launcher(
        self,
        owner: str,
        name: str,
        factory: "Callable[[Any], Launcher]",
        options_class: type = NoOptions,
    ) -> None:
        _check_factory("launcher", name, factory)
        if name == LOCAL:
            raise PluginError(f"launcher {LOCAL!r} is built in")
        check_options_class(options_class)
        self._claim("launcher", name, owner)
        self.launchers[name] = Offered(factory, options_class, owner)

    def add_http_api(
        self, owner: str, name: str, factory: "Callable[[Any], HttpApi] | str"
    ) -> None:
        if not isinstance(factory, str):
            _check_factory("HTTP API", name, factory)
        elif not is_name(name) or factory.count(":") != 1:
            raise PluginError(
                f"HTTP API {shown(name)}: {shown(factory)} is not like package.module:name"
            )
        self._claim("HTTP API", name, owner)
        self.http_apis[name] = factory

    def provided_by(self, owner: str) -> tuple[str, ...]:
        return tuple(f"{kind} {name}" for (kind, name), who in self.owners.items() if who == owner)

    def _claim(self, kind: str, name: str, owner: str) -> None:
        holder = self.owners.get((kind, name))
        if holder == owner:
            raise PluginError(f"it registers the {kind} {name!r} twice")
        if holder is not None:
            raise PluginError(f"its {kind} {name!r} is already provided by plugin {holder}")
        self.owners[kind, name] = owner


def _check_factory(kind: str, name: object, factory: object) -> None:
    if not is_name(name):
        raise PluginError(f"{kind} name {shown(name)} is not like {NAME.pattern}")
    if not callable(factory):
        raise PluginError(f"{kind} {name}: {shown(factory)} is no factory: it cannot be called")
