"""``paintmq up``, ``broker`` and ``node``: what runs until it is told to stop."""

import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from attrs import evolve

from paintmq.cli.change_lines import change_lines
from paintmq.cli.common_options import (
    ConfigOption,
    ConnectOption,
    chosen_endpoint,
    connected,
    host_and_port,
    installed_plugins,
    service_settings,
    unreachable_because,
)
from paintmq.cli.failures import (
    SIGNALLED,
    CommandError,
    NoBrokerError,
    ServiceFailedError,
    note,
    report,
)
from paintmq.cli.signals import Signals
from paintmq.cli.tether import Tether
from paintmq.errors import LeadLostError, PaintMQError
from paintmq.process import allocator, file_limit
from paintmq.process.garbage_collector import calm_collector
from paintmq.process.service_manager import ALIVE, READY, STOPPING, tell
from paintmq.process.switch_interval import shared_often
from paintmq.transport.addresses import endpoints_in, tcp_endpoint

if TYPE_CHECKING:
    from paintmq.broker.shell.server import BrokerServer
    from paintmq.cli.gateway_process import GatewayProcess
    from paintmq.config import Config
    from paintmq.node.directions import Directions
    from paintmq.node.fleet import NodeFleet
    from paintmq.node.supervisor import NodeSupervisor
    from paintmq.plugin.manager import PluginManager

_LOOK = 1.0
"""Seconds between two looks whether the broker or the workers have ended by themselves."""
_RETRY = 1.0
"""Seconds between two looks for a broker that is not up yet."""


def add_to(app: typer.Typer) -> None:
    app.command("up")(up)
    app.command("broker")(broker)
    app.command("node")(node)
    app.command("reload")(reload)


def up(
    with_http: Annotated[
        bool,
        typer.Option(
            "--http", help="Start the HTTP gateway too, and print a link that signs a browser in."
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Start a broker and its workers: this machine's, or what `node.launcher` says; Ctrl-C stops
    them in order.
    """
    from paintmq.cli.gateway_process import GatewayProcess, check_extra
    from paintmq.node.fleet import make_fleet

    if with_http:
        check_extra()
    with Signals() as signals, ExitStack() as stack:
        server, settings, plugins = _started_broker(config, stack)
        fleet = make_fleet(
            settings,
            plugins,
            queue_endpoints=server.queue_endpoints,
            client_endpoint=server.client_endpoint,
        )
        fleet.start()
        server.follow_queues(lambda: fleet.follow(server_directions(server)))
        stack.callback(_stop_nodes, fleet, settings, server)
        gateway = None
        if with_http:
            gateway = stack.enter_context(GatewayProcess(server.client_endpoint, config))
        _serve(server, signals, gateway)
    _exit_as_told(signals)


def broker(
    config: ConfigOption = None,
    accept_data_loss: Annotated[
        bool,
        typer.Option(
            "--accept-data-loss", help="Open a journal that is known to have lost records."
        ),
    ] = False,
    standby: Annotated[
        bool,
        typer.Option(
            "--standby",
            help="Wait while another broker leads on the same journal, and take its place.",
        ),
    ] = False,
) -> None:
    """Start a broker; workers come from `paintmq node` on any machine."""
    with Signals() as signals:
        if not standby:
            with ExitStack() as stack:
                server, _, _ = _started_broker(config, stack, accept_data_loss=accept_data_loss)
                _serve(server, signals)
        else:
            while _led_until_another_does(config, signals, accept_data_loss=accept_data_loss):
                note("standing by again")
    _exit_as_told(signals)


def _led_until_another_does(
    config: Path | None, signals: Signals, *, accept_data_loss: bool
) -> bool:
    """Stand by, then lead; return whether the lead was lost. False: told to stop.

    Raises:
        PaintMQError: the broker has failed in another way.
    """
    from paintmq.broker.shell.standby import StandbyEndedError

    def wait(seconds: float) -> bool:
        tell(READY)
        tell(ALIVE)
        return signals.wait_at_most(seconds) in (None, signal.SIGHUP)

    server = None
    try:
        with ExitStack() as stack:
            server, _, _ = _started_broker(
                config, stack, accept_data_loss=accept_data_loss, standby=wait
            )
            _serve(server, signals)
    except StandbyEndedError:
        return False
    except ServiceFailedError as error:
        if server is None or not isinstance(server.failure, LeadLostError):
            raise
        report(error)
        return True
    return False


def node(
    connect: Annotated[
        str,
        typer.Option(
            "--connect",
            metavar="ENDPOINT",
            help="The broker, as tcp://HOST:PORT; several, with commas between.",
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of this node; otherwise the machine's.")] = "",
    tethered: Annotated[
        bool,
        typer.Option("--tethered", help="Stop when standard input ends: for launchers."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Start this machine's workers for a broker on this or another machine."""
    from paintmq.node.directions import LOOK, SELDOM, DirectionsKeeper
    from paintmq.node.supervisor import NodeSupervisor
    from paintmq.worker.agent.known_broker import KnownBroker

    settings, plugins = _prepared(config)
    endpoint = chosen_endpoint(connect, config)
    with Signals() as signals:
        tether = Tether(signals, settings.timers.drain_grace)
        if tethered:
            tether.start()
        directions = _ask_for_directions(endpoint, config, signals)
        if directions is None:
            return
        allocator.keep()
        known = KnownBroker(directions.incarnation)
        supervisor = NodeSupervisor(
            evolve(settings, queues=directions.queues or settings.queues),
            plugins,
            queue_endpoints=directions.endpoints,
            name=name,
            known=known,
        )
        keeper = DirectionsKeeper(
            ask=lambda: _directions(endpoint, config),
            follow=supervisor.follow,
            homes=lambda: supervisor.homes,
            known=known,
            broker=endpoint,
            looks_after=LOOK if len(endpoints_in(endpoint)) > 1 else SELDOM,
        )
        supervisor.start()
        keeper.start()
        tether.hold(supervisor)
        try:
            note(f"workers of this machine serve {endpoint}")
            _work(supervisor, signals)
        finally:
            keeper.stop()
            _stop_node(supervisor, tether.grace)
    _exit_as_told(signals)


def reload(
    connect: ConnectOption = None,
    config: ConfigOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
) -> None:
    """Let a running broker read its settings and keys again, and say what of them it uses now."""
    with connected(connect, config) as client:
        answer: Any = client.ask("reload", dry_run=dry_run)
    if not dry_run:
        print(f"settings read again: router {answer['router']}")
    for line in change_lines(answer.get("changes", [])):  # an earlier broker tells of none
        print(line)
    if dry_run and not answer.get("changes"):
        print("nothing would change")


def _exit_as_told(signals: Signals) -> None:
    """End with the status of a signal where the terminal was closed; a stop on request is 0."""
    if signals.terminal_closed:
        raise typer.Exit(SIGNALLED + signal.SIGHUP)


def _prepared(config: Path | None) -> "tuple[Config, PluginManager]":
    from paintmq.cli.log_setup import log_to_stderr

    settings = service_settings(config, serves=True).config
    log_to_stderr()
    return settings, installed_plugins(settings.plugins)


def _started_broker(
    config: Path | None,
    stack: ExitStack,
    *,
    accept_data_loss: bool = False,
    standby: Callable[[float], bool] | None = None,
) -> "tuple[BrokerServer, Config, PluginManager]":
    """Start a broker that the stack will stop, and say where it is."""
    from paintmq.broker.shell.server import BrokerServer
    from paintmq.broker.stores import journal_folder
    from paintmq.cli.statistics_feed import feed_statistics
    from paintmq.transport.sockets import new_context

    settings, plugins = _prepared(config)
    if settings.broker.durability != "memory":
        journal_folder(settings.broker)  # refuses at once where there is no place for it
    context = new_context()
    server = BrokerServer(
        settings,
        plugins,
        context=context,
        accept_data_loss=accept_data_loss,
        reread=lambda: service_settings(config).config,
        standby=standby,
    )
    stack.callback(server.end_context, context)
    allocator.keep()
    file_limit.allow(file_limit.wanted(settings))
    server.start()
    stack.enter_context(calm_collector())
    stack.enter_context(shared_often())
    stack.callback(_stop_broker, server)
    note(f"broker for clients at {server.client_endpoint}")
    for name, endpoint in server.queue_endpoints.items():
        note(f"  queue {name:<14} {endpoint}")
    note(f"  journal {server.journal}")
    feed_statistics(server, context, settings.monitoring, plugins, stack)
    return server, settings, plugins


def _work(supervisor: "NodeSupervisor", signals: Signals) -> None:
    """Wait for a signal to stop, or for the workers to have left by themselves.

    Raises:
        ServiceFailedError: the node failed.
    """
    tell(READY)
    while not supervisor.wait(0.0):
        tell(ALIVE)
        arrived = signals.wait_at_most(_LOOK)
        if arrived == signal.SIGHUP:
            note("a node has nothing to reload; its broker chooses the router")
        elif arrived is not None:
            tell(STOPPING)
            note("stopping: running tasks are finished or handed back")
            return
    if supervisor.failure is not None:
        raise ServiceFailedError(f"the node has failed: {supervisor.failure}")
    note("the broker has drained all workers of this machine")


def _stop_node(supervisor: "NodeSupervisor", grace: float) -> None:
    supervisor.stop(grace=grace)
    _tell_handed_back(supervisor.handed_back)


def _stop_nodes(fleet: "NodeFleet", settings: "Config", server: "BrokerServer") -> None:
    # Without a broker what runs cannot end in order: it is given back when the next one starts.
    fleet.stop(settings.timers.drain_grace if server.failure is None else 0.0)
    _tell_handed_back(fleet.handed_back)


def _tell_handed_back(tasks: Sequence[str]) -> None:
    if tasks:
        note(f"handed back {len(tasks)} unfinished: {', '.join(tasks)}")


def _stop_broker(server: "BrokerServer") -> None:
    """Stop the broker.

    Raises:
        ServiceFailedError: it had ended by itself, or does not end in order.
    """
    try:
        left = server.stop()
    except PaintMQError as error:
        raise ServiceFailedError(str(error)) from error
    note(f"stopped; {left}")


def _serve(
    server: "BrokerServer", signals: Signals, gateway: "GatewayProcess | None" = None
) -> None:
    """Wait for a signal to stop, or for the broker to end by itself; on SIGHUP reload.

    Raises:
        ServiceFailedError: the gateway has ended by itself.
    """
    from paintmq.broker.shell.server_control import describe_differences

    tell(READY)
    while (arrived := signals.wait_at_most(_LOOK)) in (None, signal.SIGHUP):
        if server.failure is not None:
            return  # stopping it tells why
        if gateway is not None:
            gateway.check()
        tell(ALIVE)
        if arrived is None:
            continue
        try:
            found = server.reload()
        except PaintMQError as error:
            report(error)
            note("the settings stay as they were")
        else:
            note(f"settings read again: router {server.router_name}")
            for line in change_lines(describe_differences(found)):
                note(line)
    tell(STOPPING)
    note("stopping: running tasks are finished or handed back; again to stop at once")


def server_directions(server: "BrokerServer") -> "Directions":
    """Return where the queues of a broker in this process are."""
    from paintmq.node.directions import Directions

    return Directions(endpoints=server.queue_endpoints, queues=server.settings.queues)


def _ask_for_directions(
    endpoint: str, config: Path | None, signals: Signals
) -> "Directions | None":
    """Return where every queue is, waiting for the broker if need be; None: told to stop.

    A broker that is there and does not answer may be busy, stopped or about to start: it is waited
    for as one that is not there.
    """
    said = ""
    while True:
        try:
            return _directions(endpoint, config)
        except (NoBrokerError, TimeoutError) as error:
            if str(error) != said:
                said = str(error)
                note(f"waiting for a broker at {endpoint}: {said}")
        if signals.wait_at_most(_RETRY) not in (None, signal.SIGHUP):
            return None


def _directions(endpoint: str, config: Path | None) -> "Directions":
    """Return where the queues of the broker there are, of several that leads.

    Raises:
        NoBrokerError: no broker answers.
    """
    failures = []
    for each in endpoints_in(endpoint):
        try:
            return _directions_at(each, config)
        except (NoBrokerError, TimeoutError) as error:
            failures.append(str(error))
    raise NoBrokerError("; ".join(failures))


def _directions_at(endpoint: str, config: Path | None) -> "Directions":
    from paintmq.node.directions import Directions, directions_from

    if reason := unreachable_because(endpoint):
        raise NoBrokerError(reason)
    settings = service_settings(config).config
    if _has_workers_key(settings):
        # Such a key opens the queues' ports alone, so which they are is in our own settings. That
        # it is the right broker, its own key tells.
        host, _ = host_and_port(endpoint)
        ports = {name: each.advertise_port or each.port for name, each in settings.queues.items()}
        endpoints = {name: tcp_endpoint(host, port) for name, port in ports.items()}
        return Directions(endpoints=endpoints, queues=settings.queues)
    with connected(endpoint, config) as client:
        directions = directions_from(endpoint, client.ask("endpoints"))
    if directions is None:
        raise CommandError(f"{endpoint} does not answer as a broker does")
    return directions


def _has_workers_key(settings: "Config") -> bool:
    from paintmq.transport.key_files import load_peer_key

    key = settings.broker.key
    return bool(key) and load_peer_key(Path(key)).role == "worker"
