"""``paintmq dead``: tasks that were given up on: list, show, requeue and drop them."""

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paintmq.cli.common_options import (
    ConfigOption,
    ConnectOption,
    JsonOption,
    connected,
    parse_task_id,
)
from paintmq.cli.failures import CommandError, note, report
from paintmq.cli.status_command import duration, moment
from paintmq.cli.tables import plain_console, plain_table
from paintmq.errors import RejectedError

if TYPE_CHECKING:
    from paintmq.client import Client
    from paintmq.task import TaskId

TaskIds = Annotated[
    list[str] | None, typer.Argument(metavar="[TASK...]", help="Task ids.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="Every dead task.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="With --all: only tasks of this model.")
]


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
    table = plain_table("task", "model", "attempts", "died", "reason")
    for each in answer["tasks"]:
        died = f"{duration(each['ended'])} ago"
        table.add_row(each["id"], each["model"], str(each["attempts"]), died, each["reason"])
    plain_console().print(table)
    if answer["more"]:
        note(f"and {answer['more']} more")


def show(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Task id.")],
    connect: ConnectOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a task with every attempt so far: worker, times, error and traceback."""
    task_id = parse_task_id(task)
    with connected(connect, config) as client:
        answer: Any = client.ask("dead_show", task_id=task_id)
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    print(f"task     {answer['id']}, {answer['state']}")
    print(f"model    {answer['model']} {json.dumps(answer['options'])}")
    print(f"queue    {answer['queue']}\nreason   {answer['reason']}")
    print(
        f"counted  {answer['crashes']} crashes of its own, {answer['losses']} leases lost,"
        f" {answer['undelivered']} never started, {answer['failures']} failures"
    )
    for each in answer["history"]:
        started = each["started_at"] or each["leased_at"]
        print(
            f"\nattempt {each['attempt']} on {each['worker']}, {moment(started)}:"
            f" {each['outcome']} after {each['ended_at'] - started:.2f} s"
        )
        error = each["error"] or {}
        for text in (error.get("message"), error.get("traceback")):
            for line in (text or "").rstrip().splitlines():
                print(f"  {line}")


def requeue(
    task: TaskIds = None,
    every: AllOption = False,
    model: ModelOption = None,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Give dead tasks another chance, with fresh counters."""

    def requeue_one(client: "Client", task_id: "TaskId") -> None:
        answer: Any = client.ask("dead_requeue", task_id=task_id)
        print(f"{task_id}: waits in {answer['queue']}")

    with connected(connect, config) as client:
        _with_each(client, _chosen(client, task, model, every=every), requeue_one)


def drop(
    task: TaskIds = None,
    every: AllOption = False,
    model: ModelOption = None,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Forget dead tasks and their inputs for good."""

    def drop_one(client: "Client", task_id: "TaskId") -> None:
        client.ask("dead_drop", task_id=task_id)
        print(f"{task_id}: dropped")

    with connected(connect, config) as client:
        _with_each(client, _chosen(client, task, model, every=every), drop_one)


def _chosen(
    client: "Client", tasks: list[str] | None, model: str | None, *, every: bool
) -> "Iterator[TaskId]":
    """Give the tasks to act upon: those named, or all that are dead now.

    Raises:
        CommandError: neither or both were given, or a name is not a task id.
    """
    if bool(tasks) == every or (model and not every):
        raise CommandError("name the tasks, or say --all, which may be narrowed by --model MODEL")
    if tasks:
        yield from [parse_task_id(each) for each in tasks]
        return
    seen: set[str] = set()
    while True:
        # A listing is limited; what was requeued may also have died again meanwhile.
        answer: Any = client.ask("dead_list", model=model)
        fresh = [each["id"] for each in answer["tasks"] if each["id"] not in seen]
        seen.update(fresh)
        yield from fresh
        if not fresh:
            break
    if not seen:
        note("no dead tasks" if model is None else f"no dead tasks of model {model}")


def _with_each(
    client: "Client",
    tasks: "Iterator[TaskId]",
    act: "Callable[[Client, TaskId], None]",
) -> None:
    """Act on every task; a refusal of one does not stop the others."""
    refused: RejectedError | None = None
    for task_id in tasks:
        try:
            act(client, task_id)
        except RejectedError as error:
            if refused is not None:
                report(refused)
            refused = error
    if refused is not None:
        raise refused
