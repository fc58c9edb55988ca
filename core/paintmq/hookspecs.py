"""Every hook, in the order a task meets them: setting up, running, watching, operating.

A plugin is an entry point in the group ``paintmq`` that names a module (or an object). Functions of
it whose names start with ``paintmq_`` implement hooks; they may take fewer arguments than the hook
offers. Hooks only ever gain arguments. A ``paintmq_`` function that is no hook is refused at load.

The module is the *manifest*: it is imported by the broker, by clients and by every command, so it
imports nothing heavy. What is heavy is named as text, ``"package.module:Class"``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from paintmq.model import ModelSpec
from paintmq.task import Json

if TYPE_CHECKING:
    import typer

    from paintmq.http_api import HttpApi
    from paintmq.launching import Launcher
    from paintmq.routing import Router
    from paintmq.statistics import BrokerStatistics

PROJECT = "paintmq"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Only needed for pluggy's options, such as ``@hookimpl(tryfirst=True)``; the name marks a hook."""


class RegisterModel(Protocol):
    """What ``paintmq_register_models`` is handed."""

    def __call__(self, spec: ModelSpec) -> None:
        """Offer a model.

        Raises:
            PluginError: the spec is not valid, or another plugin has a model of that name.
        """


class RegisterRouter(Protocol):
    """What ``paintmq_register_routers`` is handed."""

    def __call__(
        self, name: str, factory: "Callable[[Any], Router]", parameters_class: type = ...
    ) -> None:
        """Offer a routing strategy for ``[router] name = ...``.

        ``parameters_class`` is an attrs class, validated like a model's options; an instance of it
        is the factory's one argument. A class that takes it in its constructor is a factory.
        """


class RegisterStore(Protocol):
    """What ``paintmq_register_stores`` is handed."""

    def __call__(self, scheme: str, factory: Callable[[str], Any]) -> None:
        """Offer a place for the journal.

        The factory gets the ``scheme:...`` text of ``[broker] journal`` and returns
        a ``paintmq.storing.Store``, not opened yet; see ``paintmq.testing.store_contract``.
        """


class RegisterLauncher(Protocol):
    """What ``paintmq_register_launchers`` is handed."""

    def __call__(
        self, name: str, factory: "Callable[[Any], Launcher]", options_class: type = ...
    ) -> None:
        """Offer a way of starting nodes for ``[node] launcher = ...``.

        ``options_class`` is an attrs class, validated like a model's options; an instance of it,
        made of ``[node.options]``, is the factory's one argument.
        """


class RegisterRoute(Protocol):
    """What ``paintmq_register_routes`` is handed."""

    def __call__(
        self, path: str, endpoint: Callable[..., Any], methods: Sequence[str] = ("GET",)
    ) -> None:
        """Serve ``/v1/plugins/NAME`` + ``path``.

        The endpoint is Starlette's: an async function of a Request that returns a Response. The
        guard of the gateway stands before it: token, host, sizes and rates have been checked.
        """


class RegisterHttpApi(Protocol):
    """What ``paintmq_register_http_apis`` is handed."""

    def __call__(self, name: str, factory: "Callable[[Any], HttpApi] | str") -> None:
        """Offer an API for ``[http] apis = [...]``.

        The factory, or the text ``"package.module:name"`` of one, takes the gateway's
        ``HttpServices`` and returns a ``paintmq.http_api.HttpApi``.
        """


@hookspec
def paintmq_configure(settings: Mapping[str, Json]) -> None:
    """Take the plugin's own settings from ``[plugins.settings.NAME]``; raise ValueError for what
    is wrong with them.

    Called once, before any other hook.
    """


@hookspec
def paintmq_register_models(register: RegisterModel) -> None:
    """Register models: ``register(ModelSpec(...))``, once a model.

    Called at load.
    """


@hookspec
def paintmq_register_routers(register: RegisterRouter) -> None:
    """Register routing strategies: ``register(name, factory, parameters_class)``.

    Called at load.
    """


@hookspec
def paintmq_register_stores(register: RegisterStore) -> None:
    """Register places where the journal may live: ``register(scheme, factory)``.

    Called at load.
    """


@hookspec
def paintmq_register_launchers(register: RegisterLauncher) -> None:
    """Register ways of starting nodes (a batch system, a container, another host):
    ``register(name, factory, options_class)``.

    Called at load. See ``paintmq.launching``.
    """


@hookspec
def paintmq_events(batch: Sequence[Mapping[str, Json]]) -> None:
    """Observe what happened to tasks: plain tables, oldest first.

    Each event is a table: ``event`` is ``accept``, ``lease``, ``start``, ``requeue``, ``finish``,
    ``acknowledge``, ``revive``, ``adopt``, ``purge``, ``settings`` or ``boot``; the rest says which
    task, state, queue, worker and attempt, and when. It is seen within a second after it was
    decided, maybe a moment before it is durable. A broker that starts tells of each task that its
    journal holds by ``restored``, after ``boot`` and without a number.

    Those of tasks, and of workers and queues (``joined``, ``left``, ``rejected`` …), are the events
    of ``Client.events``: they have its fields and its ``number``, by which plugins and clients can
    compare; its word for the event is ``what``. Not so with ``monitoring.enabled = false``: then
    there are no numbers, and tasks alone.

    Called in a thread of its own, off the hot path. When observers cannot keep up, events are
    dropped, and an event ``dropped`` says how many. A plugin that raises again and again is no
    longer called. A plugin that its settings switch off says so by an attribute of the function,
    ``paintmq_events.is_wanted``, a function that returns a bool: where no plugin wants events, none
    are made.
    """


@hookspec
def paintmq_progress(batch: Sequence[Mapping[str, Json]]) -> None:
    """Observe how far running tasks are.

    Each is a table: ``task_id``, ``step`` of ``total``, and ``model``, ``queue``, ``tenant``,
    ``worker``, ``attempt`` and ``at``. Of a task there is at most one in a tenth of a second, the
    latest, and none before the event by which it runs or after that by which it has ended.

    Called in the thread of ``paintmq_events``, and like it. ``is_wanted`` is as for it.
    """


@hookspec
def paintmq_statistics(sample: "BrokerStatistics") -> None:
    """Observe the statistics: a ``BrokerStatistics``.

    Called every ``monitoring.metrics_interval`` seconds, off the hot path. A slow observer delays
    the next sample, nothing else. ``is_wanted`` is as for ``paintmq_events``.
    """


@hookspec
def paintmq_register_routes(register: RegisterRoute) -> None:
    """Add routes to the gateway, below ``/v1/plugins/NAME`` and behind its guard:
    ``register(path, endpoint, methods)``, with Starlette endpoints.

    Called when ``paintmq http`` starts.
    """


@hookspec
def paintmq_register_http_apis(register: RegisterHttpApi) -> None:
    """Register APIs of the gateway, at the paths that their clients expect:
    ``register(name, factory)``.

    A factory gets the gateway's services: ``tasks`` submits, finds, lists, cancels and confirms a
    caller's own tasks, ``client`` is the AsyncClient for questions that concern no task, ``room``
    bounds what is in memory to be answered with, ``config`` is ``[http]``, ``options`` is
    ``[http.options.NAME]``. Every handler passes ``request.state.caller``, a
    ``paintmq.http_api.Caller`` that the guard has put there, to ``tasks``; none asks the client
    about a task by itself. The guard has checked host, origin, token, sizes and rates, for
    WebSocket handshakes too.

    Called at load; a factory is called when ``paintmq http`` starts and its API is chosen. One that
    raises stops the start, as the operator has chosen it.
    """


@hookspec
def paintmq_register_commands(app: "typer.Typer") -> None:
    """Add subcommands to the ``paintmq`` command: a ``typer.Typer``.

    Called when a command line names no command of ours.
    """
