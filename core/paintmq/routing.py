"""What a router author writes: a Router, over read-only views of what waits and who works.

Rule 1: the engine (``broker/scheduling``) filters, a router ranks. A router only ever sees pairs
that are possible, and cannot break a guarantee: who is excluded, draining or full, suspects that
run alone, tenants' windows and the order within one backlog are the engine's business.
Rule 2: a router is a pure function of what it is shown and of ``now``: no clock, no random numbers,
no I/O, no set iterated. It may keep what it learned between calls.
Rule 3: views are read-only and valid only during the call they were handed to.

The smallest router::

    class WarmFirst(Router):
        def score(self, backlog, worker, board, *, now):
            return 2.0 if worker.has(backlog.model) else 1.0
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from paintmq.model import ModelSpec
from paintmq.task import DeviceKind, PeerId, TaskId

__all__ = [
    "BacklogView",
    "BoardView",
    "QueueView",
    "ResidentView",
    "Router",
    "TaskView",
    "WorkerView",
]


class TaskView(Protocol):
    """A task that may be started now."""

    @property
    def id(self) -> TaskId: ...
    @property
    def rank(self) -> float:
        """Virtual arrival time: seconds, less one ageing period a level of priority."""
        ...

    @property
    def priority(self) -> int: ...
    @property
    def arrived_at(self) -> float:
        """When the engine was first given it to schedule."""
        ...

    @property
    def tenant(self) -> str: ...
    @property
    def queue(self) -> str: ...


class BacklogView(Protocol):
    """The waiting tasks of one model that the same workers can run, in order of rank.

    Where tasks of one model differ in who can run them (large images, say), it has several
    backlogs.
    """

    @property
    def model(self) -> str: ...
    @property
    def spec(self) -> ModelSpec: ...
    def __len__(self) -> int:
        """Return how many tasks may be started now."""
        ...

    @property
    def demand(self) -> int:
        """How many tasks wait, those beyond their tenant's window included."""
        ...

    def first(self, count: int = 1) -> Sequence[TaskView]:
        """Return the next tasks to start, in order; no more than 64."""
        ...

    @property
    def front_arrived_at(self) -> float:
        """When its first four tasks came, on average."""
        ...

    @property
    def front_priority(self) -> float:
        """The priority of its first four tasks, on average."""
        ...


class ResidentView(Protocol):
    """A model in a worker's memory."""

    @property
    def memory_mb(self) -> int: ...
    @property
    def pinned(self) -> bool:
        """Whether it is never evicted."""
        ...

    @property
    def used_at(self) -> float:
        """When a task of it was last given to the worker."""
        ...


class WorkerView(Protocol):
    """A connected worker."""

    @property
    def session(self) -> PeerId: ...
    @property
    def name(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def queue(self) -> str:
        """Its home queue."""
        ...

    @property
    def device(self) -> DeviceKind: ...
    @property
    def device_name(self) -> str: ...
    @property
    def idle(self) -> bool:
        """Whether it runs and holds nothing."""
        ...

    @property
    def idle_since(self) -> float:
        """When it last became idle, or joined."""
        ...

    @property
    def resident(self) -> Mapping[str, ResidentView]:
        """Models ready in its memory."""
        ...

    @property
    def loading(self) -> Mapping[str, float]:
        """Models on their way into its memory, and when they should be ready."""
        ...

    @property
    def memory_mb(self) -> int:
        """Memory for resident models; 0 when unknown."""
        ...

    @property
    def memory_used_mb(self) -> int:
        """Taken by resident and loading models."""
        ...

    def has(self, model: str) -> bool:
        """Return whether the model is resident."""
        ...

    def free_at(self, now: float) -> float:
        """Return when it should be done with all it holds; ``now`` when it holds nothing."""
        ...


class BoardView(Protocol):
    """Everything there is to know when a decision is taken."""

    def backlogs(self) -> Iterable[BacklogView]:
        """Return the backlogs with tasks that may be started, by the rank of their first task."""
        ...

    def backlogs_of(self, model: str) -> Iterable[BacklogView]:
        """Return those of one model."""
        ...

    @property
    def version(self) -> int:
        """A number that changes whenever a backlog gets its first task or loses its last."""
        ...

    def models(self) -> Iterable[str]:
        """Return the models that tasks have come for so far."""
        ...

    def fits(self, backlog: BacklogView, worker: WorkerView) -> bool:
        """Return whether the worker may run the backlog's tasks, busy or not."""
        ...

    def offers(self, model: str, worker: WorkerView) -> bool:
        """Return whether the worker can run the model and has not recently failed to load it."""
        ...

    def workers(self) -> Iterable[WorkerView]:
        """Return the connected workers that are not leaving, in order of arrival."""
        ...

    def workers_for(self, backlog: BacklogView) -> Iterable[WorkerView]:
        """Return those that may run the backlog's tasks, busy or not."""
        ...

    def free_workers(self, backlog: BacklogView) -> Iterable[WorkerView]:
        """Return those that could start its first task at once, longest idle first."""
        ...

    def copies(self, model: str) -> Collection[WorkerView]:
        """Return the workers that have the model or are loading it."""
        ...

    def idle_copies(self, model: str) -> Iterable[WorkerView]:
        """Return the idle workers that have the model, longest idle first."""
        ...

    def declared_seconds(self, backlog: BacklogView) -> float:
        """Return how long the backlog's first task should run where it runs best."""
        ...

    def run_seconds(self, backlog: BacklogView, worker: WorkerView) -> float:
        """Return how long the backlog's first task should run on the worker."""
        ...

    def mean_run_seconds(self, worker: WorkerView) -> float:
        """Return how long tasks of any model run on such a worker, on average."""
        ...

    def load_seconds(self, model: str, worker: WorkerView) -> float:
        """Return how long such a worker takes to load the model, whether it has it or not.

        Measured, once it was; 0 for a model that no task has come for.
        """
        ...

    def least_load_seconds(self, model: str) -> float:
        """Return how long the model takes to load where that is fastest."""
        ...

    def victims(self, model: str, worker: WorkerView) -> Sequence[str]:
        """Return the models the worker would evict to load this one: those worth least to it, by
        its uses of them, the seconds their loads take and the memory they fill.
        """
        ...

    def arrival_rate(self, model: str, *, now: float) -> float:
        """Return the recent arrivals per second for the model."""
        ...


@frozen(kw_only=True)
class QueueView:
    """A queue that could hold a task."""

    name: str
    device: DeviceKind | None
    """Of its connected workers; None when it has none."""
    workers: int
    """Connected workers that call it home and could run the task."""
    expected_work: float
    """Seconds of work that wait or run in it."""
    weight: float = 1.0
    """``queues.NAME.weight``: its share of the tasks that several queues could take."""


class Router(ABC):
    """A strategy: which waiting task a free worker takes next, and which queue gets a new task.

    A third party registers one by the hook ``paintmq_register_routers``. Its parameters, an attrs
    class, are checked when the configuration is read and handed to the factory.
    """

    recheck_after: float | None = None
    """Seconds after which pairs that ``score`` declined are worth asking about again although
    nothing happened; None: only an event of a task or worker can change its mind."""

    level_seconds: float = 0.0
    """Seconds of waiting that one level of priority is worth in the order of tasks, on top of the
    broker's own ``[timers] ageing``."""

    @abstractmethod
    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        """Return how good it is for the free worker to start the backlog's first tasks now.

        Higher is better; None lets the tasks wait rather than run there.
        """

    def choose_backlog(
        self, worker: WorkerView, waiting: Iterable[BacklogView], board: BoardView, *, now: float
    ) -> BacklogView | None:
        """Return what a free worker starts next; None leaves it idle.

        ``waiting`` yields the backlogs whose first task it could start, by the rank of that task.
        The highest score wins, then the task that came first.
        """
        best: BacklogView | None = None
        best_score = 0.0
        for backlog in waiting:
            score = self.score(backlog, worker, board, now=now)
            if score is not None and (best is None or score > best_score):
                best, best_score = backlog, score
        return best

    def choose_worker(
        self, backlog: BacklogView, free: Iterable[WorkerView], board: BoardView, *, now: float
    ) -> WorkerView | None:
        """Return which free worker starts the backlog's first task; None lets it wait.

        The highest score wins, then the worker that has been idle longest.
        """
        best: WorkerView | None = None
        best_score = 0.0
        for worker in free:
            score = self.score(backlog, worker, board, now=now)
            if score is not None and (best is None or score > best_score):
                best, best_score = worker, score
        return best

    def choose_queue(self, queues: Sequence[QueueView], *, now: float) -> str:
        """Return the name of the queue that takes a new task; all of them could hold it.

        Queues with workers of their own come before those without, then the shortest expected wait
        wins, where a queue of weight 2 is given twice the work of one of weight 1, then the greater
        weight, then the order of the configuration.
        """
        staffed = [queue for queue in queues if queue.workers]
        if not staffed:
            return max(queues, key=lambda queue: queue.weight).name

        def rank(queue: QueueView) -> tuple[float, float]:
            return queue.expected_work / (queue.workers * queue.weight), -queue.weight

        return min(staffed, key=rank).name

    def choose_preload(self, board: BoardView, *, now: float) -> tuple[WorkerView, str] | None:
        """Return a worker and a model it should load although no task was given to it."""
        return None

    def explain(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> Mapping[str, float | str]:
        """Return the terms of a score by name, for ``paintmq why``."""
        score = self.score(backlog, worker, board, now=now)
        return {"score": score} if score is not None else {"waits": "the router would rather wait"}
