"""``paintmq why`` and ``cancel``: one task of a running broker."""

import json
from typing import Annotated, Any

import typer

from paintmq.cli.common_options import (
    ConfigOption,
    ConnectOption,
    JsonOption,
    connected,
    parse_task_id,
)
from paintmq.cli.failures import FAILED, CommandError
from paintmq.cli.status_command import duration

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="Task id.")]


def add_to(app: typer.Typer) -> None:
    app.command("why")(why)
    app.command("cancel")(cancel)


def why(
    task: TaskArgument,
    connect: ConnectOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say where a task stands, and what it waits for if it waits."""
    task_id = parse_task_id(task)
    with connected(connect, config) as client:
        answer: Any = client.ask("why", task_id=task_id)
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    known = answer["task"]
    print(
        f"task {known['id']}: {known['state']}, model {known['model']}, queue {known['queue']},"
        f" priority {known['priority']}, accepted {duration(known['age'])} ago"
    )
    if known["worker"]:
        print(f"worker {known['worker']}, attempt {known['attempts']}")
    if known["reason"]:
        print(f"reason: {known['reason']}")
    if answer.get("waiting_for"):
        print(f"waiting for: {answer['waiting_for']}")
    if "explanation" in answer:
        _print_tree(answer["explanation"], indent="")


def _print_tree(value: Any, *, indent: str) -> None:
    """Print a JSON value as indented lines: routers may explain themselves in their own terms."""
    match value:
        case dict():
            for key, each in value.items():
                label = str(key).replace("_", " ")
                if isinstance(each, dict | list) and each:
                    print(f"{indent}{label}:")
                    _print_tree(each, indent=indent + "  ")
                elif each not in (None, "", [], {}):
                    print(f"{indent}{label}: {_shown(each)}")
        case list():
            for each in value:
                if isinstance(each, dict):
                    parts = (f"{k.replace('_', ' ')} {_shown(v)}" for k, v in each.items() if v)
                    print(f"{indent}- {', '.join(parts)}")
                else:
                    print(f"{indent}- {_shown(each)}")
        case _:
            print(f"{indent}{_shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value)


def cancel(task: TaskArgument, connect: ConnectOption = None, config: ConfigOption = None) -> None:
    """Cancel one task; what else its worker does is not touched."""
    task_id = parse_task_id(task)
    with connected(connect, config) as client:
        answer = client.cancel(task_id)
    match answer:
        case "cancelled":
            print(f"{task}: cancelled")
        case "too_late":
            print(f"{task}: had already ended")
            raise typer.Exit(FAILED)
        case _:
            raise CommandError(f"{task}: the broker knows no such task")
