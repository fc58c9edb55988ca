"""Descriptions and traces: what is written is what is simulated."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from paintmq.cli.app import make_app
from paintmq.cli.simulate_command import EXAMPLE
from paintmq.errors import ConfigError
from paintmq.fleet_simulation.comparison import compare
from paintmq.fleet_simulation.description import read_description, read_trace, write_trace


def write(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_example_is_a_description(tmp_path: Path) -> None:
    traffic = read_description(write(tmp_path, EXAMPLE)).traffic

    assert len(traffic.tasks) == 2000
    assert [worker.name for worker in traffic.workers] == ["gpu-0", "gpu-1", "gpu-2"]


def test_a_recorded_day_replays_exactly(tmp_path: Path) -> None:
    path = write(tmp_path, EXAMPLE.replace("2000", "200"))
    described = read_description(path).traffic
    trace = tmp_path / "day.jsonl"
    write_trace(trace, described.tasks)
    recorded = read_description(path, trace).traffic
    assert list(recorded.tasks) == list(described.tasks)

    routers: dict[str, dict[str, object]] = {"model-affinity": {}}
    first = compare(described, routers)  # type: ignore[arg-type]  # no parameters at all
    second = compare(recorded, routers)  # type: ignore[arg-type]
    assert first["model-affinity"] == second["model-affinity"]


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ("[traffic]", "[trafic]", "trafic"),
        ("skew = 1.0", "skw = 1.0", "skw"),
        ("memory_mb = 24576", "memory_mb = 1000", "fits no worker"),
        ("[[models]]", "[[models", "fleet.toml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, before: str, after: str, word: str) -> None:
    path = write(tmp_path, EXAMPLE.replace(before, after))

    with pytest.raises(ConfigError, match=word):
        read_description(path)


def test_a_line_that_is_no_task_is_named(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    path.write_text('{"at": 0, "model": "m", "run": 1}\n{"at": 0}\n', "utf-8")

    with pytest.raises(ConfigError, match="line 2"):
        read_trace(path)


def test_simulate_prints_a_table_and_draws_a_chart(tmp_path: Path) -> None:
    path, chart = write(tmp_path, EXAMPLE.replace("2000", "100")), tmp_path / "waits.png"
    arguments = ["simulate", str(path), "--router", "least-loaded", "--rivals", "--chart"]

    result = CliRunner().invoke(make_app(), [*arguments, str(chart)])

    assert result.exit_code == 0, result.output
    assert "SwarmUI like" in result.output
    assert chart.read_bytes().startswith(b"\x89PNG")
