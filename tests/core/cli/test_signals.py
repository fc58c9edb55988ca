"""Signals stop a command whenever they come, and a second one does not wait."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.harness.sample_pictures import picture

from paintmq.cli.image_jobs import ImageJob, Plan
from paintmq.cli.image_run import ImageRun
from paintmq.cli.job_inputs import InputReader, LoadedJob
from paintmq.cli.result_files import ResultWriter
from paintmq.cli.run_session import Session
from paintmq.cli.signals import Signals, StopFlag
from paintmq.config import Limits

STOPS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def handlers_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (*STOPS, signal.SIGHUP)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


class Finalised:
    """Sends a signal where Python drops what is raised."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number

    def __del__(self) -> None:
        signal.raise_signal(self._number)


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_that_comes_inside_a_finaliser_is_not_lost(number: signal.Signals) -> None:
    with StopFlag() as stop:
        Finalised(number)

        assert stop.arrived is number


@pytest.mark.parametrize("number", STOPS)
def test_a_second_signal_ends_the_process_at_once(number: signal.Signals) -> None:
    with StopFlag():
        signal.raise_signal(number)
        assert [signal.getsignal(each) for each in STOPS] == [signal.SIG_DFL] * 2
    with Signals() as signals:
        signal.raise_signal(number)
        assert signals.wait() is number
        assert [signal.getsignal(each) for each in STOPS] == [signal.SIG_DFL] * 2


def test_a_signal_to_reload_is_no_signal_to_stop() -> None:
    with Signals() as signals:
        assert signals.wait_at_most(0.0) is None
        signal.raise_signal(signal.SIGHUP)

        assert signals.wait_at_most(5.0) is signal.SIGHUP
        assert signal.SIG_DFL not in [signal.getsignal(each) for each in STOPS]


@pytest.mark.parametrize("number", STOPS)
def test_a_run_ends_though_its_ctrl_c_came_where_python_drops_it(
    number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a callback of the result that arrives: it used to go on with the next image."""
    cancelled: list[str] = []

    def submit(task: Any) -> Any:
        Finalised(number)
        return SimpleNamespace(
            id=task,
            state=SimpleNamespace(value="queued"),
            progress=lambda: SimpleNamespace(total=0),
            add_done_callback=lambda _: None,
            cancel=lambda: cancelled.append(task),
        )

    make_task: Callable[[LoadedJob], Any] = lambda loaded: loaded.job.image.stem  # noqa: E731
    jobs = [
        ImageJob(image=picture(tmp_path / f"{name}.png"), output=tmp_path / f"{name}-out.png")
        for name in ("a", "b")
    ]
    with StopFlag() as stop:
        run = ImageRun(
            plan=Plan(jobs=jobs),
            make_task=make_task,
            reader=InputReader(Limits()),
            writer=ResultWriter(),
            model="opencv",
            quiet=True,
            stop=stop,
        )

        assert run.through(Session(submit=submit, ask=lambda _: [])) == 128 + number

    assert cancelled[0] == "a"
    assert "interrupted: 0 of 2 images are done" in capsys.readouterr().err


def test_a_closed_terminal_stops_a_run_unless_it_was_told_to_ignore_that() -> None:
    with StopFlag() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop.arrived is signal.SIGHUP
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopFlag() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.arrived is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_being_continued_is_noticed_and_nothing_else_is() -> None:
    with StopFlag() as stop:
        assert stop.suspensions == 0
        signal.raise_signal(signal.SIGCONT)

        assert stop.suspensions == 1
