"""``paintmq keys``: who may connect to a broker that other machines can reach."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paintmq.cli.common_options import ExpiresOption, JsonOption, expiry_of
from paintmq.cli.failures import CommandError
from paintmq.cli.status_command import duration

if TYPE_CHECKING:
    from paintmq.transport.key_files import Allowed

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the keys.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Keys of a broker: init, add, list, revoke.")
    group.command("init")(init)
    group.command("add")(add)
    group.command("list")(list_all)
    group.command("revoke")(revoke)
    app.add_typer(group, name="keys")


def init(folder: FolderArgument) -> None:
    """Make a broker's keys, and those of the worker and admin on its own machine."""
    from paintmq.transport.key_files import LOCAL_ADMIN, LOCAL_WORKER, init_keys

    made = init_keys(folder)
    print(f'{made}: the broker\'s own; set broker.keys = "{folder}"')
    print(f"{folder / LOCAL_WORKER}.key, {folder / LOCAL_ADMIN}.key: for this machine")


def add(
    folder: FolderArgument,
    name: NameArgument,
    role: Annotated[str, typer.Option(help="client, worker or admin.")] = "client",
    expires: ExpiresOption = None,
    queues: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Queues a client may submit to, or whose tasks a worker may run. [default: all]",
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The tenant of all tasks of a client. [default: any]"),
    ] = None,
    max_priority: Annotated[
        int | None,
        typer.Option(metavar="N", help="The highest priority of a client's tasks. [default: 9]"),
    ] = None,
    quota: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Unfinished tasks a client may have at once. [default: no limit]"
        ),
    ] = None,
) -> None:
    """Let another program in, and write the key file it needs."""
    from attrs import evolve

    from paintmq.transport.key_files import ROLES, add_key
    from paintmq.transport.key_terms import KeyTerms

    if role not in ROLES:
        raise CommandError(f"--role {role}: use one of {', '.join(ROLES)}")
    not_after = expiry_of(expires, now=_now())
    claims = {"tenant": tenant, "max_priority": max_priority, "quota": quota}
    try:
        terms = evolve(
            KeyTerms.from_json(claims),
            not_after=not_after,
            queues=None if queues is None else _names(queues),
        )
    except ValueError as error:
        option = str(error).partition(" ")[0].replace("_", "-")
        raise CommandError(f"--{option}: {error}") from error
    made = add_key(folder, name, role, terms)
    print(f"{made}: bring it to {name} by a safe way, set broker.key there, and delete it here")
    if terms.end:
        print(f"it expires on {terms.end}")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise CommandError(f"--queues {text!r}: name them as gpu-low,cpu-light")
    return names


def list_all(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """List who is let in, until when, for which queues, and what their tasks may claim."""
    from paintmq.transport.key_files import list_keys

    keys, now = list_keys(folder), _now()
    if as_json:
        print(json.dumps([_row(key, now) for key in keys], indent=2))
        return
    for key in keys:
        terms = ", ".join(
            filter(None, (_end_in_words(key, now), _queues_in_words(key), _claims(key)))
        )
        print(f"{key.name:<24} {key.role:<8} {key.public}  {terms}".rstrip())


def _row(key: "Allowed", now: float) -> dict[str, object]:
    from paintmq.transport.key_terms import TERMS

    terms: dict[str, object] = {**dict.fromkeys(sorted(TERMS)), **key.terms.to_json()}
    expired = key.terms.has_expired(now)
    return {"name": key.name, "role": key.role, "public": key.public, **terms, "expired": expired}


def _end_in_words(key: "Allowed", now: float) -> str:
    terms = key.terms
    if terms.not_after is None:
        return ""
    if terms.has_expired(now):
        return f"EXPIRED on {terms.end}"
    if terms.expires_soon(now):
        return f"EXPIRES SOON, on {terms.end}, in {duration(terms.not_after - now)}"
    return f"expires on {terms.end}"


def _queues_in_words(key: "Allowed") -> str:
    return f"for {', '.join(key.terms.queues)} alone" if key.terms.queues is not None else ""


def _claims(key: "Allowed") -> str:
    """Return what a client's tasks may claim."""
    terms = key.terms
    claims = {
        "tenant": terms.tenant,
        "priority up to": terms.max_priority,
        "unfinished tasks up to": terms.quota,
    }
    return ", ".join(f"{name} {value}" for name, value in claims.items() if value is not None)


def _now() -> float:
    return time.time_ns() / 1e9


def revoke(folder: FolderArgument, name: NameArgument) -> None:
    """Let somebody in no longer."""
    from paintmq.transport.key_files import revoke_key

    revoke_key(folder, name)
    print(f"{name}: revoked; a running broker heeds it after `kill -HUP` or `paintmq reload`")
