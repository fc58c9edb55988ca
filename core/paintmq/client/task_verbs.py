"""What a program does with tasks: the same verbs for a client and for an embedded manager."""

import queue
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic, sleep
from typing import Any, Literal, overload

from paintmq.client.control import Control
from paintmq.client.event_reader import EventReader
from paintmq.client.followed_task import FollowedTask
from paintmq.client.result import Result
from paintmq.client.session import Session
from paintmq.client.task import Task
from paintmq.client.task_handle import CANCEL_SECONDS, TaskHandle, TaskView, wait_for_answer
from paintmq.client.window import Place
from paintmq.errors import NoRoomError, PaintMQError, RefusedError
from paintmq.statistics import BrokerStatistics
from paintmq.task import Json

ASK_SECONDS = 30.0


class TaskVerbs:
    """Submit tasks, wait for them, cancel them, and ask about them; in any thread.

    In a callback of a handle, whatever would wait for the broker raises RuntimeError at once: the
    callback runs in the thread that hears the broker.
    """

    @abstractmethod
    def _get_session(self) -> Session:
        """Return the open session.

        Raises:
            RuntimeError: there is none.
        """

    def submit(
        self, task: Task, *, queue: str = "", timeout: float | None = None, patient: bool = False
    ) -> TaskHandle:
        """Hand the task in. Returns without waiting for the broker, but waits for room.

        ``queue`` names a queue; empty leaves it to the router. ``patient`` waits out a refusal
        that will pass, such as a full queue, instead of ending the task with it.

        Raises:
            InvalidInputError: an input's file cannot be read any more.
            InvalidTaskError: a different task with this id is unfinished.
            NoRoomError: there was no room for ``timeout`` seconds (also a TimeoutError).
        """
        session = self._get_session()
        prepared = task.prepare(queue=queue, put=session.put)
        place = session.window.place(prepared.request.input_bytes)
        try:
            _wait_for_room(session, place, timeout)
            followed = session.submit(prepared, place, task, patient=patient)
            return TaskHandle(session, followed)
        except BaseException:  # a Ctrl-C too: it must not cost room for ever
            place.give_back()
            raise

    def fetch(self, task_id: str) -> TaskHandle:
        """Return a handle of a task that was submitted before, by this client or another.

        Its ``result()`` raises TaskUnknownError if the broker does not know the task.
        """
        session = self._get_session()
        return TaskHandle(session, session.fetch(task_id))

    def cancel(self, task: TaskHandle | str, timeout: float | None = CANCEL_SECONDS) -> str:
        """Cancel a task, given by handle or id, and return what TaskHandle.cancel returns."""
        if isinstance(task, TaskHandle):
            return task.cancel(timeout)
        session = self._get_session()
        session.check_may_wait("cancel()")
        answer = session.cancel(task)
        return wait_for_answer(session, answer, timeout, f"to the cancel of task {task}")

    @overload
    def map(
        self,
        tasks: Iterable[Task],
        *,
        ahead: int = ...,
        timeout: float | None = ...,
        return_exceptions: Literal[False] = ...,
    ) -> Iterator[Result]: ...
    @overload
    def map(
        self,
        tasks: Iterable[Task],
        *,
        ahead: int = ...,
        timeout: float | None = ...,
        return_exceptions: bool,
    ) -> Iterator[Result | PaintMQError]: ...
    def map(
        self,
        tasks: Iterable[Task],
        *,
        ahead: int = 256,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> Iterator[Result | PaintMQError]:
        """Run the tasks and yield their results in the order of the tasks.

        ``tasks`` may be endless: at most ``ahead`` of them are taken from it before their results
        are. A full queue is waited out. With ``return_exceptions`` a task that cannot be submitted
        or does not succeed yields its error in its place, and the others go on; without, its error
        is raised when its turn comes, and what was not yielded yet is cancelled.

        Raises:
            TaskNotCompletedError: a task ended without success.
            RefusedError: a task cannot be submitted.
            TimeoutError: the next result did not come for ``timeout`` seconds.
        """
        session = self._get_session()
        waiting: deque[TaskHandle] = deque()
        most_bytes = session.window.limits.bytes
        try:
            for task in tasks:
                waiting.append(self._submitted(task, even_if_refused=return_exceptions))
                while waiting and is_enough_ahead(waiting, ahead, most_bytes):
                    yield _outcome(waiting.popleft(), timeout, as_value=return_exceptions)
            while waiting:
                yield _outcome(waiting.popleft(), timeout, as_value=return_exceptions)
        finally:
            # A caller that stops taking results wants no more of them.
            for handle in waiting:
                session.cancel_quietly(handle.id)

    def as_completed(
        self,
        handles: Iterable[TaskHandle | Task],
        *,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> Iterator[TaskHandle]:
        """Yield the handles as their tasks end; a Task among them is submitted first.

        ``handles`` may be a generator that submits: the next one is taken from it only when no
        task that has ended is left to be yielded. With ``return_exceptions`` a Task that cannot be
        submitted yields a handle that has ended with the reason, and the others go on.

        Raises:
            RefusedError: a Task cannot be submitted.
            TimeoutError: nothing ended for ``timeout`` seconds.
        """
        session = self._get_session()
        ended: queue.SimpleQueue[TaskHandle] = queue.SimpleQueue()
        pending = 0
        for each in handles:
            handle = each
            if isinstance(handle, Task):
                handle = self._submitted(handle, even_if_refused=return_exceptions)
            handle.add_done_callback(ended.put)
            pending += 1
            while not ended.empty():
                pending -= 1
                yield ended.get()
        while pending:
            session.check_may_wait("as_completed()")
            try:
                handle = ended.get(timeout=timeout)
            except queue.Empty:
                raise TimeoutError(none_ended(session, pending, timeout)) from None
            pending -= 1
            yield handle

    def ask(self, subject: str, *, timeout: float | None = ASK_SECONDS, **arguments: Json) -> Json:
        """Ask the broker one of its subjects, such as ``statistics`` or ``why`` (task_id=...).

        Raises:
            RejectedError: the broker cannot answer, and says why.
            TimeoutError: it did not answer in time.
        """
        session = self._get_session()
        session.check_may_wait("ask()")
        answer = session.ask(subject, arguments)
        try:
            to_what = f"to {subject!r} at {session.endpoint}"
            return wait_for_answer(session, answer, timeout, to_what)
        finally:
            answer.cancel()

    @property
    def control(self) -> Control:
        """Orders to the broker: queues, settings, workers, tasks by the dozen."""
        return Control(self.ask)

    def statistics(self) -> BrokerStatistics:
        """Return the statistics of the broker and of every queue."""
        from cattrs import structure  # it takes longer to import than all of a client

        return structure(self.ask("statistics"), BrokerStatistics)

    def events(
        self,
        *,
        queue: str = "",
        model: str = "",
        tenant: str = "",
        task: str = "",
        after: int | None = None,
        follow: bool = True,
    ) -> Iterator[dict[str, Any]]:
        """Yield what happens to tasks, workers and queues: plain tables, oldest first.

        Each has a ``number``, ``at`` (broker time, Unix seconds), a ``kind`` (``task``, ``worker``,
        ``queue``) and an ``event``; of tasks ``task_id``, ``state``, ``model``, ``queue``,
        ``tenant``, ``worker``, ``attempt`` and, after a failure, ``error`` and ``detail``. A key
        that is no admin's is told of its own tasks alone.

        Args:
            queue: of this queue alone; empty: of all.
            model: of this model alone.
            tenant: of this tenant's tasks alone.
            task: of the task with this id alone.
            after: the number of the last event that is known already: what came after it, as far
                as the broker still has it, is yielded first. 0: all that it has. None: only what
                comes from now on.
            follow: go on for ever; else end with the last event there is.

        An event of the kind ``broker`` tells of gaps: ``missed`` (with a ``count``) where some are
        gone, ``restarted`` where the broker was. A reader that is slow costs nobody anything.

        Raises:
            RejectedError: the broker keeps no events (``monitoring.enabled``), or is older.
        """
        filters: dict[str, Json] = {"queue": queue, "model": model, "tenant": tenant, "task": task}
        return self._followed_numbers("events", filters, after, follow=follow)

    def logs(
        self,
        *,
        worker: str = "",
        task: str = "",
        after: int | None = None,
        follow: bool = True,
    ) -> Iterator[dict[str, Any]]:
        """Yield what models print and log: plain tables, oldest first.

        Each has a ``number``, ``at`` (broker time, Unix seconds), a ``kind`` and a ``worker``. Of
        the kind ``line``: ``text``, ``level`` (``debug`` … ``critical``; "" was printed), and
        ``tasks``, the ids of those it is of: several where a batch is one run. A ``dropped`` tells
        by ``count`` how many lines a worker left out, as models print too much. A key that is no
        admin's is told of the lines of its own tasks alone.

        Args:
            worker: of this worker alone; empty: of all.
            task: of the task with this id alone.
            after: the number of the last line that is known already; as for ``events``, whose
                notes of the kind ``broker`` come here too.
            follow: go on for ever; else end with the last line there is.

        Raises:
            RejectedError: the broker is older.
        """
        filters: dict[str, Json] = {"worker": worker, "task": task}
        return self._followed_numbers("logs", filters, after, follow=follow)

    def _followed_numbers(
        self, subject: str, filters: Mapping[str, Json], after: int | None, *, follow: bool
    ) -> Iterator[dict[str, Any]]:
        """Yield what the broker numbers and keeps of a subject: its events, or lines of models."""
        reader = EventReader(filters, after if follow or after is not None else 0)
        while True:
            answer: Any = self.ask(subject, timeout=ASK_SECONDS, **reader.question())
            yield from reader.take(answer)
            if not follow and not answer["more"]:
                return
            sleep(reader.pause)

    def _submitted(self, task: Task, *, even_if_refused: bool) -> TaskHandle:
        """Submit a task and wait out what passes; a refusal may come as a handle that has ended."""
        try:
            return self.submit(task, patient=True)
        except RefusedError as error:
            if not even_if_refused:
                raise
            return TaskHandle(self._get_session(), refused_task(task, error))


def refused_task(task: Task, error: RefusedError) -> FollowedTask:
    """Return a task that has ended because it could not be submitted."""
    followed = FollowedTask(task.id)
    followed.task = task
    followed.could_not_be_submitted(error)
    return followed


def _outcome(
    handle: TaskHandle, timeout: float | None, *, as_value: bool
) -> "Result | PaintMQError":
    try:
        return handle.result(timeout)
    except PaintMQError as error:
        if not as_value:
            raise
        return error


def _wait_for_room(session: Session, place: Place, timeout: float | None) -> None:
    # The session's thread is the one that makes room: it must not wait for it.
    if session.is_own_thread:
        place.take()
        return
    granted = place.ask_for()
    if granted is None:
        return
    started = monotonic()
    try:
        granted.result(timeout)
    except TimeoutError:
        raise NoRoomError(no_room(session, monotonic() - started)) from None


def none_ended(session: Session, pending: int, timeout: float | None) -> str:
    """Describe an ``as_completed`` that timed out."""
    trouble = f"; {session.trouble}" if session.trouble else ""
    return f"{pending} tasks have not ended; none in {timeout} s{trouble}"


def no_room(session: Session, seconds: float) -> str:
    """Describe a ``submit`` that timed out waiting for room."""
    trouble = f"; {session.trouble}" if session.trouble else ""
    return (
        f"no room for another task in {seconds:.1f} s: {session.window.tasks} tasks with"
        f" {session.window.bytes:,} bytes are under way{trouble}"
    )


def is_enough_ahead(waiting: Sequence[TaskView], ahead: int, max_bytes: int) -> bool:
    """Return whether ``map`` must yield its next result before it takes another task."""
    if len(waiting) >= ahead or waiting[0].done():
        return True
    return sum(handle.result_bytes for handle in waiting) >= max_bytes
