"""``paintmq status``: queues and workers of a running broker at one glance."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from paintmq.cli.common_options import ConfigOption, ConnectOption, JsonOption, connected
from paintmq.cli.node_load import COLUMNS, load_cells
from paintmq.cli.tables import plain_console, plain_table

if TYPE_CHECKING:
    from rich.table import Table


_COUNTS = {
    "port": "port",
    "workers": "workers",
    "waiting": "waiting",
    "running": "running",
    "done": "succeeded",
    "failed": "failed",
    "dead": "dead",
    "refused": "rejected",
}
"""Heading and statistic of each column."""


def add_to(app: typer.Typer) -> None:
    app.command("status")(status)


def status(
    connect: ConnectOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show the queues and workers of a running broker."""
    with connected(connect, config) as client:
        statistics: Any = client.ask("statistics")
        workers: Any = client.ask("workers")
        version: Any = client.ask("version")
    router = version.get("router")  # a broker of an earlier version does not tell
    if as_json:
        known = {"router": router, "statistics": statistics, "workers": workers}
        print(json.dumps(known, indent=2))
        return
    console = plain_console()
    console.print(_queue_table(statistics))
    console.print(_worker_table(workers))
    if nodes := statistics.get("nodes"):  # neither without an admin's key, nor of an older broker
        console.print(_node_table(nodes))
    for each in workers:
        if trouble := each.get("trouble"):  # a broker of an earlier version tells of none
            console.print(indented(f"{each['name']} can run nothing now: {trouble}"), markup=False)
        if silent := each.get("silent"):
            console.print(
                f"{each['name']} has been silent for {duration(silent)}: it or its machine is"
                " stopped or overloaded, or the network is cut; if that lasts, others get its tasks"
                " (timers.lease)",
                markup=False,
                soft_wrap=True,
            )
    console.print(
        f"up {duration(statistics['uptime'])}, {statistics['clients']} clients,"
        f" {statistics['accepted']} tasks accepted, {statistics['rejected']} refused,"
        f" {statistics['retries']} retries, {statistics['crashes']} crashes,"
        f" {statistics['leases_lost']} leases lost"
    )
    if incidents := shell_counts(statistics):
        console.print(f"incidents: {incidents}")
    if router:
        console.print(f"router: {_router_in_words(router)}")
    if statistics.get("router_faults"):  # a broker of an earlier version tells of none
        console.print(
            f"router: {statistics['router_faults']} faults, the last: {statistics['router_fault']}"
        )


def shell_counts(statistics: Any) -> str:
    """Return what the broker counted around its machine; empty if nothing happened."""
    counts = statistics.get("shell", {})  # a broker of an earlier version tells of none
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)


def _router_in_words(router: Any) -> str:
    parameters = ", ".join(
        f"{name} = {json.dumps(value)}" for name, value in router["parameters"].items()
    )
    return f"{router['name']} ({parameters})" if parameters else router["name"]


def _queue_table(statistics: Any) -> "Table":
    table = plain_table("queue")
    table.title, table.title_justify = "Queues", "left"
    table.padding = (0, 1, 0, 0)  # so that numbers of five digits fit into 80 characters
    for heading in (*_COUNTS, "oldest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, each in statistics["queues"].items():
        oldest = duration(each["oldest_wait"]) if each["waiting"] else "-"
        table.add_row(name, *(str(each[key]) for key in _COUNTS.values()), oldest)
    return table


def _worker_table(workers: Any) -> "Table":
    table = plain_table("worker", "queue", "device", "resident", "running")
    table.title, table.title_justify = "\nWorkers", "left"
    for each in workers:
        state = "cordoned" if each.get("cordoned") else ""
        state = "draining" if each["draining"] else state or ", ".join(each["running"]) or "idle"
        state = "in trouble" if each.get("trouble") else state
        if silent := each.get("silent"):
            state = f"silent {duration(silent)}"
        table.add_row(
            each["name"],
            each["queue"],
            each["device_name"] or each["device"],
            ", ".join(each["resident"]) or "-",
            state,
        )
    if not workers:
        table.add_row("none connected; start some with `paintmq node` or `paintmq up`")
    return table


def _node_table(nodes: Any) -> "Table":
    table = plain_table("node", "workers", *COLUMNS)
    table.title, table.title_justify = "\nNodes", "left"
    for name, each in nodes.items():
        table.add_row(name, str(each["workers"]), *load_cells(each))
    return table


def indented(text: str) -> str:
    """Return several lines as one paragraph whose first line stands out."""
    return text.replace("\n", "\n    ")


def moment(seconds: float) -> str:
    """Return broker time as the date and time of day where the command runs."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """Return a length of time in the two largest units that say something."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days:.0f} d {hours % 24:.0f} h"
    if hours:
        return f"{hours:.0f} h {minutes % 60:.0f} min"
    return f"{minutes:.0f} min {seconds % 60:.0f} s"
