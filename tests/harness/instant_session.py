"""``paintmq run`` in this process, with a session that needs no broker and no worker.

What a picture becomes is decided by the real decoder; only the way there is short.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field, frozen

from paintmq.cli.app import run_command_line
from paintmq.client.result import Progress, Result
from paintmq.client.task import Task
from paintmq.errors import InvalidInputError, TaskFailedError, TaskNotCompletedError
from paintmq.image.files import decode_image
from paintmq.task import TaskState


@define(eq=False)
class InstantHandle:
    """A task that has ended as soon as it was submitted."""

    task: Task
    outcome: Result | TaskNotCompletedError
    state: TaskState = TaskState.SUCCEEDED

    @property
    def id(self) -> str:
        return self.task.id

    def add_done_callback(self, callback: "Callable[[InstantHandle], object]") -> None:
        callback(self)

    def result(self, timeout: float | None = None) -> Result:
        if isinstance(self.outcome, TaskNotCompletedError):
            raise self.outcome
        return self.outcome

    def progress(self) -> Progress:
        return Progress(state=self.state)

    def cancel(self) -> str:
        return "too_late"


@define
class InstantSession:
    """Ends every task at once: as ``act`` says, or with the picture that was sent."""

    act: Callable[[Task], dict[str, Any]] | None = None
    tasks: list[Task] = field(factory=list[Task])
    keep_tasks: bool = True
    workers: list[str] = field(factory=lambda: ["vm/cpu-0"])
    trouble: Callable[[], str] = str

    def submit(self, task: Task) -> InstantHandle:
        if self.keep_tasks:
            self.tasks.append(task)
        try:
            outputs = self.act(task) if self.act is not None else {"image": pixels_of(task)}
        except TaskNotCompletedError as error:
            return InstantHandle(task, error, error.state or TaskState.FAILED)
        except InvalidInputError as error:
            failure = TaskFailedError(task.id, TaskState.FAILED, "invalid_input", str(error))
            return InstantHandle(task, failure, TaskState.FAILED)
        return InstantHandle(
            task, Result(outputs=outputs, task_id=task.id, queue="cpu-light", worker="vm/cpu-0")
        )

    def ask(self, subject: str) -> Any:
        assert subject == "workers"
        return self.workers


def pixels_of(task: Task, name: str = "image") -> Any:
    """Return an input of a task, decoded as a worker decodes it."""
    data = task.inputs[name]
    assert isinstance(data, bytes)
    return decode_image(data).pixels


@frozen(kw_only=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        lines = self.err.splitlines()
        return [each.removeprefix("error: ") for each in lines if each.startswith("error: ")]

    @property
    def notes(self) -> list[str]:
        return [each for each in self.err.splitlines() if not each.startswith("error: ")]


@define
class CommandLine:
    """The ``paintmq`` command in a folder of its own."""

    folder: Path
    session: InstantSession
    _captured: "pytest.CaptureFixture[str]"

    def __call__(self, *arguments: str | Path) -> Done:
        self._captured.readouterr()
        status = run_command_line([str(each) for each in arguments])
        out, err = self._captured.readouterr()
        return Done(status=status, out=out, err=err)

    def paint(self, *arguments: str | Path, model: str = "opencv") -> Done:
        return self("run", model, *arguments)
