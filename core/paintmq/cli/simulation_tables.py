"""Prints the outcome of a comparison of routers."""

from collections.abc import Mapping, Sequence

from paintmq.cli.tables import plain_console, plain_table
from paintmq.fleet_simulation.summary import Figures, Summary
from paintmq.fleet_simulation.traffic import Traffic


def show(traffic: Traffic, summaries: Sequence[Summary]) -> None:
    """Print one line per router, then waits per model and per priority."""
    console = plain_console()
    console.print(
        f"{traffic.name}: {len(traffic.tasks)} tasks, {len(traffic.models)} models,"
        f" {len(traffic.workers)} workers; waits and latency in seconds\n"
    )
    headings = ("router", "tasks/h", "p50 wait", "p95", "p99", "mean latency", "loads", "loading")
    table = plain_table(*headings)
    for summary in summaries:
        table.add_row(
            summary.policy,
            f"{summary.throughput:.0f}",
            *_waits(summary.all),
            f"{summary.all.mean:.1f}",
            str(summary.loads),
            f"{summary.load_seconds:.0f} s",
        )
    console.print(table)
    _show_groups("model", {summary.policy: summary.by_model for summary in summaries})
    priorities = {
        summary.policy: {str(level): figures for level, figures in summary.by_priority.items()}
        for summary in summaries
    }
    if any(len(levels) > 1 for levels in priorities.values()):
        _show_groups("priority", priorities)


def _show_groups(heading: str, groups: Mapping[str, Mapping[str, Figures]]) -> None:
    console = plain_console()
    table = plain_table(heading, "router", "tasks", "p50 wait", "p95", "p99", unbroken=2)
    for name in next(iter(groups.values()), {}):
        for policy, figures in groups.items():
            table.add_row(name, policy, str(figures[name].tasks), *_waits(figures[name]))
    console.print()
    console.print(table)


def _waits(figures: Figures) -> tuple[str, str, str]:
    return f"{figures.p50:.1f}", f"{figures.p95:.1f}", f"{figures.p99:.1f}"
