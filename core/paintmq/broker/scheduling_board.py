"""What routers are shown: backlogs, workers and estimates, gathered into one read-only view."""

from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field

from paintmq.broker.backlog import Backlog
from paintmq.broker.estimates import Estimates
from paintmq.broker.worker_board import Worker, WorkerBoard
from paintmq.model import ModelSpec
from paintmq.routing import BacklogView, WorkerView


@define(eq=False)
class SchedulingBoard:
    """The BoardView of one engine, and its index of backlogs with tasks ready to start."""

    board: WorkerBoard
    estimates: Estimates
    now: float = field(default=0.0, init=False)
    """The time of the decision that is being taken."""
    _ready: dict[int, Backlog] = field(factory=dict[int, Backlog], init=False)
    _by_model: dict[str, dict[int, Backlog]] = field(
        factory=dict[str, dict[int, Backlog]], init=False
    )
    _specs: dict[str, ModelSpec] = field(factory=dict[str, ModelSpec], init=False)

    def changed(self, backlog: Backlog) -> None:
        """Keep the index right after the first tasks of a backlog changed."""
        if backlog.ready:
            if backlog.number not in self._ready:
                self._ready[backlog.number] = backlog
                self._by_model.setdefault(backlog.model, {})[backlog.number] = backlog
                self._specs[backlog.model] = backlog.spec
        elif self._ready.pop(backlog.number, None) is not None:
            of_model = self._by_model[backlog.model]
            del of_model[backlog.number]
            if not of_model:
                del self._by_model[backlog.model]

    def of_model(self, model: str) -> Iterable[Backlog]:
        """Return the model's backlogs that have tasks ready to start."""
        return list(self._by_model.get(model, {}).values())

    def spec(self, model: str) -> ModelSpec | None:
        """Return the spec of a model that tasks have come for."""
        return self._specs.get(model)

    # ---- BoardView -----------------------------------------------------------------------------

    def backlogs(self) -> Iterable[Backlog]:
        return self._ready.values()

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

    def copies(self, model: str) -> Iterable[Worker]:
        return self.board.copies(model).values()

    def run_seconds(self, backlog: BacklogView, worker: WorkerView) -> float:
        assert isinstance(backlog, Backlog)
        task = backlog.first()[0]
        return self.estimates.run_seconds(task.runs[worker.device], worker.device_name)

    def load_seconds(self, model: str, worker: WorkerView) -> float:
        spec = self._specs.get(model)
        if spec is None:
            return 0.0
        return self.estimates.load_seconds(spec, worker.device, worker.device_name)

    def mean_run_seconds(self, worker: WorkerView) -> float:
        return self.estimates.mean_run_seconds(worker.device, worker.device_name)

    def victims(self, model: str, worker: WorkerView) -> Sequence[str]:
        assert isinstance(worker, Worker)
        spec = self._specs.get(model)
        return worker.victims(spec.resident_mb) if spec is not None else ()

    def arrival_rate(self, model: str, *, now: float) -> float:
        return self.estimates.arrival_rate(model, now=now)
