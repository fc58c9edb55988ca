"""``paintmq http tokens`` and ``paintmq http link``: who may use the gateway, and as what."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paintmq.cli.common_options import (
    ConfigOption,
    ExpiresOption,
    JsonOption,
    expiry_of,
    service_settings,
)
from paintmq.cli.failures import CommandError, note
from paintmq.user_folders import data_folder

if TYPE_CHECKING:
    from paintmq.config import HttpConfig
    from paintmq.gateway.token_file import TokenFile
    from paintmq.gateway.tokens import Token

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is.")]


def add_to(group: typer.Typer) -> None:
    tokens = typer.Typer(
        no_args_is_help=True, help="Tokens of the gateway's users: add, list, revoke."
    )
    tokens.command("add")(add)
    tokens.command("list")(list_all)
    tokens.command("revoke")(revoke)
    group.add_typer(tokens, name="tokens")
    group.command("link")(link)


def tokens_file(wanted: "HttpConfig") -> Path:
    """Return where the tokens are."""
    if wanted.tokens_file:
        return Path(wanted.tokens_file).expanduser()
    if wanted.token_file:
        # Beside the operator's, so that whoever moved the one has moved the other.
        return Path(wanted.token_file).expanduser().with_name("http-tokens.json")
    return data_folder(
        "http-tokens.json", instead="http.tokens_file (PAINTMQ_HTTP__TOKENS_FILE=PATH)"
    )


def add(
    name: NameArgument,
    role: Annotated[str, typer.Option(help="user, admin or metrics.")] = "user",
    tenant: Annotated[
        str, typer.Option(metavar="NAME", help="The tenant of its tasks. [default: its own name]")
    ] = "",
    queues: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Queues its tasks may go to. [default: all]"),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="N", help="POST requests a second. [default: no limit]"),
    ] = None,
    quota: Annotated[
        int | None,
        typer.Option(metavar="N", help="Unfinished tasks at once. [default: no limit]"),
    ] = None,
    expires: ExpiresOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a token, and print it this once: only its hash is kept."""
    from paintmq.gateway.tokens import ROLES, Token, checked

    known = next((each for each in ROLES if each == role), None)
    if known is None:
        raise CommandError(f"--role {role}: use one of {', '.join(ROLES)}")
    expires_at = expiry_of(expires, now=_now())
    token = Token(
        name=name,
        hash="",
        role=known,
        tenant=tenant,
        queues=None if queues is None else tuple(each.strip() for each in queues.split(",")),
        rate=rate,
        quota=quota,
        expires_at=expires_at,
    )
    file = _file(config)
    secret = file.add(checked(token))
    note(f"{name} ({role}), kept as a hash in {file.path}; a running gateway knows it at once")
    print(secret)


def list_all(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the tokens: name, role, and what limits them."""
    file, now = _file(config), _now()
    tokens = list(file.table().tokens.values()) if file.path.exists() else []
    if as_json:
        rows = [{**each.to_json(), "expired": each.has_expired(now)} for each in tokens]
        for row in rows:
            del row["hash"]
        print(json.dumps(rows, indent=2))
        return
    if not tokens:
        note(f"no tokens in {file.path}; make one with: paintmq http tokens add NAME")
    for each in tokens:
        print(f"{each.name:<24} {each.role:<8} {_terms(each, now)}".rstrip())


def _terms(token: "Token", now: float) -> str:
    limits = {
        "tenant": token.tenant or None,
        "queues": None if token.queues is None else ",".join(token.queues),
        "rate": token.rate,
        "quota": token.quota,
    }
    said = [f"{name} {value}" for name, value in limits.items() if value is not None]
    if token.expires_at is not None:
        when = f"{datetime.fromtimestamp(token.expires_at, UTC):%Y-%m-%d %H:%M} UTC"
        said.append(f"EXPIRED on {when}" if token.has_expired(now) else f"expires on {when}")
    return ", ".join(said)


def revoke(name: NameArgument, config: ConfigOption = None) -> None:
    """Let a token in no longer, nor the browsers that signed in by it. Its tasks go on."""
    _file(config).revoke(name)
    print(f"{name}: revoked; a running gateway heeds it at once")


def link(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Whose token. [default: the operator's]")
    ] = "operator",
    address: Annotated[
        str, typer.Option(metavar="URL", help="Where browsers reach the gateway.")
    ] = "",
    config: ConfigOption = None,
) -> None:
    """Print a link that signs a browser in, once, within ten minutes."""
    from paintmq.gateway.sessions import LoginLinks
    from paintmq.gateway.tokens import OPERATOR

    wanted = service_settings(config).config.http
    file = _file(config)
    if name != OPERATOR and name not in file.table().tokens:
        raise CommandError(f"there is no token {name!r} in {file.path}")
    ticket = LoginLinks(links_folder(file)).make(name, now=_now())
    scheme = "https" if wanted.certificate else "http"
    base = address.rstrip("/") or f"{scheme}://{wanted.host}:{wanted.port}{wanted.root_path}"
    print(f"{base}/login?ticket={ticket}")


def links_folder(file: "TokenFile") -> Path:
    """Return where one-time links are kept, beside the tokens."""
    return file.path.with_name(f"{file.path.name}-links")


def _file(config: Path | None) -> "TokenFile":
    from paintmq.gateway.token_file import TokenFile

    return TokenFile(tokens_file(service_settings(config).config.http))


def _now() -> float:
    return time.time_ns() / 1e9
