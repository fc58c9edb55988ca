"""The blocking client: hand tasks to a broker and wait for their results."""

import queue
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from paintmq.client.journal import journal_for
from paintmq.client.result import Result
from paintmq.client.session import Session
from paintmq.client.task import Task
from paintmq.client.task_handle import CANCEL_SECONDS, TaskHandle, TaskView, wait_for_answer
from paintmq.client.window import Place, WindowLimits
from paintmq.errors import NoRoomError
from paintmq.task import Json

if TYPE_CHECKING:
    import zmq

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5550"
"""Where ``paintmq up`` and ``paintmq broker`` listen unless told otherwise."""

ASK_SECONDS = 30.0


class Client:
    """A connection to a broker that is renewed by itself; any thread may use it.

    Nothing is opened before the first use. ``max_tasks`` and ``max_bytes`` bound what is
    unfinished at a time: ``submit`` waits for room, so that a fast producer does not fill the
    memory. ``key`` is a key file, for a broker that asks for one (``paintmq keys add``).
    ``durable`` writes every task to a folder (True: in the platform's data folder) until the
    program has taken its outcome: after a crash, ``recovered`` has the handles.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        context: "zmq.Context[zmq.Socket[bytes]] | None" = None,
        name: str = "",
        key: Path | str | None = None,
        max_tasks: int = WindowLimits().tasks,
        max_bytes: int = WindowLimits().bytes,
        durable: bool | Path | str = False,
    ) -> None:
        self._session = Session(
            endpoint,
            context=context,
            name=name,
            key=key,
            window=WindowLimits(tasks=max_tasks, bytes=max_bytes),
            journal=journal_for(durable),
        )

    @property
    def endpoint(self) -> str:
        return self._session.endpoint

    @property
    def trouble(self) -> str:
        """What is wrong with the connection, for people; empty while the broker answers."""
        return self._session.trouble

    @property
    def alarms(self) -> int:
        """How often the broker was found to have forgotten what it had promised."""
        return self._session.alarms

    @property
    def recovered(self) -> tuple[TaskHandle, ...]:
        """Tasks that an earlier durable client on the same folder left behind, oldest first.

        They were submitted again, under their ids, when this client started.
        """
        self._session.start()
        return tuple(TaskHandle(self._session, task) for task in self._session.recovered)

    def connect(self, timeout: float | None = 10.0) -> None:
        """Wait until the broker has answered. Optional: every other method connects by itself.

        Raises:
            TimeoutError: it did not.
        """
        self._session.check_may_wait("connect()")
        if not self._session.wait_until_connected(timeout):
            raise TimeoutError(f"no broker answers at {self.endpoint} within {timeout} s")

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
        prepared = task.prepare(queue=queue)
        place = self._session.window.place(prepared.request.input_bytes)
        try:
            self._wait_for_room(place, timeout)
            followed = self._session.submit(prepared, place, task, patient=patient)
            return TaskHandle(self._session, followed)
        except BaseException:  # a Ctrl-C too: it must not cost room for ever
            place.give_back()
            raise

    def fetch(self, task_id: str) -> TaskHandle:
        """Return a handle of a task that was submitted before, by this client or another.

        Its ``result()`` raises TaskUnknownError if the broker does not know the task.
        """
        return TaskHandle(self._session, self._session.fetch(task_id))

    def cancel(self, task: TaskHandle | str, timeout: float | None = CANCEL_SECONDS) -> str:
        """Cancel a task, given by handle or id, and return what TaskHandle.cancel returns."""
        if isinstance(task, TaskHandle):
            return task.cancel(timeout)
        self._session.check_may_wait("cancel()")
        answer = self._session.cancel(task)
        return wait_for_answer(self._session, answer, timeout, f"to the cancel of task {task}")

    def map(
        self, tasks: Iterable[Task], *, ahead: int = 256, timeout: float | None = None
    ) -> Iterator[Result]:
        """Run the tasks and yield their results in the order of the tasks.

        ``tasks`` may be endless: at most ``ahead`` of them are taken from it before their results
        are. A full queue is waited out.

        Raises:
            TaskNotCompletedError: when the turn comes of a task that ended otherwise.
            TimeoutError: the next result did not come for ``timeout`` seconds.
        """
        waiting: deque[TaskHandle] = deque()
        most_bytes = self._session.window.limits.bytes
        try:
            for task in tasks:
                waiting.append(self.submit(task, patient=True))
                while waiting and is_enough_ahead(waiting, ahead, most_bytes):
                    yield waiting.popleft().result(timeout)
            while waiting:
                yield waiting.popleft().result(timeout)
        finally:
            # A caller that stops taking results wants no more of them.
            for handle in waiting:
                self._session.cancel_quietly(handle.id)

    def as_completed(
        self, handles: Iterable[TaskHandle], *, timeout: float | None = None
    ) -> Iterator[TaskHandle]:
        """Yield the handles as their tasks end.

        ``handles`` may be a generator that submits: the next one is taken from it only when no
        task that has ended is left to be yielded.

        Raises:
            TimeoutError: nothing ended for ``timeout`` seconds.
        """
        ended: queue.SimpleQueue[TaskHandle] = queue.SimpleQueue()
        pending = 0
        for handle in handles:
            handle.add_done_callback(ended.put)
            pending += 1
            while not ended.empty():
                pending -= 1
                yield ended.get()
        while pending:
            self._session.check_may_wait("as_completed()")
            try:
                handle = ended.get(timeout=timeout)
            except queue.Empty:
                raise TimeoutError(none_ended(self._session, pending, timeout)) from None
            pending -= 1
            yield handle

    def ask(self, subject: str, *, timeout: float | None = ASK_SECONDS, **arguments: Json) -> Json:
        """Ask the broker one of its subjects, such as ``statistics`` or ``why`` (task_id=...).

        Raises:
            RejectedError: the broker cannot answer, and says why.
            TimeoutError: it did not answer in time.
        """
        self._session.check_may_wait("ask()")
        answer = self._session.ask(subject, arguments)
        try:
            to_what = f"to {subject!r} at {self.endpoint}"
            return wait_for_answer(self._session, answer, timeout, to_what)
        finally:
            answer.cancel()

    def close(self) -> None:
        """Say goodbye. Accepted tasks go on; handles that wait get a ManagerStoppedError."""
        self._session.close()

    def __enter__(self) -> Self:
        self._session.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_for_room(self, place: Place, timeout: float | None) -> None:
        self._session.start()
        # The session's thread is the one that makes room: it must not wait for it.
        if self._session.is_own_thread:
            place.take()
            return
        started = monotonic()
        try:
            place.ask_for().result(timeout)
        except TimeoutError:
            raise NoRoomError(no_room(self._session, monotonic() - started)) from None


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
