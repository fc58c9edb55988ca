"""``paintmq http``: tasks over HTTP, as a client of a broker that runs."""

import os
import secrets
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paintmq.cli import http_tokens_command
from paintmq.cli.common_options import (
    ConfigOption,
    ConnectOption,
    chosen_endpoint,
    installed_plugins,
    key_file,
    service_settings,
)
from paintmq.cli.failures import CommandError, ServiceFailedError, note
from paintmq.user_folders import data_folder

if TYPE_CHECKING:
    import socket

    from paintmq.config import HttpConfig
    from paintmq.gateway.callers import Callers
    from paintmq.gateway.callers_tasks import CallersTasks
    from paintmq.gateway.origins import Origins
    from paintmq.gateway.webhooks.webhooks import Webhooks


MAX_UNACCEPTED = 10_000
"""Tasks that wait for the broker to accept them; those it has are its own to limit."""
MAX_SILENT = 256
"""Connections without a request; they are closed within seconds."""


TOKEN_VARIABLE = "PAINTMQ_HTTP_TOKEN"
"""The operator's token itself, instead of a file."""
MAX_WEBSOCKET_MESSAGE = 8 * 1024 * 1024


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True)
    group.callback()(http)
    http_tokens_command.add_to(group)
    app.add_typer(group, name="http")


def http(
    context: typer.Context,
    sign_in: Annotated[
        bool,
        typer.Option(
            "--sign-in", help="Print a link that signs a browser in, once, within ten minutes."
        ),
    ] = False,
    tethered: Annotated[
        bool, typer.Option("--tethered", help="Stop when standard input ends: for launchers.")
    ] = False,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Take tasks by HTTP and hand them to a broker; needs the extra http."""
    if context.invoked_subcommand is None:
        if tethered:
            threading.Thread(target=_end_with_input, name="tether", daemon=True).start()
        serve(connect, config, sign_in=sign_in)


def _end_with_input() -> None:
    # Not through sys.stdin, whose lock a thread that waits in it would hold at exit.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def serve(connect: str | None, config: Path | None, *, sign_in: bool = False) -> None:
    """Serve until a signal ends it."""
    try:
        import starlette  # noqa: F401 -- only whether it is there
        import uvicorn
    except ImportError as error:
        raise CommandError(f"{error}: pip install 'paintmq[http]'") from error

    from paintmq.cli.client_watch import ends_with
    from paintmq.cli.log_setup import log_to_stderr
    from paintmq.client.async_client import AsyncClient
    from paintmq.gateway.callers_tasks import CallersTasks
    from paintmq.gateway.connections import PromptProtocol
    from paintmq.gateway.guard import Guard, GuardLimits
    from paintmq.gateway.identity import TaskIds
    from paintmq.gateway.login_api import login_api
    from paintmq.gateway.mounting import chosen_apis, gateway_app
    from paintmq.gateway.probes import Probes
    from paintmq.gateway.services import HttpServices
    from paintmq.gateway.slots import MAX_WAITING
    from paintmq.process import file_limit

    settings = service_settings(config).config
    endpoint = chosen_endpoint(connect, config)
    log_to_stderr()
    wanted = settings.http
    listener = _listen(wanted)
    host, port = listener.getsockname()[:2]
    callers = _callers(wanted)
    plugins = installed_plugins(settings.plugins)
    client = AsyncClient(
        endpoint,
        name="http gateway",
        key=key_file(settings.broker),
        max_tasks=MAX_UNACCEPTED,
        max_bytes=wanted.max_bytes,
        relays=True,
    )
    tasks = CallersTasks(client, TaskIds(callers.file.table().secret))
    webhooks = _webhooks(wanted, callers, tasks)
    services = HttpServices(tasks=tasks, config=wanted, webhooks=webhooks)
    apis = [login_api(callers), *chosen_apis(services, plugins.http_apis)]
    probes = Probes(client)
    guard = Guard(
        gateway_app(services, apis, plugins.routes()),
        callers,
        _origins(wanted, port),
        GuardLimits(
            body=wanted.max_body_bytes, bodies=wanted.max_bytes, requests=wanted.max_requests
        ),
        apis,
        rates=tasks.rates,
        probes={"/healthz": probes.alive, "/readyz": probes.ready},
    )
    connections = wanted.max_requests + MAX_WAITING + MAX_SILENT
    file_limit.allow(file_limit.RESERVE + connections)
    scheme = "https" if wanted.certificate else "http"
    note(f"serving {scheme}://{f'[{host}]' if ':' in host else host}:{port} for {endpoint}")
    if sign_in:
        note(f"to paint in a browser, open {_sign_in_link(callers, wanted, port)}")
    server = uvicorn.Server(
        uvicorn.Config(
            guard,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            ws="websockets-sansio",
            ws_max_size=MAX_WEBSOCKET_MESSAGE,
            ws_per_message_deflate=False,
            http=PromptProtocol,
            ssl_certfile=wanted.certificate or None,
            ssl_keyfile=wanted.certificate_key or None,
            # Beyond what the guard counts: connections that have not sent a request yet.
            limit_concurrency=connections,
            h11_max_incomplete_event_size=16 * 1024,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
        )
    )
    try:
        with ends_with(client, server):
            server.run(sockets=[listener])
    finally:
        listener.close()
    if client.has_failed:
        raise ServiceFailedError("the gateway's client has ended by itself: the log says how")
    if not server.started:
        raise ServiceFailedError("the gateway did not start: the log says why")


def _sign_in_link(callers: "Callers", wanted: "HttpConfig", port: int) -> str:
    """Return an address that signs a browser in as the operator, once."""
    assert callers.links is not None
    now = time.time_ns() / 1e9
    host = wanted.hosts[0] if wanted.hosts else f"localhost:{port}"
    scheme = "https" if wanted.certificate or wanted.behind_proxy else "http"
    from paintmq.gateway.tokens import OPERATOR

    ticket = callers.links.make(OPERATOR, now=now)
    return f"{scheme}://{host}{wanted.root_path}/login?ticket={ticket}"


def _listen(wanted: "HttpConfig") -> "socket.socket":
    import socket

    try:
        return socket.create_server(
            (wanted.host.strip("[]"), wanted.port),
            family=socket.AF_INET6 if ":" in wanted.host else socket.AF_INET,
        )
    except OSError as error:
        raise CommandError(
            f"http.host = {wanted.host!r}, http.port = {wanted.port}: {error.strerror}"
        ) from error


def _origins(wanted: "HttpConfig", port: int) -> "Origins":
    from paintmq.gateway.origins import Origins, checked_origins

    return Origins(
        hosts=_hosts(wanted, port),
        origins=checked_origins(wanted.origins),
        root_path=wanted.root_path,
        any_scheme=wanted.behind_proxy,
        proxies=wanted.trusted_proxies,
    )


def _hosts(wanted: "HttpConfig", port: int) -> frozenset[str]:
    if wanted.hosts:
        return frozenset(host.lower() for host in wanted.hosts)
    return frozenset(f"{name}:{port}" for name in ("localhost", "127.0.0.1", "[::1]"))


def _callers(wanted: "HttpConfig") -> "Callers":
    """Return the tokens; the operator's is made and printed if there is none at all.

    Raises:
        CommandError: a file of them cannot be used.
    """
    from paintmq.gateway.callers import Callers
    from paintmq.gateway.sessions import LoginLinks
    from paintmq.gateway.token_file import TokenFile

    file = TokenFile(http_tokens_command.tokens_file(wanted))
    file.make()
    file.table()
    links = LoginLinks(http_tokens_command.links_folder(file))
    return Callers(file, _operator_token(wanted), links)


def _webhooks(wanted: "HttpConfig", callers: "Callers", tasks: "CallersTasks") -> "Webhooks | None":
    """Return the webhooks; None where the operator allows no host.

    Raises:
        CommandError: a host of the settings is none.
        ConfigError: their folder cannot be made.
    """
    from paintmq.gateway.webhooks.folder import HookFolder
    from paintmq.gateway.webhooks.hosts import WebhookHosts
    from paintmq.gateway.webhooks.webhooks import Webhooks

    if not wanted.webhook_hosts:
        return None
    try:
        hosts = WebhookHosts.of(wanted.webhook_hosts)
    except ValueError as error:
        raise CommandError(str(error)) from None
    instead = "http.webhook_folder (PAINTMQ_HTTP__WEBHOOK_FOLDER=PATH)"
    named = wanted.webhook_folder
    path = Path(named).expanduser() if named else data_folder("http-webhooks", instead=instead)
    folder = HookFolder(path)
    folder.make()
    secret = callers.file.table().secret
    return Webhooks(hosts, folder, tasks, secret, callers.knows, wanted.root_path)


def _operator_token(wanted: "HttpConfig") -> str:
    if given := os.environ.get(TOKEN_VARIABLE, "").strip():
        return _checked_token(given, TOKEN_VARIABLE)
    if wanted.token_file:
        return _token(Path(wanted.token_file).expanduser())
    instead = "http.token_file (PAINTMQ_HTTP__TOKEN_FILE=PATH)"
    return _token(data_folder("http-token", instead=instead))


def _token(file: Path) -> str:
    """Return the token in the file; if there is none, make one and print it this once.

    Raises:
        CommandError: the file cannot be used, or others can read it.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _token_in(file)
    except OSError as error:
        raise CommandError(f"{file}: cannot be written: {error.strerror}") from error
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(token + "\n")
    note(f"token, kept in {file}: {token}")
    return token


def _token_in(file: Path) -> str:
    from paintmq.gateway.token_file import read_secret_file

    return _checked_token(read_secret_file(file).strip(), str(file))


def _checked_token(token: str, where: str) -> str:
    if len(token) < 20:
        raise CommandError(f"{where}: a token has at least 20 characters; remove it for a new one")
    return token
