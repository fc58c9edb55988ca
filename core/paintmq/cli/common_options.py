"""Options that several commands share, and what they stand for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias
from uuid import UUID

import typer

from paintmq.cli.failures import CommandError, NoBrokerError, note
from paintmq.task import TaskId
from paintmq.transport.addresses import endpoints_in, tcp_endpoint

if TYPE_CHECKING:
    from paintmq.client import Client
    from paintmq.config import BrokerConfig, Config, PluginsConfig
    from paintmq.plugin.manager import PluginManager
    from paintmq.settings.file import Settings

_SETTINGS_TOLD = ContextVar("_SETTINGS_TOLD", default=False)
"""Whether this command has said which file its settings are from; each command has a context."""

ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Settings; otherwise ./paintmq.toml."),
]
ConnectOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--connect",
        metavar="ENDPOINT",
        help="The broker, as tcp://HOST:PORT; several, with commas between.",
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ExpiresOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="WHEN",
        help="In 90d, 12h or 4w, or a date: the last day it is good, as 2027-12-31 (UTC).",
    ),
]

_KEPT_AFTER_USE = 1.0
"""Seconds that an embedded broker keeps a result after it was taken."""

PATIENCE = 5.0
"""Seconds to wait for a broker: one on another continent answers within one, a busy one in two."""


def expiry_of(expires: str | None, *, now: float) -> float | None:
    """Return the moment that an ``ExpiresOption`` names, Unix seconds; None for none.

    Raises:
        CommandError: it names none, or one that has passed.
    """
    from paintmq.transport.key_terms import parse_expiry

    try:
        return None if expires is None else parse_expiry(expires, now=now)
    except ValueError as error:
        raise CommandError(f"--expires: {error}") from error


def service_settings(file: Path | None, *, serves: bool = False) -> "Settings":
    """Return the settings of a service, or of a command that asks one.

    ``serves``: this process is the service. It refuses a file in the current folder that sets what
    only a named file may, rather than run without its keys.

    Raises:
        ConfigError: what is wrong with them.
    """
    from paintmq.config import BrokerConfig, Config
    from paintmq.settings.file import load_settings

    # A service keeps what it accepted, where an embedded broker keeps nothing beyond itself.
    settings = load_settings(file, base=Config(broker=BrokerConfig(durability="full")))
    if serves and settings.ignored:
        raise CommandError(f"{ignored_keys(settings)}; name the file: -c {settings.file}")
    tell_settings_file(settings)
    return settings


def installed_plugins(config: "PluginsConfig") -> "PluginManager":
    """Return the installed plugins; what one prints while it loads goes to stderr."""
    from contextlib import redirect_stdout

    from paintmq.plugin.manager import PluginManager

    with redirect_stdout(sys.stderr):
        return PluginManager.installed(config)


def client_endpoint(config: "Config") -> str:
    """Return where clients reach the broker these settings describe, or those that share it."""
    if config.broker.address:
        return ",".join(_with_scheme(each) for each in config.broker.address)
    return tcp_endpoint(config.broker.host, config.broker.port)


def chosen_endpoint(connect: str | None, file: Path | None) -> str:
    """Return the broker a command is to talk to: the one named, else that of the settings.

    Raises:
        CommandError: ``connect`` is not an endpoint.
    """
    if connect is None:
        return client_endpoint(service_settings(file).config)
    return ",".join(_with_scheme(each) for each in endpoints_in(connect))


def _with_scheme(endpoint: str) -> str:
    host_and_port(endpoint)
    return endpoint if "://" in endpoint else f"tcp://{endpoint}"


def host_and_port(endpoint: str) -> tuple[str, int]:
    """Split ``tcp://HOST:PORT``.

    Raises:
        CommandError: it is not such an endpoint.
    """
    scheme, separator, address = endpoint.rpartition("://")
    host, _, port = address.rpartition(":")
    if (separator and scheme != "tcp") or not host or not port.isdecimal():
        raise CommandError(f"--connect {endpoint}: not an endpoint such as tcp://127.0.0.1:5550")
    return host.strip("[]"), int(port)


def is_reachable(endpoint: str, patience: float = PATIENCE) -> bool:
    """Return whether something listens there; only talking to it tells whether it is a broker."""
    return not unreachable_because(endpoint, patience)


def unreachable_because(endpoint: str, patience: float = PATIENCE) -> str:
    """Return why nothing can be reached there; empty when something listens at one of them."""
    from paintmq.transport.reach import why_unreachable

    reasons = []
    for each in endpoints_in(endpoint):
        reason = why_unreachable(tcp_endpoint(*host_and_port(each)), patience)
        if not reason:
            return ""
        reasons.append(reason)
    return "; ".join(dict.fromkeys(reasons))


def tell_settings_file(settings: "Settings") -> None:
    """Say, once a command, that a file in the current folder was read, and what of it was not."""
    from paintmq.settings.file import FILE_NAME

    if settings.file != Path(FILE_NAME):
        return
    if _SETTINGS_TOLD.get():
        return
    _SETTINGS_TOLD.set(True)
    note(f"settings from {FILE_NAME} in the current folder")
    if settings.ignored:
        note(f"{ignored_keys(settings)}; -c {FILE_NAME} uses all of it")


def ignored_keys(settings: "Settings") -> str:
    count = "count" if len(settings.ignored) > 1 else "counts"
    return (
        f"{settings.file}: {', '.join(settings.ignored)} {count} only in a file that you name,"
        " since a folder may come from anywhere"
    )


def strangers_broker(settings: "Settings") -> str:
    """Return whose broker listens at the settings' own address, if that is another user's and the
    settings do not name it; empty otherwise.

    On a shared machine anyone may listen at a port of the loopback address.
    """
    from paintmq.cli.listener_owner import is_trusted, listener_uid, user_name

    broker = settings.config.broker
    named = any(
        settings.origin(("broker", key)) != "default" for key in ("host", "port", "key", "keys")
    )
    uid = None if named else listener_uid(broker.port)
    if uid is None or is_trusted(uid):
        return ""
    endpoint = client_endpoint(settings.config)
    return (
        f"the broker at {endpoint} belongs to user {user_name(uid)} (--connect {endpoint} uses it"
        " all the same)"
    )


@contextmanager
def connected(connect: str | None, file: Path | None = None) -> Iterator["Client"]:
    """Give a client of the broker a command is to talk to.

    Raises:
        NoBrokerError: no broker answers there.
    """
    from paintmq.client import Client

    settings = service_settings(file)
    config = settings.config
    endpoint = chosen_endpoint(connect, file)
    if connect is None and (stranger := strangers_broker(settings)):
        raise CommandError(stranger)
    if reason := unreachable_because(endpoint):
        raise NoBrokerError(
            f"no broker answers at {endpoint}; start one with `paintmq up`, or name another with"
            f" --connect ({reason})"
        )
    with Client(endpoint, key=key_file(config.broker)) as client:
        try:
            client.connect(timeout=PATIENCE)
        except TimeoutError as error:
            raise NoBrokerError(str(error)) from error
        yield client


def key_file(config: "BrokerConfig") -> Path | None:
    """Return the key to show a broker: our own, else that of the operator of this machine."""
    from paintmq.transport.key_files import LOCAL_ADMIN

    if config.key:
        return Path(config.key)
    local = Path(config.keys) / f"{LOCAL_ADMIN}.key"
    return local if config.keys and local.exists() else None


def parse_task_id(text: str) -> TaskId:
    """Return the id, however its UUID is written.

    Raises:
        CommandError: it is not a task id.
    """
    try:
        return TaskId(UUID(text).hex)
    except ValueError as error:
        raise CommandError(
            f"{text}: no task id; one is 32 hexadecimal digits, as `paintmq dead list` shows them"
        ) from error


def on_free_ports(config: "Config") -> "Config":
    """Return the settings for a broker of this process alone: ports that are free, no journal."""
    from attrs import evolve

    return evolve(
        config,
        broker=evolve(
            config.broker,
            host="127.0.0.1",
            port=0,
            keys="",
            insecure=False,
            admission="strict",
            durability="memory",
            journal="",
        ),
        queues={name: evolve(queue, port=0) for name, queue in config.queues.items()},
        # Results are written as they come, and whoever starts this broker is its only client.
        timers=evolve(config.timers, result_kept=_KEPT_AFTER_USE),
    )
