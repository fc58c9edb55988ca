"""``paintmq stats --node``: how busy a machine was over time, and its GPUs."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from paintmq.cli.stats_command import WIDTH, sparkline
from paintmq.cli.tables import plain_table

_GPU = re.compile(r"gpu(\d+)_utilisation")


def load_table(name: str, history: Mapping[str, Any], since: str) -> Table:
    """Return a table of what the node and its GPUs were at: mean, highest, and over time."""
    table = plain_table("node " + name)
    table.padding = (0, 1, 0, 0)
    for heading in ("mean", "most", "at last"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(f"over {since}", no_wrap=True)
    points: Sequence[Any] = history["points"]
    _row(table, points, "processor", "cpu", _percent)
    _row(table, points, "load average", "load", lambda value: f"{value:.1f}")
    _row(table, points, f"memory of {_limit(points, 'memory_limit_mb')}", "memory_used_mb", _gb)
    for gpu in gpus_in(points):
        _row(table, points, f"GPU {gpu}", f"gpu{gpu}_utilisation", _percent)
        memory = f"  memory of {_limit(points, f'gpu{gpu}_memory_total_mb')}"
        _row(table, points, memory, f"gpu{gpu}_memory_used_mb", _gb)
        for what, key, unit in (("temperature", "temperature", "°C"), ("power", "power", "W")):
            _row(table, points, f"  {what}", f"gpu{gpu}_{key}", f"{{:.0f}} {unit}".format)
    return table


def gpus_in(points: Sequence[Any]) -> list[int]:
    """Return the places of the GPUs that points tell of."""
    keys = {key for point in points for key in point}
    return sorted(int(found[1]) for key in keys if (found := _GPU.fullmatch(key)) is not None)


def spread(points: Sequence[Any], key: str, length: float, columns: int = WIDTH) -> list[float]:
    """Return the means of a figure in stretches of equal length, at most that many.

    Stretches without a measurement count as zero: no broker ran, or the node was away.
    """
    first, last = points[0]["at"], points[-1]["at"]
    # Nodes measure themselves every five seconds, whatever lies between two points.
    columns = max(1, min(columns, int((last - first) / max(length, 10.0))))
    stretches: list[list[float]] = [[] for _ in range(columns)]
    for point in points:
        place = int((point["at"] - first) / ((last - first) or 1.0) * columns)
        stretches[min(columns - 1, place)].append(point.get(key, 0.0))
    return [sum(values) / len(values) if values else 0.0 for values in stretches]


def _row(table: Table, points: Sequence[Any], title: str, key: str, text: Any) -> None:
    values = [point[key] for point in points if key in point]
    if not any(values) and key.startswith("gpu") and "utilisation" not in key:
        return  # its driver does not tell
    table.add_row(
        title,
        text(sum(values) / len(values)),
        text(max(point[f"{key}_most"] for point in points if key in point)),
        text(values[-1]),
        sparkline(spread(points, key, 1.0)),
    )


def _limit(points: Sequence[Any], key: str) -> str:
    return _gb(max(point.get(key, 0.0) for point in points))


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _gb(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f} GB"


def draw_load(path: Path, name: str, history: Mapping[str, Any]) -> None:
    """Draw processor, memory and GPUs over time; the ending of the path chooses PNG, SVG or PDF.

    Raises:
        CommandError: matplotlib is not installed, or cannot write such a file.
    """
    from paintmq.cli.history_plot import new_chart, save, when

    points, gpus = history["points"], gpus_in(history["points"])
    titles = [f"processor of {name}, share of all cores", "memory, GB"]
    titles += ["GPUs, share of the time", "memory of GPUs, GB"] if gpus else []
    figure, axes = new_chart(titles)
    times = [when(point) for point in points]

    def line(place: int, key: str, label: str, scale: float = 1.0, style: str = "-") -> None:
        values = [point.get(key, 0.0) / scale for point in points]
        axes[place].plot(times, values, style, label=label)

    line(0, "cpu", "mean")
    line(0, "cpu_most", "most", style=":")
    line(1, "memory_used_mb", "used", 1024)
    line(1, "memory_limit_mb", "may be filled", 1024, "--")
    for gpu in gpus:
        line(2, f"gpu{gpu}_utilisation", f"GPU {gpu}")
        line(3, f"gpu{gpu}_memory_used_mb", f"GPU {gpu}", 1024)
    save(figure, path)
