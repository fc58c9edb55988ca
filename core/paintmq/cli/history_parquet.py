"""Writes the history of a broker as Parquet, for whoever analyses it with data frames."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paintmq.cli.failures import CommandError
from paintmq.cli.stats_command import figures_of


def write_parquet(path: Path, history: Mapping[tuple[str, str], Any]) -> None:
    """Write one row a point: ``kind``, ``name``, ``time`` (UTC), and what the history tells.

    Raises:
        CommandError: pyarrow is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-not-found,unused-ignore]  # only where it is there
        from pyarrow import parquet
    except ImportError as error:
        raise CommandError(
            "--parquet needs pyarrow: install it with pip install 'paintmq[parquet]', or use --csv"
        ) from error
    columns = columns_of(history)
    times = pyarrow.array(columns.pop("time"), pyarrow.timestamp("ms", "UTC"))
    table = pyarrow.table(columns).append_column("time", times)
    parquet.write_table(table, str(path))


def columns_of(history: Mapping[tuple[str, str], Any]) -> dict[str, list[Any]]:
    """Return the points as columns; ``time`` in milliseconds since 1970."""
    rows = [(kind, name, point) for (kind, name), its in history.items() for point in its["points"]]
    columns: dict[str, list[Any]] = {
        "kind": [kind for kind, _, _ in rows],
        "name": [name for _, name, _ in rows],
        "time": [round(point["at"] * 1000) for _, _, point in rows],
    }
    for key in figures_of(history):
        columns[key] = [point.get(key) for _, _, point in rows]
    return columns
