"""Cancels and questions without an answer yet, with the futures that wait for them."""

import threading
from concurrent.futures import Future
from typing import TypeVar

from paintmq.errors import RejectedError
from paintmq.task import Json, TaskId

T = TypeVar("T")


class PendingAnswers:
    """Futures that the session's thread resolves and other threads wait for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancels: dict[TaskId, list[Future[str]]] = {}
        self._asks: dict[int, Future[Json]] = {}
        self._last_ask = 0

    def add_cancel(self, task_id: TaskId) -> "Future[str]":
        """Return a future of the answer; several may wait for the same one."""
        answer: Future[str] = Future()
        with self._lock:
            self._cancels.setdefault(task_id, []).append(answer)
        return answer

    def new_number(self) -> int:
        """Return a fresh number for a question."""
        with self._lock:
            self._last_ask += 1
            return self._last_ask

    def add_ask(self, number: int) -> "Future[Json]":
        """Return a future of the answer to the question of that number."""
        answer: Future[Json] = Future()
        with self._lock:
            self._asks[number] = answer
        return answer

    def drop_ask(self, number: int) -> None:
        """Drop a question whose answer is no longer wanted."""
        with self._lock:
            self._asks.pop(number, None)

    def settle_cancel(self, task_id: TaskId, answer: str) -> None:
        with self._lock:
            waiting = self._cancels.pop(task_id, [])
        for future in waiting:
            _resolve(future, answer)

    def fail_cancel(self, task_id: TaskId, reason: str) -> None:
        with self._lock:
            waiting = self._cancels.pop(task_id, [])
        for future in waiting:
            _fail(future, RejectedError("internal_error", reason))

    def answer_ask(self, number: int, value: Json, error: str) -> None:
        with self._lock:
            future = self._asks.pop(number, None)
        if future is None:
            return
        if error:
            _fail(future, RejectedError("ask", error))
        else:
            _resolve(future, value)

    def give_up(self, error: Exception) -> None:
        """End every wait: no answer can arrive any more."""
        with self._lock:
            cancels, self._cancels = self._cancels, {}
            asks, self._asks = self._asks, {}
        for waiting in cancels.values():
            for cancel in waiting:
                _fail(cancel, error)
        for answer in asks.values():
            _fail(answer, error)


def _resolve(future: "Future[T]", value: T) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(value)


def _fail(future: "Future[T]", error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
