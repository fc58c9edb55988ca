"""``paintmq stats --node``: tables and charts of a machine's load."""

from pathlib import Path
from typing import Any

import pytest

from paintmq.cli.node_history import draw_load, load_table, spread
from paintmq.cli.stats_command import write_csv
from paintmq.cli.tables import plain_console


def point(at: float, cpu: float, **more: float) -> dict[str, Any]:
    figures = {"cpu": cpu, "load": 2.0, "memory_used_mb": 1024.0, "memory_limit_mb": 4096.0, **more}
    return {"at": at, **figures, **{f"{name}_most": value for name, value in figures.items()}}


GPU = {
    "gpu0_utilisation": 0.8,
    "gpu0_memory_used_mb": 2048.0,
    "gpu0_memory_total_mb": 8192.0,
    "gpu0_temperature": 61.0,
    "gpu0_power": 0.0,
}
HISTORY = {"length": 1, "points": [point(100.0, 0.2, **GPU), point(130.0, 0.6, **GPU)]}


def shown(history: Any) -> str:
    console = plain_console()
    with console.capture() as captured:
        console.print(load_table("one", history, "1h"))
    return captured.get()


def test_a_node_and_its_gpus_are_rows() -> None:
    text = shown(HISTORY)
    rows = {row[:20].split("  ")[0]: row.split() for row in text.splitlines()}

    assert rows["processor"][1:4] == ["40%", "60%", "60%"]
    assert "memory of 4.0 GB" in text
    assert "80%" in rows["GPU 0"]
    assert "61 °C" in text
    assert " W" not in text, "its driver tells no power"


def test_a_gpu_that_came_later_is_shown_all_the_same(tmp_path: Path) -> None:
    history = {"length": 1, "points": [point(100.0, 0.2), HISTORY["points"][1]]}  # type: ignore[index]  # a list
    file = tmp_path / "load.csv"
    write_csv(file, {("node", "one"): history})

    assert "GPU 0" in shown(history)
    heading, first, second = file.read_text(encoding="utf-8").splitlines()
    assert "gpu0_power" in heading
    assert len(heading.split(",")) == len(first.split(",")) == len(second.split(","))


def test_a_load_is_spread_evenly_and_what_lacks_is_nothing() -> None:
    points = [point(100.0, 0.2), point(105.0, 0.4), point(160.0, 1.0)]

    assert spread(points, "cpu", 1.0, columns=3) == [pytest.approx(0.3), 0.0, 1.0]
    assert spread(points[:1], "cpu", 1.0) == [0.2]


def test_a_load_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    draw_load(tmp_path / "load.png", "one", HISTORY)

    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")
