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
    _sent: dict[Request, float] = field(factory=dict[Request, float], init=False)
    """Unanswered, with the time each was sent."""
    _sent_tasks: int = field(default=0, init=False)
    _suspects: dict[Request, int] = field(factory=dict[Request, int], init=False)
    """How often each was the only one unanswered when a connection died."""

    def add(self, request: Request) -> None:
        """Have the request sent, unless it is in flight already."""
        if request in self._sent:
            return
        if request[0] == "task":
            self._tasks.setdefault(request[1])
        else:
            self._others.setdefault(request)

    def repeat(self, request: Request) -> None:
        """Have the request sent, again if it is in flight."""
        self._forget_sent(request)
        self.add(request)

    def remove(self, request: Request) -> None:
        """Drop a request that was answered, or whose answer is no longer wanted."""
        if request[0] == "task":
            self._tasks.pop(request[1], None)
        else:
            self._others.pop(request, None)
        self._forget_sent(request)
        self._suspects.pop(request, None)

    def restart(self, tasks: Iterable[TaskId], others: Iterable[Request]) -> None:
        """Begin anew on another connection, with these requests to be sent."""
        self._tasks = dict.fromkeys(tasks)
        self._others = dict.fromkeys(others)
        self._sent.clear()
        self._sent_tasks = 0

    def take(self, *, now: float, welcomed: bool) -> list[Request]:
        """Return the requests that are to be sent now; from then on they are unanswered."""
        if self._suspects:
            taken = self._one_alone(now) if welcomed else []
        else:
            taken = list(self._others)
            for task_id in self._tasks:
                if len(taken) - len(self._others) >= self.limit - self._sent_tasks:
                    break
                taken.append(("task", task_id))
        for request in taken:
            if request[0] == "task":
                del self._tasks[request[1]]
                self._sent_tasks += 1
            else:
                del self._others[request]
            self._sent[request] = now
        return taken

    def next_due(self) -> float:
        """Return when ``take`` may give more without an answer having come; infinity for never."""
        if self._suspects and self._sent and (self._others or self._tasks):
            return max(self._sent.values()) + PROBE_SECONDS
        return inf

    def connection_died(self) -> None:
        """Suspect what is unanswered: the broker may have dropped the connection over it."""
        alone = len(self._sent) == 1
        for request in self._sent:
            self._suspects[request] = self._suspects.get(request, 0) + alone

    def guilty(self) -> list[Request]:
        """Return the requests that the broker evidently cannot read."""
        return [request for request, deaths in self._suspects.items() if deaths >= DEATHS]

    def acquit(self) -> None:
        """Suspect nothing any more: the connection died for another reason."""
        self._suspects.clear()

    def _one_alone(self, now: float) -> list[Request]:
        if any(now < sent_at + PROBE_SECONDS for sent_at in self._sent.values()):
            return []
        for request in self._others:
            return [request]
        for task_id in self._tasks:
            return [("task", task_id)]
        return []

    def _forget_sent(self, request: Request) -> None:
        if self._sent.pop(request, None) is not None and request[0] == "task":
            self._sent_tasks -= 1
