"""The history as Parquet: its columns, and the file where pyarrow is there."""

import builtins
from pathlib import Path
from typing import Any

import pytest

from paintmq.cli.failures import CommandError
from paintmq.cli.history_parquet import columns_of, write_parquet

HISTORY: Any = {
    ("total", ""): {"length": 1, "points": [{"at": 1.5, "succeeded": 2}]},
    ("queue", "gpu"): {"length": 1, "points": [{"at": 2.0, "succeeded": 3}]},
}


def test_each_point_is_a_row_of_its_series() -> None:
    assert columns_of(HISTORY) == {
        "kind": ["total", "queue"],
        "name": ["", "gpu"],
        "time": [1500, 2000],
        "at": [1.5, 2.0],
        "succeeded": [2, 3],
    }
    assert columns_of({("total", ""): {"points": []}}) == {"kind": [], "name": [], "time": []}


def test_without_pyarrow_the_remedy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pyarrow":
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CommandError, match=r"pip install 'paintmq\[parquet\]'"):
        write_parquet(tmp_path / "history.parquet", HISTORY)


def test_the_file_is_read_back_by_pyarrow(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    write_parquet(tmp_path / "history.parquet", HISTORY)

    rows = parquet.read_table(tmp_path / "history.parquet").to_pylist()
    assert [(row["kind"], row["succeeded"], row["time"].timestamp()) for row in rows] == [
        ("total", 2, 1.5),
        ("queue", 3, 2.0),
    ]
