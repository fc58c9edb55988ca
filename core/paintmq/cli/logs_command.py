"""``paintmq logs``: what models print and log, on whichever worker."""

import json
from typing import Annotated, Any

import typer

from paintmq.cli.common_options import ConfigOption, ConnectOption, JsonOption, connected
from paintmq.cli.events_command import AfterOption, FollowOption, clock_time, gap_line


def add_to(app: typer.Typer) -> None:
    app.command("logs")(logs)


def logs(
    worker: Annotated[
        str, typer.Argument(metavar="[WORKER]", help="Of this worker; else of all.")
    ] = "",
    connect: ConnectOption = None,
    config: ConfigOption = None,
    task: Annotated[str, typer.Option("--task", metavar="ID", help="Of this task.")] = "",
    after: AfterOption = 0,
    follow: FollowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what models have printed and logged of late."""
    with connected(connect, config) as client:
        for each in client.logs(worker=worker, task=task, after=after, follow=follow):
            print(json.dumps(each) if as_json else line(each), flush=follow)


def line(each: Any) -> str:
    """Return a line as a reader wants it: when, where, of which task, what."""
    if each["kind"] == "broker":
        return gap_line(each, "lines")
    when = clock_time(each["at"])
    if each["kind"] == "dropped":
        return f"{when}  {each['worker']}  -- {each['count']} lines were dropped: too many --"
    tasks = each["tasks"]
    of = "" if not tasks else f"  {tasks[0]}"
    if len(tasks) > 1:
        of += f" and {len(tasks) - 1} more"
    return f"{when}  {each['worker']}{of}  {each['text']}"
