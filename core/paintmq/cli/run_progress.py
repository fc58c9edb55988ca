"""The progress bar of ``paintmq run``, on stderr and only in a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def progress_bar(
    title: str,
    total: int,
    completed: Callable[[], float],
    stage: Callable[[], str],
    *,
    visible: bool = True,
) -> Iterator[Callable[[], None]]:
    """Give a function that updates the bar."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    counted = MofNCompleteColumn() if total > 1 else TextColumn("{task.percentage:>3.0f}%")
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        counted,
        TimeElapsedColumn(),
        *((TextColumn("[dim]left"), TimeRemainingColumn()) if total > 1 else ()),
        TextColumn("[dim]{task.fields[stage]}"),
    )
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not (visible and console.is_terminal),
        speed_estimate_period=600.0,
    )
    shown = bar.add_task(title, total=total, stage="")

    def update() -> None:
        with suppress(OSError):  # a terminal that was closed
            bar.update(shown, completed=completed(), stage=stage())

    with bar:
        yield update
