"""``paintmq dead``: tasks that were given up on, and what to do about them."""

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
from paintmq.cli.failures import note
from paintmq.cli.status_command import duration

TaskIds = Annotated[list[str], typer.Argument(metavar="TASK...", help="Task ids.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True, help="Tasks that were given up on: list, show, requeue, drop."
    )
    group.command("list")(list_dead)
    group.command("show")(show)
    group.command("requeue")(requeue)
    group.command("drop")(drop)
    app.add_typer(group, name="dead")


def list_dead(
    connect: ConnectOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List the dead tasks, oldest first."""
    with connected(connect, config) as client:
        answer: Any = client.ask("dead_list")
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    if not answer["tasks"]:
        note("no dead tasks")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("task", "model", "queue", "attempts", "age", "reason"):
        table.add_column(name, no_wrap=name == "task")
    for each in answer["tasks"]:
        table.add_row(
            each["id"],
            each["model"],
            each["queue"],
            str(each["attempts"]),
            duration(each["age"]),
            each["reason"],
        )
    Console().print(table)
    if answer["more"]:
        note(f"and {answer['more']} more")


def show(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Task id.")],
    connect: ConnectOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a dead task with every attempt: worker, times, error and traceback."""
    task_id = parse_task_id(task)
    with connected(connect, config) as client:
        answer: Any = client.ask("dead_show", task_id=task_id)
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    print(f"task     {answer['id']}\nmodel    {answer['model']} {json.dumps(answer['options'])}")
    print(f"queue    {answer['queue']}\nreason   {answer['reason']}")
    for each in answer["history"]:
        ran = each["ended_at"] - (each["started_at"] or each["leased_at"])
        print(
            f"\nattempt {each['attempt']} on {each['worker']}: {each['outcome']} after {ran:.2f} s"
        )
        error = each["error"] or {}
        for text in (error.get("message"), error.get("traceback")):
            for line in (text or "").rstrip().splitlines():
                print(f"  {line}")


def requeue(task: TaskIds, connect: ConnectOption = None, config: ConfigOption = None) -> None:
    """Give dead tasks another chance, with fresh counters."""
    task_ids = [parse_task_id(each) for each in task]
    with connected(connect, config) as client:
        for each in task_ids:
            answer: Any = client.ask("dead_requeue", task_id=each)
            print(f"{each}: waits in {answer['queue']}")


def drop(task: TaskIds, connect: ConnectOption = None, config: ConfigOption = None) -> None:
    """Forget dead tasks and their inputs for good."""
    task_ids = [parse_task_id(each) for each in task]
    with connected(connect, config) as client:
        for each in task_ids:
            client.ask("dead_drop", task_id=each)
            print(f"{each}: dropped")
