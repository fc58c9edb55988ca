"""Tables on stdout: as wide as the terminal, and one line per row where a program may read them."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDE = 250
"""Columns to print where there is no terminal that could wrap them."""


def plain_console() -> "Console":
    """Return a console that prints square brackets as they are: ``paintmq[lama]``."""
    from rich.console import Console

    in_terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(markup=False, highlight=False, width=None if in_terminal else _WIDE)


def plain_table(*columns: str, unbroken: int = 1) -> "Table":
    """Return a table without lines; its first ``unbroken`` columns are never wrapped."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, overflow="fold", no_wrap=place < unbroken)
    return table
