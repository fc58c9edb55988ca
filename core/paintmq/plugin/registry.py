"""What plugins registered, by kind and name; invalid and clashing entries are refused."""

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import define, evolve, field, frozen

from paintmq.config import LOCAL
from paintmq.errors import ConfigError, InvalidOptionError, PluginError
from paintmq.model import API_VERSION, InputSpec, ModelSpec, NoOptions, WeightFile
from paintmq.plugin.options import check_options_class, parse_options
from paintmq.task import Json

if TYPE_CHECKING:
    from paintmq.launching import Launcher
    from paintmq.routing import Router

T = TypeVar("T")

OLDEST_API_VERSION = max(1, API_VERSION - 1)
"""Models written for this version of ``paintmq.model`` or a later one still work."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


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
        except Exception as error:  # a plugin's code: the operator chose it, so report it and stop
            raise ConfigError(
                f"{setting} of plugin {self.owner} cannot be made: {error}"
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
    """Models, routers, stores and launchers by name, and which plugin each comes from."""

    models: dict[str, ModelSpec] = field(factory=dict[str, ModelSpec])
    routers: "dict[str, Offered[Router]]" = field(factory=dict)
    stores: dict[str, Callable[[str], Any]] = field(factory=dict[str, Callable[[str], Any]])
    launchers: "dict[str, Offered[Launcher]]" = field(factory=dict)
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
            owners=dict(self.owners),
        )

    def add_model(self, owner: str, spec: ModelSpec) -> None:
        check_spec(spec)
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

    def provided_by(self, owner: str) -> tuple[str, ...]:
        return tuple(f"{kind} {name}" for (kind, name), who in self.owners.items() if who == owner)

    def _claim(self, kind: str, name: str, owner: str) -> None:
        holder = self.owners.get((kind, name))
        if holder == owner:
            raise PluginError(f"it registers the {kind} {name!r} twice")
        if holder is not None:
            raise PluginError(f"its {kind} {name!r} is already provided by plugin {holder}")
        self.owners[kind, name] = owner


def check_spec(spec: Any) -> None:
    """Check that a registered object is a usable ModelSpec.

    Raises:
        PluginError: with the model, the field and what is allowed.
    """
    if not isinstance(spec, ModelSpec):
        raise PluginError(f"it registers {spec!r} as a model; a ModelSpec is wanted")
    if not _is_name(spec.name):
        raise PluginError(f"model name {spec.name!r} is not like {_NAME.pattern}")
    _check_api(spec)
    for wrong in (_wrong_text(spec), _wrong_number(spec), _wrong_collection(spec)):
        if wrong:
            raise PluginError(f"model {spec.name}: {wrong}")
    try:
        check_options_class(spec.options)
    except PluginError as error:
        raise PluginError(f"model {spec.name}: {error}") from error


def _check_api(spec: Any) -> None:
    if not isinstance(spec.api, int):
        raise PluginError(f"model {spec.name}: api {spec.api!r} is no version number")
    if spec.api > API_VERSION:
        raise PluginError(
            f"model {spec.name} is written for version {spec.api} of the model interface and this"
            f" PaintMQ has version {API_VERSION}: upgrade paintmq"
        )
    if spec.api < OLDEST_API_VERSION:
        raise PluginError(
            f"model {spec.name} is written for version {spec.api} of the model interface and this"
            f" PaintMQ takes {OLDEST_API_VERSION} to {API_VERSION}: upgrade the plugin"
        )


def _wrong_text(spec: Any) -> str:
    if not (isinstance(spec.implementation, str) and _TARGET.fullmatch(spec.implementation)):
        return f"implementation {spec.implementation!r} is not like 'package.module:Class'"
    if spec.effort not in ("light", "intensive"):
        return f"effort {spec.effort!r} is neither 'light' nor 'intensive'"
    for name in ("needs", "run_seconds"):
        if not callable(getattr(spec, name)):
            return f"{name} must be a function of a Job"
    if spec.batch_key is not None and not callable(spec.batch_key):
        return "batch_key must be a function of a Job, or None"
    return ""


def _wrong_number(spec: Any) -> str:
    for name in ("run_limit", "stall_limit", "load_limit"):
        value = getattr(spec, name)
        if not (_is_number(value) and value > 0):
            return f"{name} {value!r} must be more than 0 seconds"
    for name in ("load_seconds", "resident_mb"):
        value = getattr(spec, name)
        if not (_is_number(value) and value >= 0):
            return f"{name} {value!r} must not be negative"
    if not isinstance(spec.max_batch, int) or spec.max_batch < 1:
        return f"max_batch {spec.max_batch!r} must be at least 1"
    if spec.max_batch > 1 and spec.batch_key is None:
        return f"max_batch is {spec.max_batch}, but without a batch_key nothing is ever batched"
    return ""


def _wrong_collection(spec: Any) -> str:
    for name, kind in (
        ("task_types", str),
        ("inputs", InputSpec),
        ("devices", str),
        ("requires", str),
        ("weights", WeightFile),
    ):
        values = getattr(spec, name)
        # A lone string is iterable too: task_types="inpaint" would be seven task types.
        if not isinstance(values, tuple | list) or not all(isinstance(v, kind) for v in values):
            return f"{name} must be a tuple of {kind.__name__}, not {values!r}"
    if not spec.task_types or not all(map(_is_name, spec.task_types)):
        return f"task_types {spec.task_types!r} must be one or more names like {_NAME.pattern}"
    if not spec.devices or not set(spec.devices) <= {"cpu", "cuda"}:
        return f"devices {spec.devices!r} must be 'cpu', 'cuda' or both"
    names = [item.name for item in spec.inputs]
    if len(set(names)) < len(names):
        return f"two inputs have one name: {', '.join(names)}"
    return ""


def _check_factory(kind: str, name: object, factory: object) -> None:
    if not _is_name(name):
        raise PluginError(f"{kind} name {name!r} is not like {_NAME.pattern}")
    if not callable(factory):
        raise PluginError(f"{kind} {name}: {factory!r} is no factory: it cannot be called")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
