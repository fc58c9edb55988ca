"""``paintmq keys``: who may connect to a broker that other machines can reach."""

from pathlib import Path
from typing import Annotated

import typer

from paintmq.cli.failures import CommandError

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
) -> None:
    """Let another program in, and write the key file it needs."""
    from paintmq.transport.key_files import ROLES, add_key

    if role not in ROLES:
        raise CommandError(f"--role {role}: use one of {', '.join(ROLES)}")
    made = add_key(folder, name, role)
    print(f"{made}: bring it to {name} by a safe way, set broker.key there, and delete it here")


def list_all(folder: FolderArgument) -> None:
    """List who is let in."""
    from paintmq.transport.key_files import list_keys

    for each in list_keys(folder):
        print(f"{each.name:<24} {each.role:<8} {each.public}")


def revoke(folder: FolderArgument, name: NameArgument) -> None:
    """Let somebody in no longer."""
    from paintmq.transport.key_files import revoke_key

    revoke_key(folder, name)
    print(f"{name}: revoked; a running broker heeds it after `kill -HUP` or `paintmq reload`")
