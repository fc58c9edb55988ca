"""``paintmq queues``: see the queues of a running broker, and change them while it works."""

import json
from typing import Annotated, Any

import typer

from paintmq.cli.change_lines import change_lines
from paintmq.cli.common_options import ConfigOption, ConnectOption, JsonOption, connected
from paintmq.cli.failures import CommandError
from paintmq.cli.tables import plain_console, plain_table
from paintmq.task import Json

_Name = Annotated[str, typer.Argument(help="Of the queue.")]
_Settings = Annotated[
    list[str],
    typer.Argument(
        help="Settings as KEY=VALUE, such as capacity=500 or models=sd*,lama.", show_default=False
    ),
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
]

app = typer.Typer(no_args_is_help=True, help="See and change the queues of a running broker.")


def add_to(main: typer.Typer) -> None:
    main.add_typer(app, name="queues")


@app.command("list")
def list_queues(
    connect: ConnectOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List the queues: their state, what they take, and what was changed since the start."""
    with connected(connect, config) as client:
        queues: Any = client.ask("queues")
    if as_json:
        print(json.dumps(queues, indent=2))
        return
    table = plain_table("queue", "state", "endpoint", "takes", "capacity", "changed")
    for name, each in queues.items():
        settings = each["settings"]
        table.add_row(
            name,
            each["state"],
            each["endpoint"],
            _takes(settings),
            str(settings["capacity"]),
            ", ".join(each["changed"]) or "-",
        )
    plain_console().print(table)


@app.command()
def add(
    name: _Name,
    settings: _Settings = [],  # noqa: B006 -- typer wants a list, and nothing changes it
    dry_run: _DryRun = False,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a queue; nodes and clients learn of it by themselves. It outlives a restart."""
    _change("add", name, connect, config, settings=_parsed(settings), dry_run=dry_run)


@app.command("set")
def set_keys(
    name: _Name,
    settings: _Settings,
    dry_run: _DryRun = False,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Change settings of a queue; they win over the file until `reset`."""
    _change("set", name, connect, config, settings=_parsed(settings), dry_run=dry_run)


@app.command()
def pause(name: _Name, connect: ConnectOption = None, config: ConfigOption = None) -> None:
    """Let no task of the queue start; it goes on taking tasks, and what runs goes on."""
    _change("pause", name, connect, config)
    print(f"{name}: paused")


@app.command()
def resume(name: _Name, connect: ConnectOption = None, config: ConfigOption = None) -> None:
    """End `pause` and `drain`."""
    _change("resume", name, connect, config)
    print(f"{name}: open")


@app.command()
def drain(name: _Name, connect: ConnectOption = None, config: ConfigOption = None) -> None:
    """Take no new tasks in the queue; those it has go on."""
    _change("drain", name, connect, config)
    print(f"{name}: takes no new tasks")


@app.command()
def remove(
    name: _Name,
    dry_run: _DryRun = False,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove a queue. Its tasks go to other queues; what none can hold becomes a dead letter."""
    _change("remove", name, connect, config, dry_run=dry_run)


@app.command()
def reset(
    name: _Name,
    dry_run: _DryRun = False,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Undo what was changed: the queue is as the settings have it."""
    _change("reset", name, connect, config, dry_run=dry_run)


@app.command()
def purge(
    name: _Name,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Cancel every task that waits in the queue; what runs goes on."""
    with connected(connect, config) as client:
        if not sure:
            typer.confirm(f"Cancel every task that waits in {name}?", abort=True)
        cancelled, more = 0, 1
        while more:
            answer: Any = client.ask("cancel_tasks", queue=name)
            cancelled, more = cancelled + answer["cancelled"], answer["more"]
    print(f"{name}: {cancelled} waiting tasks cancelled")


def _change(
    action: str,
    name: str,
    connect: str | None,
    config: Any,
    *,
    settings: dict[str, Json] | None = None,
    dry_run: bool = False,
) -> None:
    with connected(connect, config) as client:
        answer: Any = client.ask(
            "change_queue",
            action=action,
            name=name,
            settings=settings or {},
            dry_run=dry_run,
        )
    for line in change_lines(answer["changes"]):
        print(line.strip())
    if dry_run and not answer["changes"]:
        print("nothing would change")


def _parsed(settings: list[str]) -> dict[str, Json]:
    """Return KEY=VALUE as a table: values as in TOML, text without quotes, lists as ``a,b``.

    Raises:
        CommandError: something is not KEY=VALUE.
    """
    import tomli  # here, as `paintmq --help` has no use for it

    found: dict[str, Json] = {}
    for each in settings:
        key, equals, text = each.partition("=")
        if not equals or not key:
            raise CommandError(f"{each}: not KEY=VALUE, such as capacity=500")
        try:
            value = tomli.loads(f"value = {text}")["value"]
        except tomli.TOMLDecodeError:
            value = text
        if key == "models" and isinstance(value, str):
            value = [item.strip() for item in value.split(",") if item.strip()]
        found[key] = value
    return found


def _takes(settings: Any) -> str:
    parts = [settings["device"]]
    for key, unit in (("gpu_memory_mb", " MB GPU"), ("memory_mb", " MB"), ("cores", " cores")):
        if settings[key]:
            parts.append(f"{settings[key]}{unit}")
    if settings["effort"] != "any":
        parts.append(settings["effort"])
    return ", ".join([*parts, *settings["models"]])
