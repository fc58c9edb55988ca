"""``paintmq events``: what happens in a broker, as it happens."""

import json
from datetime import datetime
from typing import Annotated, Any

import typer

from paintmq.cli.common_options import ConfigOption, ConnectOption, JsonOption, connected

FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
]

AfterOption = Annotated[
    int, typer.Option("--after", metavar="NUMBER", min=0, help="Those after this one.")
]


def add_to(app: typer.Typer) -> None:
    app.command("events")(events)


def events(
    connect: ConnectOption = None,
    config: ConfigOption = None,
    queue: Annotated[str, typer.Option("--queue", metavar="NAME", help="Of this queue.")] = "",
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Of this model.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", metavar="NAME", help="Of this tenant.")] = "",
    task: Annotated[str, typer.Option("--task", metavar="ID", help="Of this task.")] = "",
    after: AfterOption = 0,
    follow: FollowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what happened of late to tasks, workers and queues."""
    with connected(connect, config) as client:
        for event in client.events(
            queue=queue, model=model, tenant=tenant, task=task, after=after, follow=follow
        ):
            print(json.dumps(event) if as_json else line(event), flush=follow)


def line(event: Any) -> str:
    """Return an event as a line for a reader."""
    if event["kind"] == "broker":
        return gap_line(event, "events")
    when = clock_time(event["at"])
    subject = event["task_id"] if event["kind"] == "task" else event["worker"] or event["queue"]
    words = [f"{event['number']:>7}", when, f"{event['event']:<13}", subject]
    if event["kind"] == "task":
        words += [event["model"], event["queue"]]
        if event["tenant"]:
            words.append(f"tenant {event['tenant']}")
        if event["worker"]:
            words.append(f"on {event['worker']}, attempt {event['attempt']}")
    elif event["model"]:
        words.append(event["model"])
    if "seconds" in event:
        words.append(f"{event['seconds']:.1f} s")
    if detail := event.get("detail"):
        words.append(f"({detail})")
    return "  ".join(words)


def clock_time(at: float) -> str:
    """Return the time of day here, to the millisecond; ``at``: Unix seconds."""
    return f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S.%f}"[:-3]


def gap_line(note: Any, what: str) -> str:
    """Return what is lacking, as a line; ``what``: events, or lines of a log."""
    if note["event"] == "restarted":
        return f"-- the broker was started anew: {what} before that are gone --"
    return f"-- {note['count']} {what} are gone, maybe some of these --"
