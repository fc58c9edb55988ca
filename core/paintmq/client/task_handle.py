"""Handles of submitted tasks: wait for them, watch them, cancel them."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from time import monotonic
from typing import TYPE_CHECKING, Self, TypeVar

from attrs import evolve

from paintmq.client.followed_task import FollowedTask
from paintmq.client.result import Progress, Result
from paintmq.client.task import Task
from paintmq.errors import PaintMQError, TaskNotCompletedError
from paintmq.task import TaskId, TaskState

if TYPE_CHECKING:
    from paintmq.client.session import Session

CANCEL_SECONDS = 30.0
"""The broker answers at once; this is for a broker that is being restarted."""

T = TypeVar("T")


class TaskView:
    """The properties of a handle, all of which return at once. Truthy; safe in any thread."""

    def __init__(self, session: "Session", followed: FollowedTask) -> None:
        self._session = session
        self._followed = followed

    @property
    def id(self) -> TaskId:
        return self._followed.id

    @property
    def task(self) -> Task | None:
        """The task as it was handed in; None if it was fetched by its id."""
        return self._followed.task

    @property
    def state(self) -> TaskState:
        """Where the task stands, as far as the broker has reported it."""
        return self._followed.progress().state

    @property
    def queue(self) -> str:
        """The queue it was accepted into; empty until then."""
        return self._followed.progress().queue

    @property
    def waiting_for(self) -> str:
        """Why no worker takes the task now, for people; empty when one soon will."""
        return self.progress().waiting_for

    def done(self) -> bool:
        """Return whether the task has ended, well or not."""
        return self._followed.done

    @property
    def result_bytes(self) -> int:
        """Bytes of the result; 0 until it is there."""
        return self._followed.output_bytes

    @property
    def error(self) -> TaskNotCompletedError | None:
        """How the task ended instead of with a result; None while it runs, and after success."""
        return self._followed.error

    def progress(self) -> Progress:
        """Return the task's progress, as far as the broker has reported it."""
        progress = self._followed.progress()
        if progress.state is not TaskState.SUBMITTED or self._followed.done:
            return progress
        reasons = filter(None, (progress.waiting_for, self._session.trouble))
        return evolve(progress, waiting_for="; ".join(reasons))

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self._described()}>"

    def _described(self) -> str:
        progress = self._followed.progress()
        where = f" in {progress.queue}" if progress.queue else ""
        trouble = "" if self._followed.done else self._session.trouble
        reasons = "; ".join(filter(None, (progress.waiting_for, trouble)))
        why = f" ({reasons})" if reasons else ""
        return f"{progress.state.value}{where}{why}"


class TaskHandle(TaskView):
    """A submitted task; its methods block the calling thread alone."""

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the task's ending, for ``timeout`` seconds at most, and return the result.

        Raises:
            TimeoutError: the time is up; the task goes on.
            TaskNotCompletedError: one of its subclasses, if the task ended otherwise.
            RuntimeError: it would wait for ever, in a callback or in a child process.
        """
        if not self._followed.done:
            self._session.check_may_wait("result()")
        if not self._followed.wait(timeout):
            raise TimeoutError(f"task {self.id} is {self._described()} after {timeout} s")
        return self._followed.outcome()

    def exception(self, timeout: float | None = None) -> PaintMQError | None:
        """Wait as ``result`` does, and return the error it would raise; None after success.

        Raises:
            TimeoutError: the time is up; the task goes on.
        """
        try:
            self.result(timeout)
        except PaintMQError as error:
            return error
        return None

    def accepted(self, timeout: float | None = None) -> Self:
        """Wait until the broker has accepted the task, and return this handle.

        Raises:
            TaskRejectedError: the broker refused it.
            TimeoutError: the broker has not answered for ``timeout`` seconds; the task goes on.
            RuntimeError: it would wait for ever, in a callback or in a child process.
        """
        seen = -1
        while self._followed.is_undecided:
            self._session.check_may_wait("accepted()")
            before, seen = seen, self._followed.wait_for_change(seen, timeout)
            if before == seen:
                raise TimeoutError(f"task {self.id} is {self._described()} after {timeout} s")
        self._followed.raise_refusal()
        return self

    def cancel(self, timeout: float | None = CANCEL_SECONDS) -> str:
        """Cancel the task and return ``cancelled``, ``too_late`` or ``unknown``.

        ``cancelled`` is a promise that no result will come; ``too_late`` says it has ended before.

        Raises:
            TimeoutError: the broker did not answer in time; the cancel stays in force.
        """
        if self._followed.done:
            return "cancelled" if self.state is TaskState.CANCELLED else "too_late"
        self._session.check_may_wait("cancel()")
        return wait_for_answer(
            self._session,
            self._session.cancel(self.id),
            timeout,
            f"to the cancel of task {self.id}",
        )

    def updates(self, timeout: float | None = None) -> Iterator[Progress]:
        """Yield the task's progress, now and after each change, until it has ended.

        A slow reader misses the changes in between, never the last one.

        Raises:
            TimeoutError: nothing changed for ``timeout`` seconds.
        """
        seen = -1
        while True:
            version, done = self._followed.version, self._followed.done
            if version != seen:
                seen = version
                yield self.progress()
            if done:
                return
            self._session.check_may_wait("updates()")
            deadline = None if timeout is None else monotonic() + timeout
            if self._followed.wait_for_change(seen, timeout) == seen and deadline is not None:
                raise TimeoutError(f"task {self.id} is {self._described()}: no news in {timeout} s")

    def add_done_callback(self, callback: "Callable[[TaskHandle], object]") -> None:
        """Call ``callback(handle)`` once the task has ended, or now if it has.

        It runs in the client's own thread, so it must be quick; what it raises is logged.
        """
        self._followed.when_done(lambda: (callback(self), None)[1])


def wait_for_answer(
    session: "Session", answer: "Future[T]", timeout: float | None, to_what: str
) -> T:
    """Return the broker's answer, or raise a TimeoutError that says what is missing and why."""
    try:
        return answer.result(timeout)
    except FutureTimeoutError:
        if answer.done():
            return answer.result()
        raise TimeoutError(no_answer(session, timeout, to_what)) from None


def no_answer(session: "Session", timeout: float | None, to_what: str) -> str:
    """Describe an answer that did not come in time, and any trouble with the connection."""
    trouble = f": {session.trouble}" if session.trouble else ""
    return f"no answer of the broker {to_what} within {timeout} s{trouble}"
