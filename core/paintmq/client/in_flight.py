"""Requests that the broker has to answer: which may be sent now, which are unanswered. Pure.

Rule 1: no more than ``limit`` tasks are unanswered at a time. A client with 100,000 tasks that
reconnects asks after them in pages, the next when the last was answered, so that neither side ever
holds a line of 100,000 answers.
Rule 2: one bad message must not cost the others their connection for ever. A broker that cannot
read a message forgets the connection and cannot say which message it was. Whatever was unanswered
then is suspect; as long as there are suspects, requests are sent one at a time. A request that was
alone when its connection died ``DEATHS`` times is the bad one.
"""

from collections.abc import Iterable
from itertools import islice
from math import inf
from typing import Literal, TypeAlias

from attrs import define, field

from paintmq.task import TaskId

Request: TypeAlias = (
    tuple[Literal["task"], TaskId] | tuple[Literal["cancel"], TaskId] | tuple[Literal["ask"], int]
)
"""A task to be submitted or asked after, a cancel, or the number of a question."""

LIMIT = 1_000
"""Tasks that may be unanswered: two full Query messages, far below what a broker keeps in line for
one peer (50,000)."""

DEATHS = 2
"""Connections a request may cost while it is the only one unanswered. Once may be a coincidence:
brokers forget connections for other reasons too."""

PROBE_SECONDS = 5.0
"""How long the next request waits for the answer to the one before it while there are suspects."""


@define
class InFlight:
    """Requests in the order they came: waiting to be sent, or sent on this connection."""

    limit: int = LIMIT
    _tasks: dict[TaskId, None] = field(factory=dict[TaskId, None], init=False)
    """Waiting to be sent."""
    _others: dict[Request, None] = field(factory=dict[Request, None], init=False)
    """Cancels and questions, waiting to be sent; the limit does not hold them up."""
    _sent: dict[TaskId, float] = field(factory=dict[TaskId, float], init=False)
    """Unanswered tasks, with the time each was sent."""
    _sent_others: dict[Request, float] = field(factory=dict[Request, float], init=False)
    """Unanswered cancels and questions, likewise."""
    _suspects: dict[Request, int] = field(factory=dict[Request, int], init=False)
    """How often each was the only one unanswered when a connection died."""

    def add_task(self, task_id: TaskId) -> None:
        """Have the task sent, unless it is in flight already."""
        if task_id not in self._sent:
            self._tasks.setdefault(task_id)

    def remove_task(self, task_id: TaskId) -> None:
        """Drop a task that was answered, or whose answer is no longer wanted."""
        if self._sent.pop(task_id, None) is None:
            self._tasks.pop(task_id, None)
        if self._suspects:
            self._suspects.pop(("task", task_id), None)

    def repeat_task(self, task_id: TaskId) -> None:
        """Have the task sent, again if it is in flight."""
        self._sent.pop(task_id, None)
        self._tasks.setdefault(task_id)

    def add(self, request: Request) -> None:
        """Have the request sent, unless it is in flight already."""
        if request[0] == "task":
            self.add_task(request[1])
        elif request not in self._sent_others:
            self._others.setdefault(request)

    def repeat(self, request: Request) -> None:
        """Have the request sent, again if it is in flight."""
        if request[0] == "task":
            self.repeat_task(request[1])
        else:
            self._sent_others.pop(request, None)
            self._others.setdefault(request)

    def remove(self, request: Request) -> None:
        """Drop a request that was answered, or whose answer is no longer wanted."""
        if request[0] == "task":
            self.remove_task(request[1])
        else:
            self._others.pop(request, None)
            self._sent_others.pop(request, None)
            self._suspects.pop(request, None)

    def restart(self, tasks: Iterable[TaskId], others: Iterable[Request]) -> None:
        """Begin anew on another connection, with these requests to be sent."""
        self._tasks = dict.fromkeys(tasks)
        self._others = dict.fromkeys(others)
        self._sent.clear()
        self._sent_others.clear()

    def take(self, *, now: float, welcomed: bool) -> tuple[list[TaskId], list[Request]]:
        """Return the tasks and the others that are to be sent now; they are unanswered then."""
        if not self._tasks and not self._others:
            return [], []
        if self._suspects:
            tasks, others = self._one_alone(now) if welcomed else ([], [])
        else:
            others = list(self._others)
            tasks = list(islice(self._tasks, max(0, self.limit - len(self._sent))))
        for task_id in tasks:
            del self._tasks[task_id]
            self._sent[task_id] = now
        for request in others:
            del self._others[request]
            self._sent_others[request] = now
        return tasks, others

    def next_due(self) -> float:
        """Return when ``take`` may give more without an answer having come; infinity for never."""
        unanswered = [*self._sent.values(), *self._sent_others.values()] if self._suspects else []
        if unanswered and (self._others or self._tasks):
            return max(unanswered) + PROBE_SECONDS
        return inf

    def connection_died(self) -> None:
        """Suspect what is unanswered: the broker may have dropped the connection over it."""
        sent: list[Request] = [("task", task_id) for task_id in self._sent]
        sent += self._sent_others
        for request in sent:
            self._suspects[request] = self._suspects.get(request, 0) + (len(sent) == 1)

    def guilty(self) -> list[Request]:
        """Return the requests that the broker evidently cannot read."""
        return [request for request, deaths in self._suspects.items() if deaths >= DEATHS]

    def acquit(self) -> None:
        """Suspect nothing any more: the connection died for another reason."""
        self._suspects.clear()

    def _one_alone(self, now: float) -> tuple[list[TaskId], list[Request]]:
        sent = [*self._sent.values(), *self._sent_others.values()]
        if any(now < sent_at + PROBE_SECONDS for sent_at in sent):
            return [], []
        others = list(islice(self._others, 1))
        return ([], others) if others else (list(islice(self._tasks, 1)), [])
