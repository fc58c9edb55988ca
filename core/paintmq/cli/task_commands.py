"""``paintmq tasks``, ``why`` and ``cancel``: the tasks of a running broker, and one of them."""

import json
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paintmq.cli.common_options import (
    ConfigOption,
    ConnectOption,
    JsonOption,
    connected,
    parse_task_id,
)
from paintmq.cli.failures import FAILED, CommandError, note
from paintmq.cli.status_command import duration, indented
from paintmq.cli.tables import plain_console, plain_table
from paintmq.task import TaskId

if TYPE_CHECKING:
    from paintmq.broker.stores.story import StoryLine

_LOOK_AGAIN = 0.05
"""Seconds between two questions for a story that is being read."""

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="Task id.")]


def add_to(app: typer.Typer) -> None:
    app.command("tasks")(tasks)
    app.command("why")(why)
    app.command("cancel")(cancel)


def tasks(
    state: Annotated[
        str | None, typer.Option(help="Only tasks in it, such as queued, running or failed.")
    ] = None,
    queue: Annotated[str | None, typer.Option(help="Only tasks of this queue.")] = None,
    model: Annotated[str | None, typer.Option(help="Only tasks of this model.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only tasks of this tenant.")] = None,
    connect: ConnectOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the tasks the broker knows, also those that have ended and are still kept."""
    with connected(connect, config) as client:
        answer: Any = client.ask("tasks", state=state, queue=queue, model=model, tenant=tenant)
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    if not answer["tasks"]:
        note("no such tasks")
        return
    table = plain_table("task", "state", "model", "queue", "priority", "age", "worker", unbroken=2)
    for each in answer["tasks"]:
        table.add_row(
            each["id"],
            each["state"],
            each["model"],
            each["queue"],
            str(each["priority"]),
            duration(each["age"]),
            each["worker"] or "-",
        )
    plain_console().print(table)
    if answer["more"]:
        note(f"and {answer['more']} more")


def why(
    task: TaskArgument,
    story: Annotated[
        bool, typer.Option("--story", help="Print every transition of the task, in order.")
    ] = False,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With --story: read this journal instead of asking a broker.",
        ),
    ] = None,
    connect: ConnectOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say where a task stands, and what it waits for if it waits."""
    task_id = parse_task_id(task)
    if story:
        _print_story(task_id, _story(task_id, journal, connect, config), as_json=as_json)
        return
    if journal is not None:
        raise CommandError("--journal is read for a story: add --story")
    with connected(connect, config) as client:
        answer: Any = client.ask("why", task_id=task_id)
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    known = answer["task"]
    tenant = f", tenant {known['tenant']}" if known["tenant"] else ""
    owner = f", owner {known['owner']}" if known.get("owner") else ""  # an older broker has none
    print(
        f"task {known['id']}: {known['state']}, model {known['model']}, queue {known['queue']},"
        f" priority {known['priority']}{tenant}{owner}, accepted {duration(known['age'])} ago"
    )
    if known["worker"]:
        print(f"worker {known['worker']}, attempt {known['attempts']}")
    waits = "explanation" in answer
    if known["reason"]:
        print(
            f"{'last attempt' if known['ended'] is None else 'reason'}: {indented(known['reason'])}"
        )
    if "lease" in answer:
        left = duration(answer["lease"])
        silent = answer.get("silent")  # a broker of an earlier version does not tell
        how = f"has been silent for {duration(silent)}" if silent else "is not connected"
        print(f"its worker {how}; if it does not come back within {left}, another may try")
    if waits:
        _print_explanation(answer["explanation"])


def _story(
    task_id: TaskId, journal: Path | None, connect: str | None, config: Path | None
) -> "list[StoryLine]":
    from paintmq.broker.stores.log_reader import read_story
    from paintmq.broker.stores.story import StoryLine

    if journal is not None:
        return read_story(journal, task_id)
    with connected(connect, config) as client:
        answer: Any = client.ask("story", task_id=task_id)
        while answer["state"] == "reading":
            sleep(_LOOK_AGAIN)
            answer = client.ask("story", task_id=task_id)
    return [StoryLine(**line) for line in answer["story"]]


def _print_story(task_id: TaskId, lines: "list[StoryLine]", *, as_json: bool) -> None:
    if not lines:
        raise CommandError(f"the log holds nothing of task {task_id}")
    if as_json:
        print(json.dumps([line.to_json() for line in lines], indent=2))
        return
    for line in lines:
        print(indented(str(line)))


def _print_explanation(explanation: dict[str, Any]) -> None:
    print(f"waiting for: {explanation['waiting_for'] or 'nothing: it is about to start'}")
    print(f"unblocked by: {explanation['unblocked_by']}")
    print(
        f"position: {explanation['position']} of {explanation['backlog']} tasks of its model that"
        f" the same workers can run"
    )
    print(f"router: {explanation['router']}")
    for verdict in explanation["workers"]:
        reason = f": {indented(verdict['reason'])}" if verdict["reason"] else ""
        free_in = f", free in {verdict['free_in']:.1f} s" if verdict["free_in"] else ""
        print(f"  {verdict['worker']} {verdict['verdict']}{reason}{free_in}")
        for term, value in verdict["terms"].items():
            print(f"    {term.replace('_', ' ')} {_shown(value)}")


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def cancel(
    task: Annotated[list[str], typer.Argument(metavar="TASK...", help="Task ids.")],
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Cancel tasks, waiting or running; what else their workers do is not touched."""
    task_ids = [parse_task_id(each) for each in task]
    with connected(connect, config) as client:
        answers = {task_id: client.cancel(task_id) for task_id in task_ids}
    for task_id, answer in answers.items():
        if answer != "unknown":
            print(f"{task_id}: {'cancelled' if answer == 'cancelled' else 'had already ended'}")
    if unknown := [task_id for task_id, answer in answers.items() if answer == "unknown"]:
        raise CommandError("\n".join(f"{each}: the broker knows no such task" for each in unknown))
    if "too_late" in answers.values():
        raise typer.Exit(FAILED)
