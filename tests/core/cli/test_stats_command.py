"""``paintmq stats`` and ``paintmq events`` against a real broker, and what they make of figures."""

import asyncio
import csv
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.harness.trial_manager import make_task, wait_for_acceptance

from paintmq import AsyncClient, Client, QueueManager
from paintmq.cli.app import run_command_line
from paintmq.cli.events_command import line
from paintmq.cli.failures import CommandError
from paintmq.cli.history_plot import draw, without_gaps
from paintmq.cli.stats_command import evenly, read_history, seconds_of, sparkline
from paintmq.errors import RejectedError
from paintmq.plugin.manager import PluginManager
from paintmq.testing.embedded_manager import embedded_manager


@pytest.fixture
def manager(plugins: PluginManager) -> Iterator[QueueManager]:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        yield manager


def do_something(manager: QueueManager) -> str:
    """Have one task wait and one be cancelled; return the id of that one."""
    wait_for_acceptance(manager.send_task("cpu-light", make_task()))
    handle = manager.send_task("cpu-light", make_task())
    assert handle.cancel(30) == "cancelled"
    return handle.id


def wait_for_history(manager: QueueManager) -> None:
    with Client(manager.endpoint) as client:
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            until = client.statistics().updated_at
            past = read_history(client, ("queue", "cpu-light"), since=until - 60, until=until)
            if any(point["failed"] for point in past["points"]):
                return
    raise AssertionError("no history came")


def test_figures_history_and_files_of_them(
    manager: QueueManager, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    do_something(manager)
    wait_for_history(manager)
    file = tmp_path / "out.csv"
    asked = ["stats", "--connect", manager.endpoint, "--since", "5min"]
    assert run_command_line([*asked, "--csv", str(file)]) == 0
    shown = capsys.readouterr().out
    assert run_command_line([*asked, "--queue", "cpu-light", "--json"]) == 0
    history = json.loads(capsys.readouterr().out)["queue cpu-light"]

    assert "cpu-light" in shown
    assert "2 accepted" in shown
    assert sum(point["accepted"] for point in history["points"]) == 2
    with file.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    of_queue = [row for row in rows if row["kind"] == "queue"]
    assert sum(int(row["accepted"]) for row in of_queue) == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--queue", "no-such"], "there are"),
        (["--model", "no-such"], "models that had"),
        (["--since", "yesterday"], "such as 6h"),
        (["--queue", "a", "--model", "b"], "one of them"),
        (["--node", "a", "--model", "b"], "one of them"),
        (["--node", "no-such"], "nothing was measured on it over 1h; nodes: none connected"),
    ],
)
def test_what_makes_no_sense_is_refused(
    manager: QueueManager, capsys: pytest.CaptureFixture[str], wrong: list[str], told: str
) -> None:
    assert run_command_line(["stats", "--connect", manager.endpoint, *wrong]) != 0
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30min", 1800), ("6h", 21_600), ("1.5d", 129_600)]
)
def test_lengths_of_time_have_units(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("odd", ["", "h", "-1h", "0s", "5 parsecs", "1e9w"])
def test_other_lengths_are_refused(odd: str) -> None:
    with pytest.raises(CommandError, match="such as 6h"):
        seconds_of(odd)


def test_a_sparkline_is_as_high_as_the_highest() -> None:
    assert sparkline([0, 1, 2, 4]) == "▁▃▅█"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""


def points(*at: int, length: int = 1) -> dict[str, Any]:
    made = [{"at": each, "throughput": 2.0, "waiting": 4.0} for each in at]
    return {"length": length, "points": made}


def test_a_history_is_spread_evenly_and_what_lacks_is_nothing() -> None:
    spread = evenly(points(100, 101, 102, 103, 108, 109), columns=5)

    assert [each["throughput"] for each in spread] == [2.0, 2.0, 0.0, 0.0, 2.0]
    assert evenly(points()) == []


def test_a_chart_falls_to_nothing_where_nothing_happened() -> None:
    filled = [(p["at"], p["waiting"]) for p in without_gaps(points(100, 101, 110))]

    assert filled == [(100, 4.0), (101, 4.0), (102, 0), (109, 0), (110, 4.0), (111, 0)]


def test_a_point_of_a_slow_broker_is_no_gap() -> None:
    past = points(100, 102)
    past["points"][1]["seconds"] = 2.1

    assert [p["waiting"] for p in without_gaps(past)] == [4.0, 4.0, 0]


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    point = dict.fromkeys(
        ("running", "workers", "loads", "wait_p50", "wait_p99", "run_p50", "run_p99"), 1.0
    )
    history = points(100, 101)
    history["points"] = [{**each, **point, "succeeded": 1} for each in history["points"]]
    draw(tmp_path / "chart.png", {("total", ""): history, ("queue", "q"): history})

    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(CommandError, match="--plot"):
        draw(tmp_path / "chart.nonsense", {("total", ""): history})


def test_a_chart_without_its_library_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.dates", None)
    with pytest.raises(CommandError, match=r"paintmq\[plot\]"):
        draw(tmp_path / "chart.png", {})


# ---- events --------------------------------------------------------------------------------------


def test_events_of_one_task(manager: QueueManager, capsys: pytest.CaptureFixture[str]) -> None:
    task = do_something(manager)
    asked = ["events", "--connect", manager.endpoint, "--task", task]
    assert run_command_line([*asked, "--json"]) == 0
    told = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert run_command_line(asked) == 0
    lines = capsys.readouterr().out.splitlines()

    assert [event["event"] for event in told][:2] == ["accepted", "cancelled"]
    assert all(task in each for each in lines)


def test_events_are_followed_as_they_come(manager: QueueManager) -> None:
    with Client(manager.endpoint) as client:
        events = client.events(after=0)
        task = do_something(manager)
        for event in events:
            if event.get("task_id") == task and event["event"] == "cancelled":
                break
        seen = event["number"]
        do_something(manager)
        later = [each["number"] for each in client.events(after=seen, follow=False)]

    assert later == sorted(later)
    assert min(later) > seen


def test_events_for_asyncio(manager: QueueManager) -> None:
    task = do_something(manager)

    async def follow() -> list[str]:
        async with AsyncClient(manager.endpoint) as client:
            ended = [each["event"] async for each in client.events(task=task, follow=False)]
            async for event in client.events(after=0, task=task):
                assert event["event"] == "accepted"
                break
            return ended

    assert asyncio.run(follow())[:2] == ["accepted", "cancelled"]


@pytest.mark.parametrize("odd", [{"after": "x"}, {"after": 0, "queue": 7}])
def test_questions_for_events_that_make_no_sense_are_refused(
    manager: QueueManager, odd: dict[str, Any]
) -> None:
    with pytest.raises(RejectedError):
        manager.ask("events", **odd)


def test_questions_for_history_that_make_no_sense_are_refused(manager: QueueManager) -> None:
    with pytest.raises(RejectedError, match="history wants"):
        manager.ask("history", kind="total", name="", since=5, until=1)


def test_gaps_are_said_in_words() -> None:
    gap = {"kind": "broker", "event": "missed", "count": 5, "number": 0}

    assert "5 events are gone" in line(gap)
    assert "started anew" in line({"kind": "broker", "event": "restarted", "number": 0})


def test_a_workers_event_is_a_line() -> None:
    loaded = {
        "number": 7,
        "at": 0.0,
        "kind": "worker",
        "event": "loaded",
        "queue": "cpu-light",
        "worker": "node/cpu-0",
        "model": "lama",
        "detail": "",
        "seconds": 2.0,
    }
    assert "loaded         node/cpu-0  lama  2.0 s" in line(loaded)
