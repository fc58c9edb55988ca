"""Draws the history of a broker: throughput, queues, waits and loads over time."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paintmq.cli.failures import CommandError


def draw(path: Path, history: Mapping[tuple[str, str], Any]) -> None:
    """Write a chart; the ending of the path chooses PNG, SVG or PDF.

    Raises:
        CommandError: matplotlib is not installed, or cannot write such a file.
    """
    titles = (
        "tasks that succeeded, a second",
        "tasks waiting and running, workers",
        "wait and run, seconds (p50 and p99)",
        "models loaded",
    )
    figure, axes = new_chart(titles)
    (first, *_), parts = history, [name for kind, name in history if kind == "queue"]
    whole = history[first]
    points = without_gaps(whole)
    times = [when(point) for point in points]
    for name in parts:
        its = without_gaps(history["queue", name])
        rates = [point["throughput"] for point in its]
        axes[0].plot([when(point) for point in its], rates, label=name, alpha=0.8)
    if len(parts) != 1:
        rates = [point["throughput"] for point in points]
        axes[0].plot(times, rates, "k", lw=1.5, label=first[1] or "all")
    colours = {"waiting": "tab:orange", "running": "tab:blue", "workers": "tab:gray"}
    for key, colour in colours.items():
        values = [point[key] for point in points]
        axes[1].step(times, values, where="post", label=key, color=colour)
    ended = [point for point in whole["points"] if point["succeeded"]]
    for what, colour in (("wait", "tab:orange"), ("run", "tab:blue")):
        for share, style in (("p50", "-"), ("p99", ":")):
            axes[2].plot(
                [when(point) for point in ended],
                [point[f"{what}_{share}"] for point in ended],
                style,
                color=colour,
                label=f"{what} {share}",
            )
    if ended:
        axes[2].set_yscale("log")
    axes[3].bar(
        times,
        [point["loads"] for point in points],
        width=whole["length"] / 86_400,
        align="edge",
        color="tab:green",
    )
    save(figure, path)


def new_chart(titles: Sequence[str]) -> tuple[Any, Any]:
    """Return a figure and its axes over one axis of time, one below the other.

    Raises:
        CommandError: matplotlib is not installed.
    """
    try:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CommandError(
            "--plot needs matplotlib: install it with pip install 'paintmq[plot]'"
        ) from error
    figure = Figure(figsize=(11, 1 + 2 * len(titles)), layout="constrained")
    axes = figure.subplots(len(titles), 1, sharex=True)
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, loc="left", fontsize=10)
        axis.grid(visible=True, alpha=0.3)
    locator = AutoDateLocator()
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Write a chart with its legends.

    Raises:
        CommandError: the path's ending says no kind of picture that there is.
    """
    for axis in figure.axes:
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        axis.set_ylim(bottom=None if axis.get_yscale() == "log" else 0)
    try:
        figure.savefig(path, dpi=120)
    except ValueError as error:  # of an ending that it does not know
        raise CommandError(f"--plot {path}: {error}") from error


def without_gaps(history: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the points, with zeros at the ends of stretches in which nothing happened."""
    length, filled = history["length"], list[Mapping[str, Any]]()
    for point in history["points"]:
        begins = point["at"] - max(length, point.get("seconds", length))
        if filled and begins - filled[-1]["at"] > 0.5 * length:
            nothing = dict.fromkeys(point, 0)
            filled.append({**nothing, "at": filled[-1]["at"] + length})
            filled.append({**nothing, "at": point["at"] - length})
        filled.append(point)
    if filled:
        filled.append({**dict.fromkeys(filled[-1], 0), "at": filled[-1]["at"] + length})
    return filled


def when(point: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(point["at"], UTC).astimezone()
