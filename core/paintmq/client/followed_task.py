"""One task as its client knows it: written by the session's thread, read by any other."""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from attrs import evolve

from paintmq.client.result import Progress, Result, result_of
from paintmq.client.task import Payload, Task
from paintmq.errors import (
    ManagerStoppedError,
    RefusedError,
    TaskCancelledError,
    TaskDeadError,
    TaskExpiredError,
    TaskFailedError,
    TaskNotCompletedError,
    TaskRejectedError,
    TaskUnknownError,
)
from paintmq.task import TaskError, TaskId, TaskRequest, TaskState
from paintmq.wire.messages import Finished, Progressed, Rejected

logger = logging.getLogger(__name__)

Callback: TypeAlias = Callable[[], None]

_NOT_ACCEPTED_YET = "waits for the broker to accept it"

_ERRORS: dict[TaskState, type[TaskNotCompletedError]] = {
    TaskState.FAILED: TaskFailedError,
    TaskState.CANCELLED: TaskCancelledError,
    TaskState.EXPIRED: TaskExpiredError,
    TaskState.DEAD: TaskDeadError,
}


class FollowedTask:
    """Where one task stands, its ending once it has one, and the callbacks to run then."""

    def __init__(self, task_id: TaskId) -> None:
        self.id = task_id
        self.task: Task | None = None
        """What the program handed in; None for a task that was fetched by its id."""
        self.request: TaskRequest | None = None
        self.when_taken: Callable[[TaskId], None] | None = None
        """Called once, when the outcome is first handed to the program."""
        self.when_accepted: Callback | None = None
        """Called when the broker has the task, which is then let go of here, inputs and all."""
        self._changed = threading.Condition()
        self._progress = Progress(state=TaskState.SUBMITTED, waiting_for=_NOT_ACCEPTED_YET)
        self._preview: tuple[Progressed, Payload] | None = None
        self._version = 0
        self._finished: tuple[Finished, Sequence[Payload]] | None = None
        self._result: Result | None = None
        self._error: TaskNotCompletedError | None = None
        self._done = False
        self._callbacks: list[Callback] = []
        self._observers: list[Callback] = []

    # ---- written by the session's thread -------------------------------------------------------

    def accepted(self, queue: str, state: TaskState, waiting_for: str) -> None:
        if self.when_accepted is not None:
            self.task = None
            self.when_accepted()
        self._change(evolve(self._progress, queue=queue, state=state, waiting_for=waiting_for))

    def progressed(self, message: Progressed, payloads: Sequence[Payload]) -> None:
        if payloads:
            self._preview = (message, payloads[0])
        elif message.attempt != self._progress.attempt:
            self._preview = None
        self._change(
            evolve(
                self._progress,
                state=message.state,
                step=message.step,
                total=message.total,
                worker=message.worker,
                attempt=message.attempt,
                note=message.note,
                waiting_for="",
            )
        )

    def ended(self, message: Finished, payloads: Sequence[Payload]) -> None:
        progress = evolve(
            self._progress,
            state=message.state,
            queue=message.queue or self._progress.queue,
            worker=message.worker or self._progress.worker,
            waiting_for="",
        )
        if message.state is TaskState.SUCCEEDED:
            self._finished = (message, payloads)
            self._end(progress)
            return
        error = message.error or TaskError(code=message.state.value, message=message.state.value)
        kind = _ERRORS.get(message.state, TaskFailedError)
        self.gave_up(kind(self.id, message.state, error.code, error.message), progress)

    def refused(self, message: Rejected) -> None:
        error = TaskRejectedError(self.id, None, message.code, message.reason)
        error.retry_after = message.retry_after
        self.gave_up(error)

    def could_not_be_submitted(self, refusal: RefusedError) -> None:
        """End a task that never left this program."""
        error = TaskRejectedError(self.id, None, refusal.code, str(refusal))
        error.retry_after, error.__cause__ = refusal.retry_after, refusal
        self.gave_up(error)

    def unknown(self) -> None:
        reason = f"the broker does not know task {self.id}: never accepted, or forgotten"
        self.gave_up(TaskUnknownError(self.id, None, "unknown", reason))

    def gave_up(self, error: TaskNotCompletedError, progress: Progress | None = None) -> None:
        """End the wait with an error; only the first ending counts."""
        if self._done:
            return
        self._error = error
        self._end(progress or evolve(self._progress, waiting_for=""))

    # ---- read by any thread ---------------------------------------------------------------------

    @property
    def done(self) -> bool:
        return self._done

    @property
    def is_undecided(self) -> bool:
        """Whether the broker has neither accepted nor refused the task."""
        return self._progress.state is TaskState.SUBMITTED and not self._done

    def raise_refusal(self) -> None:
        """Raise the error of a task that never came to be accepted; else do nothing."""
        never = (TaskRejectedError, TaskUnknownError, ManagerStoppedError)
        if self._error is not None and isinstance(self._error, never):
            self.outcome()

    @property
    def succeeded(self) -> bool:
        return self._finished is not None

    @property
    def output_bytes(self) -> int:
        """Bytes of the result; 0 until it is there."""
        return sum(info.size for info in self._finished[0].outputs) if self._finished else 0

    def progress(self) -> Progress:
        with self._changed:
            progress, preview = self._progress, self._preview
        if preview is None:
            return progress
        from paintmq.image import array_from_payload

        message, payload = preview
        return evolve(progress, preview=array_from_payload(message.preview[0], payload))

    def wait(self, timeout: float | None) -> bool:
        """Wait for the ending; return False if the time is up before."""
        with self._changed:
            return self._changed.wait_for(lambda: self._done, timeout)

    def wait_for_change(self, version: int, timeout: float | None) -> int:
        """Wait until more has happened than ``version`` says, and return the present one."""
        with self._changed:
            self._changed.wait_for(lambda: self._version > version, timeout)
            return self._version

    @property
    def version(self) -> int:
        """Counts the changes. Pass the version you have seen to ``wait_for_change``."""
        return self._version

    def outcome(self) -> Result:
        """Return the result, or raise how the task ended instead. It must be done."""
        with self._changed:
            taken, self.when_taken = self.when_taken, None
        if taken is not None and not isinstance(self._error, ManagerStoppedError):
            taken(self.id)
        if self._error is not None:
            # A fresh traceback each time: the error may be raised in several threads.
            raise self._error.with_traceback(None)
        with self._changed:
            if self._result is None:
                assert self._finished is not None, "outcome() before the task is done"
                self._result = result_of(*self._finished)
            return self._result

    def when_done(self, callback: Callback) -> Callback:
        """Call it once the task is done: in the session's thread, or at once if it is.

        Returns:
            A function that removes the callback if it was not called yet.
        """
        with self._changed:
            if not self._done:
                self._callbacks.append(callback)
                return partial(self._forget, callback)
        run_callback(callback, self.id)
        return partial(self._forget, callback)

    def when_changed(self, callback: Callback) -> Callback:
        """Call it after each change, in the session's thread; return a function that stops this."""
        with self._changed:
            self._observers.append(callback)
        return lambda: self._observers.remove(callback)

    # --------------------------------------------------------------------------------------------

    def _forget(self, callback: Callback) -> None:
        with self._changed, suppress(ValueError):  # called, and gone
            self._callbacks.remove(callback)

    def _change(self, progress: Progress) -> None:
        if self._done:
            return
        with self._changed:
            self._progress = progress
            self._version += 1
            self._changed.notify_all()
            observers = tuple(self._observers)
        for observer in observers:
            run_callback(observer, self.id)

    def _end(self, progress: Progress) -> None:
        with self._changed:
            self._progress = progress
            self._done = True
            self._version += 1
            self._preview = None
            self._changed.notify_all()
            callbacks = (*self._observers, *self._callbacks)
            self._callbacks.clear()
        for callback in callbacks:
            run_callback(callback, self.id)


def run_callback(callback: Callable[[], object], task_id: TaskId) -> None:
    """Run a program's callback; its errors are its own and must not stop the session."""
    try:
        callback()
    except BaseException:
        # sys.exit() and KeyboardInterrupt too: they were meant for the program's own thread.
        logger.exception("task %s: a callback raised", task_id)
