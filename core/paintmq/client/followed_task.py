"""One task as its client knows it: written by the session's thread, read by any other."""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from sys import intern
from typing import TypeAlias

from attrs import evolve

from paintmq.client.result import Progress, Result, result_of
from paintmq.client.task import Payload, Task
from paintmq.client.window import Place
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
from paintmq.wire.messages import Accepted, Finished, Progressed, Rejected

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
    """Where one task stands, its ending once it has one, and the callbacks to run then.

    A client may have a million of these, so it holds what arrived and makes the values that
    programs read of it when they are asked for. Who waits adds a callback; there is no condition
    variable a task.
    """

    __slots__ = (
        "_attempt",
        "_callbacks",
        "_done",
        "_error",
        "_finished",
        "_lock",
        "_news",
        "_observers",
        "_preview",
        "_queue",
        "_result",
        "_state",
        "_version",
        "_waiting_for",
        "_worker",
        "id",
        "place",
        "request",
        "task",
        "when_accepted",
        "when_taken",
    )

    def __init__(self, task_id: TaskId, lock: "threading.Lock | None" = None) -> None:
        """``lock`` may be one of many tasks: it is never held while a callback runs."""
        self.id = task_id
        self.task: Task | None = None
        """What the program handed in; None for a task that was fetched by its id."""
        self.request: TaskRequest | None = None
        self.place: Place | None = None
        """Room in the client's window, given back at the end."""
        self.when_taken: Callable[[TaskId], None] | None = None
        """Called once, when the outcome is first handed to the program."""
        self.when_accepted: Callback | None = None
        """Called when the broker has the task, which is then let go of here, inputs and all."""
        self._lock = lock or threading.Lock()
        self._state = TaskState.SUBMITTED
        self._waiting_for = _NOT_ACCEPTED_YET
        self._queue = ""
        self._worker = ""
        self._attempt = 0
        self._news: Progressed | None = None
        """The last report of progress."""
        self._preview: tuple[Progressed, Payload] | None = None
        self._version = 0
        self._finished: tuple[Finished, Sequence[Payload]] | None = None
        self._result: Result | None = None
        self._error: TaskNotCompletedError | None = None
        self._done = False
        self._callbacks: list[Callback] | None = None
        self._observers: list[Callback] | None = None

    # ---- written by the session's thread -------------------------------------------------------

    def accepted(self, message: Accepted) -> None:
        if self.when_accepted is not None:
            self.task = None
            self.when_accepted()
        if self._done:
            return
        with self._lock:
            self._queue, self._state = intern(message.queue), message.state
            self._waiting_for = message.waiting_for
            self._version += 1
        if self._observers:
            self._tell_observers()

    def progressed(self, message: Progressed, payloads: Sequence[Payload]) -> None:
        if self._done:
            return
        with self._lock:
            if payloads:
                self._preview = (message, payloads[0])
            elif message.attempt != self._attempt:
                self._preview = None
            self._news, self._state, self._waiting_for = message, message.state, ""
            self._worker, self._attempt = intern(message.worker), message.attempt
            self._version += 1
        self._tell_observers()

    def ended(self, message: Finished, payloads: Sequence[Payload]) -> None:
        if message.state is TaskState.SUCCEEDED:
            self._finished = (message, payloads)
            self._end(message)
            return
        error = message.error or TaskError(code=message.state.value, message=message.state.value)
        kind = _ERRORS.get(message.state, TaskFailedError)
        self.gave_up(kind(self.id, message.state, error.code, error.message), message)

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

    def gave_up(self, error: TaskNotCompletedError, message: Finished | None = None) -> None:
        """End the wait with an error; only the first ending counts."""
        if self._done:
            return
        self._error = error
        self._end(message)

    # ---- read by any thread ---------------------------------------------------------------------

    @property
    def done(self) -> bool:
        return self._done

    @property
    def is_undecided(self) -> bool:
        """Whether the broker has neither accepted nor refused the task."""
        return self._state is TaskState.SUBMITTED and not self._done

    def raise_refusal(self) -> None:
        """Raise the error of a task that never came to be accepted; else do nothing."""
        never = (TaskRejectedError, TaskUnknownError, ManagerStoppedError)
        if self._error is not None and isinstance(self._error, never):
            self.outcome()

    @property
    def error(self) -> TaskNotCompletedError | None:
        """How it ended instead of with a result."""
        return self._error

    @property
    def succeeded(self) -> bool:
        return self._finished is not None

    @property
    def output_bytes(self) -> int:
        """Bytes of the result; 0 until it is there."""
        return sum(info.size for info in self._finished[0].outputs) if self._finished else 0

    def progress(self) -> Progress:
        remark = self._remark()
        with self._lock:
            news, preview = self._news, self._preview
            progress = Progress(
                state=self._state,
                step=news.step if news else 0,
                total=news.total if news else 0,
                queue=self._queue,
                worker=self._worker,
                attempt=self._attempt,
                note=remark or (news.note if news else ""),
                waiting_for=self._waiting_for,
            )
        if preview is None:
            return progress
        from paintmq.image import array_from_payload

        message, payload = preview
        return evolve(progress, preview=array_from_payload(message.preview[0], payload))

    def _remark(self) -> str:
        """Return the note of the result; empty while there is none."""
        if self._finished is None:
            return ""
        message, payloads = self._finished
        for info, payload in zip(message.outputs, payloads, strict=False):
            if info.name == "note":
                return bytes(payload).decode("utf-8", "replace")
        return ""

    def wait(self, timeout: float | None) -> bool:
        """Wait for the ending; return False if the time is up before."""
        if self._done:
            return True
        # A lock that is released wakes one waiter with one call, which nothing else here does.
        woken = threading.Lock()
        woken.acquire()
        forget = self.when_done(woken.release)
        try:
            woken.acquire(timeout=_time_limit(timeout))
        finally:
            forget()
        return self._done

    def wait_for_change(self, version: int, timeout: float | None) -> int:
        """Wait until more has happened than ``version`` says, and return the present one."""
        changed = threading.Event()
        forget = self.when_changed(changed.set)
        try:
            if self._version <= version:
                changed.wait(None if timeout is None else _time_limit(timeout))
        finally:
            forget()
        return self._version

    @property
    def version(self) -> int:
        """Counts the changes. Pass the version you have seen to ``wait_for_change``."""
        return self._version

    def outcome(self) -> Result:
        """Return the result, or raise how the task ended instead. It must be done."""
        if self.when_taken is not None:
            self._tell_taken()
        if self._error is not None:
            # A fresh traceback each time: the error may be raised in several threads.
            raise self._error.with_traceback(None)
        if (result := self._result) is None:
            assert self._finished is not None, "outcome() before the task is done"
            result = self._publish(result_of(*self._finished))
        return result

    def _tell_taken(self) -> None:
        with self._lock:
            taken, self.when_taken = self.when_taken, None
        if taken is not None and not isinstance(self._error, ManagerStoppedError):
            taken(self.id)

    def _publish(self, result: Result) -> Result:
        with self._lock:  # another thread may have been here meanwhile: all get the same
            self._result = self._result or result
            return self._result

    def when_done(self, callback: Callback) -> Callback:
        """Call it once the task is done: in the session's thread, or at once if it is.

        Returns:
            A function that removes the callback if it was not called yet.
        """
        with self._lock:
            if not self._done:
                self._callbacks = self._callbacks or []
                self._callbacks.append(callback)
                return partial(self._forget, callback)
        run_callback(callback, self.id)
        return partial(self._forget, callback)

    def when_changed(self, callback: Callback) -> Callback:
        """Call it after each change, in the session's thread; return a function that stops this."""
        with self._lock:
            observers = self._observers = self._observers or []
            observers.append(callback)
        return partial(observers.remove, callback)

    # --------------------------------------------------------------------------------------------

    def _forget(self, callback: Callback) -> None:
        with self._lock, suppress(ValueError):  # called, and gone
            if self._callbacks is not None:
                self._callbacks.remove(callback)

    def _tell_observers(self) -> None:
        for observer in tuple(self._observers or ()):
            run_callback(observer, self.id)

    def _end(self, message: Finished | None) -> None:
        with self._lock:
            self._waiting_for = ""
            if message is not None:
                self._state = message.state
                self._queue = intern(message.queue) or self._queue
                self._worker = intern(message.worker) or self._worker
            self._done = True
            self._version += 1
            self._preview = self.request = None
            waiting, self._callbacks = self._callbacks, None
            callbacks = (*(self._observers or ()), *(waiting or ()))
        if self.place is not None:
            self.place.give_back()
        for callback in callbacks:
            run_callback(callback, self.id)


def _time_limit(timeout: float | None) -> float:
    """Return the seconds a lock can wait for: NaN and what is past count as no time."""
    return -1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX)


def run_callback(callback: Callable[[], object], task_id: TaskId) -> None:
    """Run a program's callback; its errors are its own and must not stop the session."""
    try:
        callback()
    except BaseException:
        # sys.exit() and KeyboardInterrupt too: they were meant for the program's own thread.
        logger.exception("task %s: a callback raised", task_id)
