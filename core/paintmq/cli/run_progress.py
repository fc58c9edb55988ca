"""The progress bar of ``paintmq run``, on stderr and only in a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%") if total == 1 else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[stage]}"),
    )
    bar = Progress(
        *columns, console=console, transient=True, disable=not (visible and console.is_terminal)
    )
    with bar:
        shown = bar.add_task(title, total=total, stage="")
        yield lambda: bar.update(shown, completed=completed(), stage=stage())
