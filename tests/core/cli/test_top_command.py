"""``paintmq top``: what it shows of a real broker, and what its keys do."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from rich.console import Console
from tests.harness.trial_manager import make_task, wait_for_acceptance

from paintmq import Client, QueueManager
from paintmq.cli.app import run_command_line
from paintmq.cli.top_command import carry_out, look
from paintmq.cli.top_screen import HELP, Figures, Order, TopScreen, progress_of, time_left
from paintmq.plugin.manager import PluginManager
from paintmq.testing.embedded_manager import embedded_manager


@pytest.fixture
def manager(plugins: PluginManager) -> Iterator[QueueManager]:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        yield manager


def worker(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "node": name.partition("/")[0],
        "queue": "cpu-light",
        "device": "cpu",
        "device_name": "",
        "memory_mb": 4096,
        "gpu_memory_mb": 0,
        "resident": ["lama"],
        "running": [],
        "draining": False,
        "trouble": "",
        "session": f"session of {name}",
        **changes,
    }


def task(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "model": "lama",
        "queue": "cpu-light",
        "worker": "one/cpu-0",
        "state": "running",
        "age": 12.0,
    }


GPU = {
    "name": "H200",
    "memory_used_mb": 61_440,
    "memory_total_mb": 143_360,
    "utilisation": 0.45,
    "temperature": 61.0,
    "power": 312.4,
}
LOAD = {
    "cpu": 0.25,
    "load": 1.5,
    "cores": 8,
    "memory_used_mb": 8192,
    "memory_total_mb": 32_768,
    "memory_limit_mb": 16_384,
    "memory_in_group_mb": 0,
    "gpus": [GPU],
}


@pytest.fixture
def screen(manager: QueueManager) -> TopScreen:
    with Client(manager.endpoint) as client:
        statistics: Any = client.ask("statistics")
    statistics["nodes"] = {"one": {"name": "one", "workers": 2, "age": 1.0, "system": LOAD}}
    screen = TopScreen()
    workers = [worker("one/cpu-0", running=["a"]), worker("one/cpu-1"), worker("two/cpu-0")]
    screen.show(Figures(statistics=statistics, workers=workers, tasks=[task("a"), task("b")]))
    return screen


def seen(screen: TopScreen) -> str:
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(screen.draw())
    console.file.close()
    return console.export_text()


def test_it_shows_queues_nodes_workers_and_tasks(screen: TopScreen) -> None:
    text = seen(screen)

    assert re.search(r"cpu-light +0 +0", text)
    assert re.search(
        r"one +2 +1 +cpu +25% of 8 +1.5 +8.0 of 16.0 GB +45%, 60.0 of 140.0 GB, 61 °C, 312 W", text
    )
    assert re.search(r"two +1 +0 +cpu +- +- +- +-", text)
    assert re.search(r"one/cpu-0 +cpu-light +runs 1 +4 GB +lama", text)
    assert re.search(r"a +lama +cpu-light +one/cpu-0 +running +12.0 s", text)
    assert HELP in text


@pytest.mark.parametrize(
    ("known", "progress", "left"),
    [
        ({}, "-", "-"),
        ({"running_for": None, "step": 0, "total": 0}, "-", "-"),
        ({"running_for": 6.0, "step": 3, "total": 10}, "━━━        3/10", "14.0 s"),
        ({"running_for": 6.0, "step": 12, "total": 10}, "━━━━━━━━━━ 12/10", "0.0 s"),
        ({"running_for": 6.0, "step": 3, "total": 0}, "step 3", "~4.0 s"),
        ({"running_for": 16.0, "step": 0, "total": 0}, "-", "any moment"),
    ],
)
def test_a_running_task_is_shown_with_its_progress_and_the_time_left(
    known: dict[str, Any], progress: str, left: str
) -> None:
    usual = {"run": {"count": 3, "p50": 10.0}}

    assert progress_of(known) == progress
    assert time_left(known, usual) == left


def test_without_any_experience_nothing_is_said_of_the_time_left() -> None:
    running = {"running_for": 6.0, "step": 0, "total": 0}

    assert time_left(running, None) == time_left(running, {"run": {"count": 0}}) == "-"


def test_keys_choose_and_a_second_one_confirms(screen: TopScreen) -> None:
    assert screen.press("down") is None
    assert screen.press("d") is None
    question = screen.note
    drained = screen.press("y")
    screen.press("\t")
    screen.press("c")
    left = screen.press("n")
    screen.press("down")
    screen.press("c")
    cancelled = screen.press("y")

    assert question.startswith("drain one/cpu-1?")
    assert drained == Order("drain", "one/cpu-1", "session of one/cpu-1")
    assert left is None
    assert cancelled == Order("cancel", "b")
    assert screen.press("y") is None
    assert screen.press("q") == Order("quit")


def test_a_key_for_the_other_list_says_what_to_do_first(screen: TopScreen) -> None:
    screen.press("c")

    assert "choose one of the tasks first" in screen.note


def test_the_choice_stays_within_a_list_that_shrinks(screen: TopScreen) -> None:
    for _ in range(9):
        screen.press("down")
    assert screen.place == 2
    figures = screen._figures
    assert figures is not None
    screen.show(Figures(statistics=figures.statistics, workers=[], tasks=[]))

    assert screen.place == 0
    screen.press("d")
    assert "choose one" in screen.note
    assert "none connected" in seen(screen)


def test_queues_are_ordered_as_asked(screen: TopScreen) -> None:
    figures = screen._figures
    assert figures is not None
    figures.statistics["queues"]["serverless"]["waiting"] = 9
    by_name = seen(screen)
    screen.press("s")
    by_waiting = seen(screen)

    assert by_name.index("cpu-light") < by_name.index("serverless")
    assert by_waiting.index("serverless") < by_waiting.index("cpu-intensive")


def test_once_prints_and_ends(manager: QueueManager, capsys: pytest.CaptureFixture[str]) -> None:
    wait_for_acceptance(manager.send_task("cpu-light", make_task()))
    assert run_command_line(["top", "--once", "--connect", manager.endpoint]) == 0
    shown = capsys.readouterr().out

    assert re.search(r"cpu-light +1 +0", shown)
    assert HELP not in shown


def test_orders_are_carried_out_or_explained(manager: QueueManager) -> None:
    handle = manager.send_task("cpu-light", make_task())
    wait_for_acceptance(handle)
    with Client(manager.endpoint) as client:
        cancelled = carry_out(client, Order("cancel", handle.id))
        refused = carry_out(client, Order("drain", "no such"))
        assert look(client).workers == []

    assert cancelled == f"{handle.id}: cancelled"
    assert "no such" in refused


def test_in_a_terminal_it_watches_until_q_and_leaves_the_terminal_as_it_was(
    manager: QueueManager,
) -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "paintmq", "top", "--connect", manager.endpoint]
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, env=environment
    )
    os.close(slave)
    try:
        said, ends = b"", time.monotonic() + 60
        while b"Queues" not in said and time.monotonic() < ends:
            if select.select([master], [], [], 0.2)[0]:
                said += os.read(master, 65_536)
        os.write(master, b"q")
        while process.poll() is None and time.monotonic() < ends:
            if select.select([master], [], [], 0.2)[0]:
                with suppress(OSError):  # it has left
                    said += os.read(master, 65_536)
        assert process.wait(10) == 0
        assert b"cpu-light" in said
        assert b"\x1b[?1049h" in said  # a screen of its own
    finally:
        process.kill()
        process.wait()
        os.close(master)
