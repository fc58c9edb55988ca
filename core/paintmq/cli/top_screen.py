"""What ``paintmq top`` shows, and what its keys do: no terminal, no broker."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import define, field, frozen

from paintmq.cli.node_load import COLUMNS, load_cells
from paintmq.cli.stats_command import sparkline
from paintmq.cli.status_command import duration
from paintmq.cli.tables import plain_table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

SORTS = ("name", "waiting", "throughput")
"""What queues are ordered by, in turn."""
MOST_TASKS = 20
KEPT = 40
"""Looks of which the rate is drawn."""
HELP = "Tab: workers or tasks   ↑ ↓: choose   d: drain worker   c: cancel task   s: sort   q: quit"


@frozen(kw_only=True)
class Figures:
    """What the broker answered at one look."""

    statistics: Any
    workers: Sequence[Any]
    tasks: Sequence[Any]
    """Those that workers hold."""


@frozen
class Order:
    """What a key asked for."""

    what: Literal["quit", "drain", "cancel"]
    name: str = ""
    session: str = ""


@define
class TopScreen:
    """The state of the screen."""

    sort: str = SORTS[0]
    focus: Literal["workers", "tasks"] = "workers"
    place: int = 0
    note: str = ""
    """Said at the bottom until the next key."""
    _figures: Figures | None = field(default=None, init=False)
    _asked: Order | None = field(default=None, init=False)
    """What waits for a ``y``."""
    _rates: list[float] = field(factory=list[float], init=False)
    _before: tuple[float, int] | None = field(default=None, init=False)

    def show(self, figures: Figures) -> None:
        """Take in what the broker answered."""
        self._figures = figures
        done = sum(each["succeeded"] for each in figures.statistics["queues"].values())
        at = figures.statistics.get("updated_at") or figures.statistics["uptime"]
        if self._before is not None and at > self._before[0]:
            rate = max(0, done - self._before[1]) / (at - self._before[0])
            self._rates = [*self._rates, rate][-KEPT:]
        self._before = at, done
        self.place = max(0, min(self.place, len(self._rows()) - 1))

    def press(self, key: str) -> Order | None:
        """Return what is to be done because of a key; most keys only change the screen."""
        self.note = ""
        asked, self._asked = self._asked, None
        match key:
            case "y" if asked is not None:
                return asked
            case "q" | "\x03" | "\x1b":
                return Order("quit")
            case "s":
                self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
            case "\t":
                self.focus, self.place = ("tasks" if self.focus == "workers" else "workers"), 0
            case "up" | "k":
                self.place = max(0, self.place - 1)
            case "down" | "j":
                self.place = max(0, min(self.place + 1, len(self._rows()) - 1))
            case "d":
                self._ask("workers", "drain")
            case "c":
                self._ask("tasks", "cancel")
            case _:
                pass
        return None

    def _ask(self, focus: Literal["workers", "tasks"], what: Literal["drain", "cancel"]) -> None:
        rows = self._rows()
        if self.focus != focus or not rows:
            self.note = f"choose one of the {focus} first (Tab)"
            return
        row = rows[self.place]
        name = row["name"] if focus == "workers" else row["id"]
        self._asked = Order(what, name, row.get("session", "") if focus == "workers" else "")
        self.note = f"{what} {name}? y to do it, any other key to leave it"

    def _rows(self) -> Sequence[Any]:
        if self._figures is None:
            return ()
        return self._figures.workers if self.focus == "workers" else self._figures.tasks

    # ---- drawing -------------------------------------------------------------------------------

    def draw(self, *, interactive: bool = True) -> "Group":
        """Return what is to be seen now."""
        from rich.console import Group
        from rich.text import Text

        figures = self._figures
        assert figures is not None
        parts: list[Any] = [Text(self._heading(figures.statistics), style="bold")]
        if self._rates:
            high = max(self._rates)
            parts.append(Text(f"done a second {sparkline(self._rates)} at most {high:.1f}"))
        parts += [self._queues(figures.statistics), self._nodes(figures)]
        parts += [self._workers(figures, interactive), self._tasks(figures, interactive)]
        parts.append(self._models(figures.statistics))
        if interactive:
            parts.append(Text(f"\n{self.note or HELP}", style="bold" if self.note else "dim"))
        return Group(*parts)

    def _heading(self, statistics: Any) -> str:
        rate = statistics.get("throughput_1m", 0.0)
        return (
            f"paintmq: up {duration(statistics['uptime'])}, {statistics['workers']} workers, "
            f"{statistics['clients']} clients, {statistics['accepted']} accepted, "
            f"{rate:.1f} done a second, {statistics['crashes']} crashes, "
            f"{statistics['leases_lost']} leases lost"
        )

    def _queues(self, statistics: Any) -> "Table":
        table = _table("Queues", "queue", "waiting", "running", "done", "failed", "1/s", "wait p99")
        keys = {
            "name": lambda each: each["name"],
            "waiting": lambda each: -each["waiting"],
            "throughput": lambda each: -each.get("throughput_1m", 0.0),
        }
        for each in sorted(statistics["queues"].values(), key=keys[self.sort]):
            bad = each["failed"] + each["dead"] + each["expired"]
            wait = each.get("wait", {})
            table.add_row(
                each["name"],
                str(each["waiting"]),
                str(each["running"]),
                str(each["succeeded"]),
                str(bad),
                f"{each.get('throughput_1m', 0.0):.1f}",
                duration(wait["p99"]) if wait.get("count") else "-",
            )
        return table

    def _nodes(self, figures: Figures) -> "Table":
        table = _table("Nodes", "node", "workers", "busy", "devices", *COLUMNS)
        nodes: dict[str, list[Any]] = {}
        loads: Mapping[str, Any] = figures.statistics.get("nodes", {})
        for worker in figures.workers:
            nodes.setdefault(worker["node"], []).append(worker)
        for name, its in sorted(nodes.items()):
            devices = sorted({worker["device_name"] or worker["device"] for worker in its})
            busy = sum(bool(worker["running"]) for worker in its)
            load = load_cells(loads.get(name))
            table.add_row(name, str(len(its)), str(busy), ", ".join(devices), *load)
        return table

    def _workers(self, figures: Figures, interactive: bool) -> "Table":
        table = _table("Workers", "worker", "queue", "state", "memory", "resident")
        for place, each in enumerate(figures.workers):
            state = "draining" if each["draining"] else f"runs {len(each['running'])}"
            state = "in trouble" if each.get("trouble") else state
            state = "idle" if state == "runs 0" else state
            memory = each["gpu_memory_mb"] or each["memory_mb"]
            table.add_row(
                each["name"],
                each["queue"],
                state,
                f"{memory / 1024:.0f} GB",
                ", ".join(each["resident"]) or "-",
                style=self._style("workers", place, interactive),
            )
        if not figures.workers:
            table.add_row("none connected")
        return table

    def _tasks(self, figures: Figures, interactive: bool) -> "Table":
        columns = ("task", "model", "queue", "worker", "state", "age", "progress", "left")
        table = _table("Running tasks", *columns)
        models: Mapping[str, Any] = figures.statistics.get("models", {})
        for place, each in enumerate(figures.tasks[:MOST_TASKS]):
            table.add_row(
                each["id"],
                each["model"],
                each["queue"],
                each["worker"],
                each["state"],
                duration(each["age"]),
                progress_of(each),
                time_left(each, models.get(each["model"])),
                style=self._style("tasks", place, interactive),
            )
        if not figures.tasks:
            table.add_row("none")
        return table

    def _models(self, statistics: Any) -> "Table":
        table = _table("Models", "model", "done", "1/s", "run p50", "warm", "loads", "evicted")
        models: Mapping[str, Any] = statistics.get("models", {})
        for name, each in models.items():
            starts = each["warm_starts"] + each["cold_starts"]
            table.add_row(
                name,
                str(each["succeeded"]),
                f"{each['throughput_1m']:.1f}",
                duration(each["run"]["p50"]) if each["run"]["count"] else "-",
                f"{each['warm_starts'] / starts:.0%}" if starts else "-",
                str(each["loads"]),
                str(each["evictions"]),
            )
        return table

    def _style(self, focus: str, place: int, interactive: bool) -> str:
        return "reverse" if interactive and focus == self.focus and place == self.place else ""


def progress_of(task: Any) -> str:
    """Return how far a task says it is; a broker of an earlier version does not tell."""
    step, total = task.get("step"), task.get("total")
    if not total:
        return f"step {step}" if step else "-"
    done = min(1.0, step / total)
    bar = "━" * round(done * 10)
    return f"{bar:<10} {step}/{total}"


def time_left(task: Any, model: Any) -> str:
    """Return how long a run should still take: by its own steps, or by what its model took so far.

    ``model``: its statistics, if there are any. "-" before the run, and where nothing is known.
    """
    ran, step, total = task.get("running_for"), task.get("step"), task.get("total")
    if ran is None:
        return "-"
    if step and total:
        return duration(ran * max(0, total - step) / step)
    usual = model["run"]["p50"] if model and model["run"]["count"] else 0.0
    if not usual:
        return "-"
    return f"~{duration(usual - ran)}" if ran < usual else "any moment"


def _table(title: str, *columns: str) -> "Table":
    table = plain_table(*columns)
    table.title, table.title_justify, table.title_style = f"\n{title}", "left", "bold"
    table.padding = (0, 2, 0, 0)
    return table
