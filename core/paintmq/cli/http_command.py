"""``paintmq http``: tasks over HTTP, as a client of a broker that runs."""

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import typer

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

_OTHERS = 0o077
"""Permission bits that give anyone but the owner access to a file."""


MAX_UNACCEPTED = 10_000
"""Tasks that wait for the broker to accept them; those it has are its own to limit."""
MAX_SILENT = 256
"""Connections without a request; they are closed within seconds."""


def add_to(app: typer.Typer) -> None:
    app.command("http")(http)


def http(connect: ConnectOption = None, config: ConfigOption = None) -> None:
    """Take tasks by HTTP and hand them to a broker; needs the extra http."""
    try:
        import starlette  # noqa: F401 -- only whether it is there
        import uvicorn
    except ImportError as error:
        raise CommandError(f"{error}: pip install 'paintmq[http]'") from error

    from paintmq.cli.log_setup import log_to_stderr
    from paintmq.client.async_client import AsyncClient
    from paintmq.gateway.callers import Callers
    from paintmq.gateway.callers_tasks import CallersTasks
    from paintmq.gateway.connections import PromptProtocol
    from paintmq.gateway.guard import MAX_WAITING, Guard, GuardLimits
    from paintmq.gateway.identity import TaskIds
    from paintmq.gateway.mounting import chosen_apis, gateway_app
    from paintmq.gateway.services import HttpServices
    from paintmq.process import file_limit

    settings = service_settings(config).config
    endpoint = chosen_endpoint(connect, config)
    log_to_stderr()
    wanted = settings.http
    listener = _listen(wanted)
    host, port = listener.getsockname()[:2]
    token = _token(_token_file(wanted))
    plugins = installed_plugins(settings.plugins)
    client = AsyncClient(
        endpoint,
        name="http gateway",
        key=key_file(settings.broker),
        max_tasks=MAX_UNACCEPTED,
        max_bytes=wanted.max_bytes,
        relays=True,
    )
    tasks = CallersTasks(client, TaskIds(token.encode()))
    services = HttpServices(tasks=tasks, config=wanted)
    apis = chosen_apis(services, plugins.http_apis)
    guard = Guard(
        gateway_app(services, apis, plugins.routes()),
        Callers(token),
        _hosts(wanted, port),
        GuardLimits(
            body=wanted.max_body_bytes, bodies=wanted.max_bytes, requests=wanted.max_requests
        ),
        apis,
    )
    connections = wanted.max_requests + MAX_WAITING + MAX_SILENT
    file_limit.allow(file_limit.RESERVE + connections)
    note(f"serving http://{f'[{host}]' if ':' in host else host}:{port} for {endpoint}")
    server = uvicorn.Server(
        uvicorn.Config(
            guard,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            ws="none",
            http=PromptProtocol,
            # Beyond what the guard counts: connections that have not sent a request yet.
            limit_concurrency=connections,
            h11_max_incomplete_event_size=16 * 1024,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
        )
    )
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
    if not server.started:
        raise ServiceFailedError("the gateway did not start: the log says why")


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


def _hosts(wanted: "HttpConfig", port: int) -> frozenset[str]:
    if wanted.hosts:
        return frozenset(host.lower() for host in wanted.hosts)
    return frozenset(f"{name}:{port}" for name in ("localhost", "127.0.0.1", "[::1]"))


def _token_file(wanted: "HttpConfig") -> Path:
    if wanted.token_file:
        return Path(wanted.token_file).expanduser()
    return data_folder("http-token", instead="http.token_file (PAINTMQ_HTTP__TOKEN_FILE=PATH)")


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
    try:
        if file.stat().st_mode & _OTHERS:
            raise CommandError(f"{file}: others can read this token: chmod 600 {file}")
        token = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from error
    if len(token) < 20:
        raise CommandError(f"{file}: a token has at least 20 characters; remove it for a new one")
    return token
