"""What models print and log while ``paintmq run -v`` waits for them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from paintmq.cli.failures import note
from paintmq.cli.logs_command import line
from paintmq.errors import PaintMQError

if TYPE_CHECKING:
    from paintmq.cli.run_session import Session
    from paintmq.client import TaskHandle
    from paintmq.client.task import Task

_PAUSE = 0.25
"""Seconds between two looks."""
_LAST_WORDS = 0.6
"""Seconds after the last result in which its words may still come: workers collect them a while."""


@define(eq=False)
class RunLog:
    """Shows the lines of the tasks of one run, on stderr."""

    _ask: Callable[..., Any]
    _tell: Callable[[str], None] = note
    _all: bool = False
    """Whatever a worker says is this run's, what it says while it loads a model too."""
    _ids: set[str] = field(factory=set[str], init=False)
    _after: int = field(default=-1, init=False)
    _over: threading.Event = field(factory=threading.Event, init=False)

    def submitted(self, task_id: str) -> None:
        self._ids.add(task_id)

    def begin(self) -> None:
        """Leave out what was said before."""
        self._look()

    def follow(self) -> None:
        """Show lines as they come, until ``end``."""
        while not self._over.wait(_PAUSE):
            self._look()

    def end(self) -> None:
        self._over.set()
        until = monotonic() + _LAST_WORDS
        while monotonic() < until:
            threading.Event().wait(_PAUSE)
            self._look()

    def _look(self) -> None:
        try:
            while True:
                answer = self._ask("logs", after=self._after)
                self._after = answer["next"]
                for each in answer["events"]:
                    if self._all or self._ids.intersection(each.get("tasks", ())):
                        self._tell(line(each))
                if not answer["more"]:
                    return
        except (PaintMQError, TimeoutError):
            return  # the run itself says what is wrong with the broker


@contextmanager
def shown_log(session: "Session", *, wanted: bool) -> Iterator["Session"]:
    """Give the session to run tasks with; if ``wanted``, what their models say is shown."""
    if not wanted:
        yield session
        return
    log = RunLog(session.ask, all=session.is_own)
    log.begin()
    thread = threading.Thread(target=log.follow, name="paintmq-run-log", daemon=True)
    thread.start()

    def submit(task: "Task") -> "TaskHandle":
        log.submitted(task.id)
        return session.submit(task)

    try:
        yield evolve(session, submit=submit)
    finally:
        log.end()
        thread.join()
