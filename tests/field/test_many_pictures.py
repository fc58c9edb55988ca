"""Twenty thousand pictures begin at once and fill no memory."""

import gc
import os
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from tests.harness.instant_session import CommandLine, pixels_of
from tests.harness.sample_pictures import mask, names_in, picture

from paintmq.cli.image_jobs import GivenInput, Plan, plan_jobs
from paintmq.cli.result_places import Wishes
from paintmq.client.result import Result
from paintmq.client.task import Task

MANY = 20_000
BUDGET = 3.0
"""Seconds of processor time to plan them: several times what was measured."""
ATTEMPTS = 8


def plan(folder: Path) -> Plan:
    return plan_jobs(
        [folder / "in"],
        others=[GivenInput(name="mask", place=folder / "ms")],
        wishes=Wishes(output=folder / "out", model="opencv"),
        models=["opencv", "lama"],
    )


def test_no_picture_is_opened_to_plan_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        picture(tmp_path / "in" / f"{number}.png").chmod(0o600)
        mask(tmp_path / "ms" / f"{number}.png")
    opened: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith((".png", ".jpg")):
            opened.append(str(arguments[0]))

    with audited(watch):
        assert len(plan(tmp_path).jobs) == 10

    assert opened == []


class audited:  # noqa: N801 -- reads as a phrase
    """Calls a function at every audit event; hooks cannot be removed, so it is switched off."""

    def __init__(self, watch: Any) -> None:
        self._watch = watch
        self._is_on = False

    def __enter__(self) -> None:
        import sys

        self._is_on = True
        sys.addaudithook(lambda event, arguments: self._pass_on(event, arguments))

    def __exit__(self, *_: object) -> None:
        self._is_on = False

    def _pass_on(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._is_on:
            self._watch(event, arguments)


def test_each_file_is_read_once(command: CommandLine) -> None:
    for number in range(5):
        picture(command.folder / "in" / f"{number}.png")
    m = mask(command.folder / "m.png")
    opened: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(".png") and arguments[1] in ("r", "rb"):
            opened.append(Path(str(arguments[0])).name)

    with audited(watch):
        assert command.paint("in", "-m", m, "-o", "out").status == 0

    assert sorted(opened) == ["0.png", "1.png", "2.png", "3.png", "4.png", "m.png"]


def test_the_pixels_of_results_are_not_kept(command: CommandLine) -> None:
    results: list[weakref.ref[Result]] = []
    alive: list[int] = []

    def act(task: Task) -> dict[str, Any]:
        gc.collect()
        alive.append(sum(each() is not None for each in results))
        pixels = pixels_of(task)
        results.append(weakref.ref(pixels))
        return {"image": pixels}

    command.session.act = act
    command.session.keep_tasks = False
    for number in range(60):
        picture(command.folder / "in" / f"{number:02}.png")

    command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

    assert len(names_in(command.folder / "out")) == 60
    assert max(alive) <= 17


@pytest.mark.slow
def test_twenty_thousand_pictures_are_planned_at_once(tmp_path: Path) -> None:
    source, filled = picture(tmp_path / "p.jpg"), mask(tmp_path / "m.png")
    for name in ("in", "ms"):
        (tmp_path / name).mkdir()
    for number in range(MANY):
        os.link(source, tmp_path / "in" / f"{number}.jpg")
        os.link(filled, tmp_path / "ms" / f"{number}_mask.png")
    spent: list[float] = []
    while len(spent) < ATTEMPTS and min(spent, default=BUDGET + 1) > BUDGET:
        before = time.process_time()
        planned = plan(tmp_path)
        spent.append(time.process_time() - before)
        assert (len(planned.jobs), planned.faults) == (MANY, [])

    assert min(spent) <= BUDGET
