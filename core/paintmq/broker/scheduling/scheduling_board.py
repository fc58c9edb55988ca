"""What routers see: backlogs, workers and estimates, combined into one read-only view."""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Sequence

from attrs import define, field

from paintmq.broker.scheduling.backlog import Backlog
from paintmq.broker.scheduling.estimates import Estimates
from paintmq.broker.scheduling.worker import Worker
from paintmq.broker.scheduling.worker_table import WorkerTable
from paintmq.model import ModelSpec
from paintmq.routing import BacklogView, WorkerView

_NONE: dict[int, Backlog] = {}


@define(eq=False)
class SchedulingBoard:
    """The BoardView of one engine, and its index of backlogs with tasks ready to start."""

    board: WorkerTable
    estimates: Estimates
    now: float = field(default=0.0, init=False)
    """The time of the decision being made."""
    version: int = field(default=0, init=False)
    _order: list[tuple[tuple[float, int], Backlog]] = field(factory=list, init=False)
    """Backlogs with tasks ready to start, by their first task."""
    _by_model: dict[str, dict[int, Backlog]] = field(
        factory=dict[str, dict[int, Backlog]], init=False
    )
    _specs: dict[str, ModelSpec] = field(factory=dict[str, ModelSpec], init=False)

    def changed(self, backlog: Backlog) -> None:
        """Update the index after the first tasks of a backlog changed."""
        key = backlog.look_at_front()
        if key == backlog.listed:
            return
        if backlog.listed is not None:
            del self._order[bisect_left(self._order, (backlog.listed,))]
        else:
            self.version += 1
            self._by_model.setdefault(backlog.model, {})[backlog.number] = backlog
            self._specs[backlog.model] = backlog.spec
        backlog.listed = key
        if key is not None:
            # Keys are unique, so backlogs themselves are never compared.
            insort(self._order, (key, backlog))
        else:
            self.version += 1
            of_model = self._by_model[backlog.model]
            del of_model[backlog.number]
            if not of_model:
                del self._by_model[backlog.model]

    def spec(self, model: str) -> ModelSpec | None:
        """Return the spec of a model that tasks have come for."""
        return self._specs.get(model)

    def backlogs_for(self, worker: Worker) -> Iterator[Backlog]:
        """Iterate over the backlogs whose first task the worker could take."""
        for _, backlog in self._order:
            if self.board.may_take(worker, backlog, now=self.now):
                yield backlog

    # ---- BoardView -----------------------------------------------------------------------------

    def backlogs(self) -> Iterator[Backlog]:
        return (backlog for _, backlog in self._order)

    def backlogs_of(self, model: str) -> Iterable[Backlog]:
        return self._by_model.get(model, _NONE).values()

    def models(self) -> Iterable[str]:
        return self._specs

    def fits(self, backlog: BacklogView, worker: WorkerView) -> bool:
        assert isinstance(backlog, Backlog)
        assert isinstance(worker, Worker)
        return self.board.may_take(worker, backlog, now=self.now)

    def offers(self, model: str, worker: WorkerView) -> bool:
        assert isinstance(worker, Worker)
        profile, spec = self.board.profiles[worker.profile], self._specs.get(model)
        return (
            model in profile.models
            and spec is not None
            and spec.resident_mb <= (worker.memory_mb or spec.resident_mb)
            and not worker.cooling(model, self.now)
        )

    def workers(self) -> Iterator[Worker]:
        return self.board.live()

    def workers_for(self, backlog: BacklogView) -> Iterator[Worker]:
        assert isinstance(backlog, Backlog)
        for worker in self.board.live_of(backlog.key.profiles):
            if self.board.may_take(worker, backlog, now=self.now):
                yield worker

    def free_workers(self, backlog: BacklogView) -> Iterator[Worker]:
        assert isinstance(backlog, Backlog)
        for worker in self.board.idle_of(backlog.key.profiles):
            if self.board.may_take(worker, backlog, now=self.now):
                yield worker

    def copies(self, model: str) -> Collection[Worker]:
        return self.board.copies(model).values()

    def idle_copies(self, model: str) -> Collection[Worker]:
        return self.board.idle_copies(model).values()

    def declared_seconds(self, backlog: BacklogView) -> float:
        assert isinstance(backlog, Backlog)
        assert backlog.head is not None
        return self.estimates.run_seconds(next(iter(backlog.head.runs.values())))

    def run_seconds(self, backlog: BacklogView, worker: WorkerView) -> float:
        assert isinstance(backlog, Backlog)
        assert backlog.head is not None
        return self.estimates.run_seconds(backlog.head.runs[worker.device], worker.device_name)

    def load_seconds(self, model: str, worker: WorkerView) -> float:
        spec = self._specs.get(model)
        if spec is None:
            return 0.0
        return self.estimates.load_seconds(spec, worker.device, worker.device_name)

    def least_load_seconds(self, model: str) -> float:
        spec = self._specs.get(model)
        return self.estimates.least_load_seconds(spec) if spec is not None else 0.0

    def mean_run_seconds(self, worker: WorkerView) -> float:
        return self.estimates.mean_run_seconds(worker.device, worker.device_name)

    def victims(self, model: str, worker: WorkerView) -> Sequence[str]:
        assert isinstance(worker, Worker)
        spec = self._specs.get(model)
        return worker.victims(spec.resident_mb) if spec is not None else ()

    def arrival_rate(self, model: str, *, now: float) -> float:
        return self.estimates.arrival_rate(model, now=now)
