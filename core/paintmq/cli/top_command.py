"""``paintmq top``: a broker at work, in the terminal, until ``q``."""

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paintmq.cli.common_options import ConfigOption, ConnectOption, connected
from paintmq.cli.tables import plain_console
from paintmq.cli.top_screen import Figures, Order, TopScreen
from paintmq.errors import PaintMQError

if TYPE_CHECKING:
    from paintmq.client import Client

_KEYS = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down"}

OnceOption = Annotated[bool, typer.Option("--once", help="Print it once; so too without terminal.")]
IntervalOption = Annotated[
    float, typer.Option("--interval", metavar="SECONDS", min=0.2, max=60, help="Between two looks.")
]


def add_to(app: typer.Typer) -> None:
    app.command("top")(top)


def top(
    connect: ConnectOption = None,
    config: ConfigOption = None,
    interval: IntervalOption = 1.0,
    once: OnceOption = False,
) -> None:
    """Watch a broker at work: queues, nodes, workers, running tasks, models."""
    screen = TopScreen()
    with connected(connect, config) as client:
        screen.show(look(client))
        if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            plain_console().print(screen.draw(interactive=False))
            return
        _watch(client, screen, interval)


def look(client: "Client") -> Figures:
    """Ask the broker for all that is shown."""
    statistics: Any = client.ask("statistics")
    workers: Any = client.ask("workers")
    tasks: list[Any] = []
    for state in ("running", "loading", "leased"):
        answer: Any = client.ask("tasks", state=state)
        tasks += answer["tasks"]
    workers = sorted(workers, key=lambda worker: str(worker["name"]))
    return Figures(statistics=statistics, workers=workers, tasks=tasks)


def carry_out(client: "Client", order: Order) -> str:
    """Do what was asked for, and return what to say about it."""
    try:
        if order.what == "cancel":
            return f"{order.name}: {client.cancel(order.name)}"
        which: Any = {"session": order.session} if order.session else {}
        client.ask("drain_worker", name=order.name, **which)
    except (PaintMQError, TimeoutError) as error:
        return str(error)
    return f"{order.name}: finishes what it runs, takes nothing more and leaves"


def _watch(client: "Client", screen: TopScreen, interval: float) -> None:
    from rich.live import Live

    with _keys_at_once(), Live(screen.draw(), screen=True, auto_refresh=False) as live:
        due = time.monotonic() + interval
        while True:
            live.update(screen.draw(), refresh=True)
            key = _read_key(max(0.0, due - time.monotonic()))
            if key:
                order = screen.press(key)
                if order is not None and order.what == "quit":
                    return
                if order is not None:
                    screen.note = carry_out(client, order)
                    due = 0.0
            if time.monotonic() >= due:
                screen.show(look(client))
                due = time.monotonic() + interval


@contextmanager
def _keys_at_once() -> Iterator[None]:
    """Read keys as they are pressed, without showing them; as it was, afterwards."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _read_key(seconds: float) -> str:
    """Return the key that is pressed within that time; empty if none is."""
    descriptor = sys.stdin.fileno()
    if not select.select([descriptor], [], [], seconds)[0]:
        return ""
    read = os.read(descriptor, 16).decode(errors="replace")
    if not read:
        return "q"  # the terminal is gone
    return _KEYS.get(read, read[0])
