"""``paintmq stats``: how much a broker did, how fast, and how that went over time."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paintmq.cli.common_options import ConfigOption, ConnectOption, JsonOption, connected
from paintmq.cli.failures import CommandError, note
from paintmq.cli.status_command import duration, moment
from paintmq.cli.tables import plain_console, plain_table

if TYPE_CHECKING:
    from paintmq.client import Client

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 30
"""Columns of a sparkline."""
PATIENCE = 20.0
"""Seconds for the broker to read its history."""
_POLL = 0.05
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}

SinceOption = Annotated[
    str, typer.Option("--since", metavar="TIME", help="How far back: 90s, 30min, 6h, 7d, 4w.")
]
QueueOption = Annotated[str, typer.Option("--queue", metavar="NAME", help="This queue alone.")]
ModelOption = Annotated[str, typer.Option("--model", metavar="NAME", help="This model alone.")]
NodeOption = Annotated[
    str, typer.Option("--node", metavar="NAME", help="This machine's load, and its GPUs'.")
]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Write every point of the history.")
]
ParquetOption = Annotated[
    Path | None, typer.Option("--parquet", metavar="FILE", help="The same; needs pyarrow.")
]
PlotOption = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw it as PNG, SVG or PDF (extra: plot)."),
]


def add_to(app: typer.Typer) -> None:
    app.command("stats")(stats)


def stats(
    connect: ConnectOption = None,
    config: ConfigOption = None,
    queue: QueueOption = "",
    model: ModelOption = "",
    node: NodeOption = "",
    since: SinceOption = "1h",
    plot: PlotOption = None,
    csv_file: CsvOption = None,
    parquet: ParquetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a broker did, how fast, and how that went over time."""
    if sum(map(bool, (queue, model, node))) > 1:
        raise CommandError("--queue, --model, --node: ask for one of them at a time")
    back = seconds_of(since)
    with connected(connect, config) as client:
        statistics: Any = client.ask("statistics")
        if not statistics.get("since"):
            raise CommandError("this broker is of an earlier version and keeps no history")
        names = [("node", node)] if node else _series(statistics, queue, model)
        until = statistics["updated_at"]
        history = {
            series: read_history(client, series, since=until - back, until=until)
            for series in names
        }
    if node and not history["node", node]["points"]:
        known = ", ".join(statistics["nodes"]) or "none connected"
        raise CommandError(
            f"--node {node}: nothing was measured on it over {since}; nodes: {known}. Nodes measure"
            " themselves unless monitoring.collect_system_metrics = false"
        )
    if as_json:
        import json

        print(json.dumps({f"{kind} {name}".strip(): h for (kind, name), h in history.items()}))
    elif node:
        from paintmq.cli.node_history import load_table

        plain_console().print(load_table(node, history["node", node], since))
    else:
        _print_tables(statistics, history, since)
    if csv_file is not None:
        write_csv(csv_file, history)
        note(f"wrote {csv_file}")
    if parquet is not None:
        from paintmq.cli.history_parquet import write_parquet

        write_parquet(parquet, history)
        note(f"wrote {parquet}")
    if plot is not None and node:
        from paintmq.cli.node_history import draw_load

        draw_load(plot, node, history["node", node])
        note(f"drew {plot}")
    elif plot is not None:
        from paintmq.cli.history_plot import draw

        draw(plot, history)
        note(f"drew {plot}")


def seconds_of(text: str) -> float:
    """Return a length of time written as a number and a unit, such as ``6h``, in seconds.

    Raises:
        CommandError: it is not written so.
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz").strip()
    unit = text[len(text.rstrip("abcdefghijklmnopqrstuvwxyz")) :]
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds <= 10 * 366 * 86_400:
        raise CommandError(f"--since {text}: write a number and {', '.join(_UNITS)}, such as 6h")
    return seconds


def _series(statistics: Any, queue: str, model: str) -> list[tuple[str, str]]:
    if queue:
        if queue not in statistics["queues"]:
            known = ", ".join(statistics["queues"])
            raise CommandError(f"--queue {queue}: no such queue; there are {known}")
        return [("queue", queue)]
    if model:
        if model not in statistics["models"]:
            known = ", ".join(statistics["models"]) or "none yet"
            raise CommandError(f"--model {model}: had no task so far; models that had: {known}")
        return [("model", model)]
    used = [name for name, each in statistics["queues"].items() if each["accepted"]]
    return [
        ("total", ""),
        *(("queue", name) for name in used),
        *(("model", name) for name, each in statistics["models"].items() if each["accepted"]),
    ]


def read_history(
    client: "Client", series: tuple[str, str], *, since: float, until: float
) -> dict[str, Any]:
    """Return the history of a series: ``length`` of its points in seconds, and ``points``."""
    kind, name = series
    ends = time.monotonic() + PATIENCE
    while True:
        answer: Any = client.ask("history", kind=kind, name=name, since=since, until=until)
        if answer["state"] == "done":
            history: dict[str, Any] = answer["history"]
            return history
        if time.monotonic() > ends:
            raise TimeoutError(f"the broker did not read its history within {PATIENCE:g} s")
        time.sleep(_POLL)


def _print_tables(statistics: Any, history: Mapping[tuple[str, str], Any], since: str) -> None:
    console = plain_console()
    for kind, title in (("queue", "Queues"), ("model", "\nModels")):
        rows = {name: h for (of, name), h in history.items() if of == kind}
        if not rows:
            continue
        table = plain_table(kind)
        table.title, table.title_justify = title, "left"
        table.padding = (0, 1, 0, 0)
        for heading in ("waiting", "running", "done", "failed", "1/s"):
            table.add_column(heading, justify="right", no_wrap=True)
        for heading in ("wait p50", "p99", "run p50", "p99"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column(f"done over {since}", no_wrap=True)
        for name, its in rows.items():
            each = statistics[f"{kind}s"][name]
            bad = each["failed"] + each["cancelled"] + each["expired"] + each["dead"]
            table.add_row(
                name,
                *(str(each[key]) for key in ("waiting", "running", "succeeded")),
                str(bad),
                f"{each['throughput_1m']:.1f}",
                *(
                    _brief(each[what][share]) if each[what]["count"] else "-"
                    for what in ("wait", "run")
                    for share in ("p50", "p99")
                ),
                sparkline([point["throughput"] for point in evenly(its)]),
            )
        console.print(table)
    total = history.get(("total", ""))
    if total is not None:
        for title, key in (("done a second", "throughput"), ("waiting", "waiting")):
            values = [point[key] for point in evenly(total)]
            highest = max((point[key] for point in total["points"]), default=0.0)
            console.print(f"{title:<14} {sparkline(values)}  at most {highest:.1f}")
    console.print(
        f"counted since {moment(statistics['since'])}: {statistics['accepted']} accepted,"
        f" {statistics['rejected']} refused, {statistics['retries']} retries,"
        f" {statistics['crashes']} crashes, {statistics['leases_lost']} leases lost"
    )
    if reasons := statistics["rejected_by"]:
        console.print("refused: " + ", ".join(f"{count} {code}" for code, count in reasons.items()))


def _brief(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 0.1 else duration(seconds)


def evenly(history: Mapping[str, Any], columns: int = WIDTH) -> list[dict[str, float]]:
    """Return at most that many stretches of equal length, the means of their points.

    Seconds in which no broker ran, or nothing happened, count as zero.
    """
    points: Sequence[Any] = history["points"]
    if not points:
        return []
    first, last = points[0]["at"], points[-1]["at"] + history["length"]
    width = max(history["length"], (last - first) / columns)
    count = max(1, round((last - first) / width))
    sums = [{"throughput": 0.0, "waiting": 0.0} for _ in range(count)]
    for point in points:
        place = min(count - 1, int((point["at"] - first) / width))
        for key in sums[place]:
            sums[place][key] += point[key] * point.get("seconds", history["length"]) / width
    return sums


def sparkline(values: Sequence[float]) -> str:
    """Return one bar a value, as high as its share of the highest; empty without values."""
    highest = max(values, default=0.0)
    if highest <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[min(7, int(value / highest * 8))] for value in values)


def write_csv(path: Path, history: Mapping[tuple[str, str], Any]) -> None:
    """Write one line a point: of what, and when, in local time with its offset."""
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        heading = figures_of(history)
        writer.writerow(["kind", "name", "time", *heading])
        for (kind, name), its in history.items():
            for point in its["points"]:
                when = datetime.fromtimestamp(point["at"]).astimezone().isoformat()
                writer.writerow([kind, name, when, *(point.get(key) for key in heading)])


def figures_of(history: Mapping[tuple[str, str], Any]) -> list[str]:
    """Return the names of all figures that points have: not every point need have each."""
    points = (point for its in history.values() for point in its["points"])
    return list(dict.fromkeys(key for point in points for key in point))
