"""Tables on stdout: as wide as the terminal, and one line per row where a program may read them."""

import os
import sys
from typing import TYPE_CHECKING

from paintmq.cli.standard_streams import READER_GONE, discard_output

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDE = 250
"""Columns to print where there is no terminal that could wrap them."""


def plain_console() -> "Console":
    """Return a console that prints square brackets as they are: ``paintmq[lama]``."""
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            discard_output()
            raise SystemExit(READER_GONE)

    in_terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    return PlainConsole(markup=False, highlight=False, width=None if in_terminal else _WIDE)


def plain_table(*columns: str, unbroken: int = 1) -> "Table":
    """Return a table without lines; its first ``unbroken`` columns are never wrapped."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, overflow="fold", no_wrap=place < unbroken)
    return table
