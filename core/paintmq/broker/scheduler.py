"""The scheduling engine: what waits, who is free, and which worker takes what next.

Rule 1: the engine filters and keeps the guarantees; the router only ranks what is possible.
Rule 2: a decision is asked for when something happened that could allow one: a worker became free,
a task came to a backlog, or a time was reached. Nothing is scanned in between.
Rule 3: a router that raises or answers nonsense costs nobody anything: the task that came first is
taken instead, and the fault is counted.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush

from attrs import define, frozen

from paintmq.broker.backlog import Backlog, Waiting, WaitingTask
from paintmq.broker.backlog_table import BacklogTable
from paintmq.broker.estimates import Estimates, run_key
from paintmq.broker.explanation import Explanation
from paintmq.broker.filters import objection, profile_of
from paintmq.broker.scheduling_board import SchedulingBoard
from paintmq.broker.task_explainer import explain, waiting_for, why_none_could
from paintmq.broker.tenant_window import TenantWindow
from paintmq.broker.worker_board import PREFETCH_SECONDS, Holding, Worker, WorkerBoard
from paintmq.catalog import CheckedTask
from paintmq.model import Job
from paintmq.routing import QueueView, Router
from paintmq.task import DeviceKind, PeerId, TaskId
from paintmq.wire.messages import ModelLoaded, ModelUnloaded, ResidentModel, WorkerHello

__all__ = ["Explanation", "Pick", "Scheduler", "Waiting"]


PRELOAD_PATIENCE = 30.0
"""Seconds beyond twice its expected time after which a preload nobody confirmed is forgotten."""


@frozen
class Pick:
    """Give these tasks, as one batch, to this worker."""

    session: PeerId
    task_ids: tuple[TaskId, ...]


@define(eq=False, init=False)
class Scheduler:
    """Everything that waits and everyone who works; see the module's rules."""

    router: Router
    faults: int
    """Wrong answers of the router so far."""
    last_fault: str
    _board: WorkerBoard
    _table: BacklogTable
    _estimates: Estimates
    _view: SchedulingBoard
    _window: TenantWindow
    _rng: random.Random
    _queue_devices: Mapping[str, DeviceKind]
    _tasks: dict[TaskId, WaitingTask]
    """All that wait, also for a time or for their tenant's turn."""
    _added: int
    _work: dict[str, float]
    _delayed: list[tuple[float, int, WaitingTask]]
    _cooling: list[tuple[float, int, PeerId]]
    _preloads: list[tuple[float, PeerId, str]]
    """When an unconfirmed preload no longer counts."""
    _workers_to_ask: dict[PeerId, None]
    _backlogs_to_ask: dict[int, Backlog]
    _refused_at: float | None
    """When the router last let a possible pair pass; asked again ``recheck_after`` later."""

    def __init__(
        self,
        router: Router,
        *,
        tenant_window: int,
        rng: random.Random,
        queue_devices: Mapping[str, DeviceKind] | None = None,
    ) -> None:
        self.router = router
        self.faults = 0
        self.last_fault = ""
        self._board = WorkerBoard()
        self._table = BacklogTable(self._board.profiles)
        self._estimates = Estimates()
        self._view = SchedulingBoard(self._board, self._estimates)
        self._window = TenantWindow(tenant_window)
        self._rng = rng
        self._queue_devices = queue_devices or {}
        self._tasks = {}
        self._added = 0
        self._work = {}
        self._delayed = []
        self._cooling = []
        self._preloads = []
        self._workers_to_ask = {}
        self._backlogs_to_ask = {}
        self._refused_at = None

    # ---- tasks ---------------------------------------------------------------------------------

    def add(self, waiting: Waiting, *, now: float) -> None:
        """Let a task wait for a worker.

        Raises:
            ValueError: it waits already.
        """
        task_id = waiting.request.id
        self._view.now = now
        if task_id in self._tasks:
            raise ValueError(f"task {task_id} waits already")
        task = self._make_task(waiting, now)
        self._tasks[task_id] = task
        self._add_work(task, task.work)
        if waiting.not_before > now:
            heappush(self._delayed, (waiting.not_before, task.key[1], task))
        else:
            self._line_up(task)
            self._estimates.arrived(waiting.checked.spec.name, now=now)

    def remove(self, task_id: TaskId) -> None:
        """Forget a waiting task: it was cancelled, or expired. Unknown ids are ignored."""
        task = self._tasks.pop(task_id, None)
        if task is None:
            return
        self._add_work(task, -task.work)
        self._take_out(task)
        self._admit(self._window.leave(task))

    def is_waiting(self, task_id: TaskId) -> bool:
        return task_id in self._tasks

    def _make_task(self, waiting: Waiting, now: float) -> WaitingTask:
        checked, request = waiting.checked, waiting.request
        runs = {device: run_key(checked.spec, job) for device, job in checked.jobs.items()}
        self._added += 1
        preferred = next(iter(runs.values()))
        return WaitingTask(
            waiting=waiting,
            id=request.id,
            key=(self._rank(waiting), self._added),
            priority=request.priority,
            tenant=request.tenant,
            queue=waiting.queue,
            arrived_at=now,
            batch_keys=_batch_keys(checked) if checked.spec.max_batch > 1 else {},
            runs=runs,
            work=self._estimates.run_seconds(preferred),
        )

    def _rank(self, waiting: Waiting) -> float:
        """Return the task's virtual arrival time, by what a level is worth to the router."""
        return waiting.rank - waiting.request.priority * self.router.level_seconds

    def _line_up(self, task: WaitingTask) -> None:
        """Put a task whose time has come into its backlog, or park it there."""
        backlog = self._table.backlog_for(task.waiting)
        task.backlog = backlog
        if not self._board.has_live(backlog.key.profiles):
            # Nobody could take it, so it must not use up its tenant's window.
            self._into_ready(backlog, task)
            return
        is_in, displaced = self._window.enter(task)
        if displaced is not None:
            assert displaced.backlog is not None
            self._out_of_ready(displaced.backlog, displaced)
            displaced.backlog.parked.push(displaced)
        if is_in:
            self._into_ready(backlog, task)
        else:
            backlog.parked.push(task)
            self._backlogs_to_ask[backlog.number] = backlog

    def _admit(self, task: WaitingTask | None) -> None:
        """Let a parked task of a tenant take part, as another left the window."""
        if task is not None:
            assert task.backlog is not None
            task.backlog.parked.remove(task)
            # It stands behind whoever came while it was parked, or a tenant that dumps hundreds of
            # tasks would still be ahead of everybody else for as long as they last.
            parked_for = max(0.0, self._view.now - task.arrived_at)
            task.key = (self._rank(task.waiting) + parked_for, task.key[1])
            self._into_ready(task.backlog, task)

    def _into_ready(self, backlog: Backlog, task: WaitingTask) -> None:
        if backlog.ready.push(task):
            self._view.changed(backlog)
        self._backlogs_to_ask[backlog.number] = backlog

    def _out_of_ready(self, backlog: Backlog, task: WaitingTask) -> None:
        if backlog.ready.remove(task):
            self._view.changed(backlog)

    def _take_out(self, task: WaitingTask) -> None:
        """Take a task out of the backlog it is in, if any."""
        backlog, task.backlog = task.backlog, None
        if backlog is None:
            return
        if task in backlog.ready:
            self._out_of_ready(backlog, task)
        else:
            backlog.parked.remove(task)
        if not backlog.ready and not backlog.parked:
            self._table.drop(backlog)
            self._backlogs_to_ask.pop(backlog.number, None)

    # ---- workers -------------------------------------------------------------------------------

    def worker_joined(self, session: PeerId, hello: WorkerHello, *, now: float) -> None:
        """Add a worker; one that was known by this session starts afresh."""
        self._view.now = now
        self.worker_left(session, now=now)
        profile = profile_of(hello)
        if self._board.number_of(profile) is None:
            self._board.add_profile(profile)
            for task in self._table.add_profile(profile):
                self._line_up_again(task)
        worker = self._board.join(session, hello, now=now)
        if self._board.live_in(worker.profile) == 1:
            self._reconsider_windows(worker.profile)
        self._ask_about(worker)

    def worker_left(self, session: PeerId, *, now: float) -> None:
        """Forget a worker and all it holds. Unknown sessions are ignored."""
        self._view.now = now
        worker = self._board.leave(session)
        if worker is None:
            return
        self._workers_to_ask.pop(session, None)
        for holding in worker.holdings:
            for task in holding.tasks.values():
                self._end_hold(task)
        self._after_departure(worker)

    def worker_draining(self, session: PeerId, *, now: float) -> None:
        """Give the worker nothing more."""
        worker = self._board.get(session)
        if worker is not None and not worker.draining:
            self._board.drain(worker)
            self._workers_to_ask.pop(session, None)
            self._after_departure(worker)

    def worker_name(self, session: PeerId) -> str:
        worker = self._board.get(session)
        return worker.name if worker is not None else ""

    def resident_models(self, session: PeerId) -> Sequence[str]:
        """Return the models the worker has in memory."""
        worker = self._board.get(session)
        return list(worker.resident) if worker is not None else []

    def model_loaded(self, session: PeerId, message: ModelLoaded, *, now: float) -> None:
        """Learn that a model is ready, and how long that took."""
        worker = self._board.get(session)
        if worker is None:
            return
        item = ResidentModel(
            model=message.model, memory_mb=message.memory_mb, pinned=message.pinned
        )
        self._board.resident(worker, item, now=now)
        self._estimates.loaded(message.model, worker.device, worker.device_name, message.seconds)
        self._ask_about(worker)

    def model_unloaded(self, session: PeerId, message: ModelUnloaded, *, now: float) -> None:
        """Learn that a model is gone, or could not be loaded."""
        worker = self._board.get(session)
        if worker is None:
            return
        self._board.unloaded(worker, message.model)
        if message.error:
            until = self._board.failed_to_load(worker, message.model, now=now)
            heappush(self._cooling, (until, worker.number, session))
        self._ask_all_about(message.model)

    def _ask_about(self, worker: Worker) -> None:
        if not worker.draining:
            self._workers_to_ask[worker.session] = None

    def _ask_all_about(self, model: str) -> None:
        """Ask again for all backlogs of a model: who should take them has changed."""
        for backlog in self._view.backlogs_of(model):
            self._backlogs_to_ask[backlog.number] = backlog

    def _line_up_again(self, task: WaitingTask) -> None:
        self._take_out(task)
        self._admit(self._window.leave(task))
        self._line_up(task)

    def _reconsider_windows(self, profile: int) -> None:
        """Re-enter tenants' tasks that only workers of this profile could run."""
        for backlog in self._table:
            if backlog.key.profiles >> profile & 1:
                for task in sorted(backlog.tasks(), key=lambda task: task.key):
                    if task.tenant:
                        self._line_up_again(task)

    def _after_departure(self, worker: Worker) -> None:
        if not self._board.live_in(worker.profile):
            self._reconsider_windows(worker.profile)
        for backlog in self._view.backlogs():
            # Waiting for this worker has ended, or an excluded one is the only one left.
            if backlog.key.profiles >> worker.profile & 1:
                self._backlogs_to_ask[backlog.number] = backlog

    # ---- attempts ------------------------------------------------------------------------------

    def started(self, session: PeerId, task_id: TaskId, *, loading: bool, now: float) -> None:
        """Learn that the worker has begun with the task: loading its model, or running."""
        worker = self._board.get(session)
        if worker is None:
            return
        for holding in worker.holdings:
            if task_id not in holding.tasks:
                continue
            spec = holding.tasks[task_id].waiting.checked.spec
            if loading:
                seconds = self._estimates.load_seconds(spec, worker.device, worker.device_name)
                self._board.will_load(worker, spec.name, spec.resident_mb, now + seconds)
            else:
                if holding.started_at is None:
                    holding.started_at = now
                if not worker.has(spec.name):
                    item = ResidentModel(model=spec.name, memory_mb=spec.resident_mb)
                    self._board.resident(worker, item, now=now)

    def claimed(self, session: PeerId, waiting: Waiting, *, now: float) -> None:
        """Note that the worker still holds an attempt at this task, after a reconnect."""
        worker = self._board.get(session)
        if worker is None:
            return
        self.remove(waiting.request.id)
        task = self._make_task(waiting, now)
        self._add_work(task, task.work)
        holding = self._new_holding(worker, task, [task])
        holding.started_at = now
        self._workers_to_ask.pop(session, None)

    def released(self, session: PeerId, task_id: TaskId, *, ran: float | None, now: float) -> None:
        """Give the worker's credit back; ``ran``: the seconds it took, if the attempt succeeded."""
        worker = self._board.get(session)
        if worker is None:
            return
        self._view.now = now
        task = self._board.take_back(worker, task_id, now=now)
        if task is None:
            return
        if ran is not None and worker.device in task.runs:
            self._estimates.ran(task.runs[worker.device], worker.device_name, ran)
        self._end_hold(task)
        self._ask_about(worker)

    def _end_hold(self, task: WaitingTask) -> None:
        self._add_work(task, -task.work)
        self._admit(self._window.leave(task))

    def _new_holding(self, worker: Worker, task: WaitingTask, tasks: list[WaitingTask]) -> Holding:
        device = worker.device
        expected = sum(
            self._estimates.run_seconds(item.runs[device], worker.device_name)
            for item in tasks
            if device in item.runs
        )
        model = task.waiting.checked.spec.name
        holding = Holding(model, device, task.waiting.suspect, expected)
        holding.tasks.update((item.id, item) for item in tasks)
        self._board.give(worker, holding)
        return holding

    # ---- decisions -----------------------------------------------------------------------------

    def next_pick(self, *, now: float) -> Pick | None:
        """Return the next batch to give away, or None when nothing more can be started now.

        The tasks wait no longer and occupy one credit of the worker until they are released. Call
        it again until it returns None.
        """
        self._view.now = now
        self._wake(now)
        while self._workers_to_ask:
            session = next(iter(self._workers_to_ask))
            pick = self._pick_for_worker(session, now)
            if pick is not None:
                return pick
            del self._workers_to_ask[session]
        while self._backlogs_to_ask:
            number = next(iter(self._backlogs_to_ask))
            pick = self._pick_for_backlog(self._backlogs_to_ask[number], now)
            if pick is not None:
                return pick
            self._backlogs_to_ask.pop(number, None)
        return None

    def next_wakeup(self, *, now: float) -> float | None:
        """Return when ``next_pick`` is next worth calling although nothing happens; None: never."""
        times = [heap[0][0] for heap in (self._delayed, self._cooling, self._preloads) if heap]
        again_at = self._recheck_at()
        if again_at is not None:
            times.append(again_at)
        return min(times, default=None)

    def next_preload(self, *, now: float) -> tuple[PeerId, str] | None:
        """Return a worker and a model it should load ahead of its tasks; None: no more for now."""
        self._view.now = now
        try:
            choice = self.router.choose_preload(self._view, now=now)
        except Exception as error:  # noqa: BLE001 -- a plugin's code; see rule 3
            self._note_fault(error)
            return None
        if choice is None:
            return None
        view, model = choice
        worker = self._board.get(view.session)
        spec = self._view.spec(model)
        if worker is None or spec is None or worker.has(model) or model in worker.loading:
            return None
        seconds = self._view.load_seconds(model, worker)
        ready_at = worker.free_at(now) + seconds
        self._board.will_load(worker, model, spec.resident_mb, ready_at)
        heappush(self._preloads, (ready_at + seconds + PRELOAD_PATIENCE, worker.session, model))
        return worker.session, model

    def _wake(self, now: float) -> None:
        """Act on times that were reached."""
        while self._delayed and self._delayed[0][0] <= now:
            task = heappop(self._delayed)[2]
            if self._tasks.get(task.id) is task:
                self._line_up(task)
        while self._cooling and self._cooling[0][0] <= now:
            worker = self._board.get(heappop(self._cooling)[2])
            if worker is not None:
                self._ask_about(worker)
        while self._preloads and self._preloads[0][0] <= now:
            _, session, model = heappop(self._preloads)
            worker = self._board.get(session)
            if worker is not None and model in worker.loading and worker.idle:
                self._board.unloaded(worker, model)
        again_at = self._recheck_at()
        if again_at is not None and again_at <= now:
            self._refused_at = None
            for backlog in self._view.backlogs():
                self._backlogs_to_ask[backlog.number] = backlog

    def _recheck_at(self) -> float | None:
        """Return when the router is to be asked again for what it refused."""
        if self._refused_at is None or self.router.recheck_after is None:
            return None
        return self._refused_at + self.router.recheck_after

    def _pick_for_worker(self, session: PeerId, now: float) -> Pick | None:
        worker = self._board.get(session)
        if worker is None or worker.draining:
            return None
        if not worker.idle:
            return self._prefetch(worker, now)
        chosen = self._ask_router_for_worker(worker, now)
        if chosen is None and self._unpark_for(worker, now):
            # Rather than leave it idle, a task beyond its tenant's window was let in.
            chosen = self._ask_router_for_worker(worker, now)
        return self._take(chosen, worker, now) if chosen is not None else None

    def _ask_router_for_worker(self, worker: Worker, now: float) -> Backlog | None:
        try:
            chosen = self.router.choose_backlog(
                worker, self._view.backlogs_for(worker), self._view, now=now
            )
            if chosen is not None:
                if isinstance(chosen, Backlog) and chosen.ready and self._view.fits(chosen, worker):
                    return chosen
                raise LookupError(f"it may not take {chosen.model}")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 -- a plugin's code; see rule 3
            self._note_fault(error)
            possible = self._view.backlogs_for(worker)
            return min(possible, key=lambda item: item.first()[0].key, default=None)
        if self._refused_at is None and next(self._view.backlogs_for(worker), None) is not None:
            self._refused_at = now
        return None

    def _pick_for_backlog(self, backlog: Backlog, now: float) -> Pick | None:
        free = self._view.free_workers(backlog)
        first = next(free, None)
        if first is None:
            return None
        if not backlog.ready:
            if not backlog.parked:
                return None
            self._unpark(backlog.parked.first()[0])
        candidates = _chain(first, free)
        try:
            chosen = self.router.choose_worker(backlog, candidates, self._view, now=now)
            if chosen is None:
                self._refused_at = now if self._refused_at is None else self._refused_at
                return None
            worker = self._board.get(chosen.session)
            if worker is None or not worker.idle:
                raise LookupError(f"{chosen.name} is not free")  # noqa: TRY301 -- handled as one
            if not self._board.may_take(worker, backlog, now=now):
                raise LookupError(f"{chosen.name} may not take it")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 -- a plugin's code; see rule 3
            self._note_fault(error)
            worker = first
        return self._take(backlog, worker, now)

    def _prefetch(self, worker: Worker, now: float) -> Pick | None:
        """Give a briefly busy worker its next short task of a model it has, if none is idle."""
        if not worker.may_prefetch(now):
            return None
        best: Backlog | None = None
        for model in worker.resident:
            for backlog in self._view.backlogs_of(model):
                if (
                    backlog.ready
                    and not backlog.key.suspect
                    and self._board.may_take(worker, backlog, now=now)
                    and not worker.holds(backlog.first()[0].id)
                    and self._view.run_seconds(backlog, worker) <= PREFETCH_SECONDS
                    and next(self._view.free_workers(backlog), None) is None
                    and (best is None or backlog.first()[0].key < best.first()[0].key)
                ):
                    best = backlog
        return self._take(best, worker, now) if best is not None else None

    def _take(self, backlog: Backlog, worker: Worker, now: float) -> Pick:
        """Bind the backlog's first batch to the worker."""
        tasks = self._batch(backlog, worker, now)
        spec = backlog.spec
        if worker.has(spec.name):
            worker.resident[spec.name].used_at = now
        else:
            seconds = self._estimates.load_seconds(spec, worker.device, worker.device_name)
            self._board.will_load(worker, spec.name, spec.resident_mb, now + seconds)
        for task in tasks:
            del self._tasks[task.id]
            self._window.started(task)
            self._take_out(task)
        self._new_holding(worker, tasks[0], tasks)
        self._workers_to_ask.pop(worker.session, None)
        if worker.may_prefetch(now):
            self._ask_about(worker)
        return Pick(worker.session, tuple(task.id for task in tasks))

    def _batch(self, backlog: Backlog, worker: Worker, now: float) -> list[WaitingTask]:
        first = backlog.first()[0]
        key = first.batch_keys.get(worker.device)
        if key is None or backlog.key.suspect:
            return [first]
        alike = [
            task
            for task in backlog.first(64)
            if task.batch_keys.get(worker.device) == key and not worker.holds(task.id)
        ]
        # Leave their share to other idle workers that have the model too.
        sharers = sum(
            other.idle and self._board.may_take(other, backlog, now=now)
            for other in self._board.copies(backlog.model).values()
            if other is not worker
        )
        return alike[: min(backlog.spec.max_batch, -(-len(alike) // (sharers + 1)))]

    def _unpark_for(self, worker: Worker, now: float) -> bool:
        """Let the best parked task in that an otherwise idle worker could take, if any."""
        parked = (
            backlog
            for backlog in self._table
            if backlog.parked and self._board.may_take(worker, backlog, now=now)
        )
        best = min(parked, key=lambda backlog: backlog.parked.first()[0].key, default=None)
        if best is None:
            return False
        self._unpark(best.parked.first()[0])
        return True

    def _unpark(self, task: WaitingTask) -> None:
        assert task.backlog is not None
        self._window.started(task)
        task.backlog.parked.remove(task)
        self._into_ready(task.backlog, task)

    def _note_fault(self, error: Exception) -> None:
        self.faults += 1
        self.last_fault = f"{type(error).__name__}: {error}"

    # ---- queues --------------------------------------------------------------------------------

    def choose_queue(self, checked: CheckedTask, candidates: Sequence[str], *, now: float) -> str:
        """Return which of the candidates, all of which could hold the task, takes it."""
        views = [self._queue_view(name, checked) for name in candidates]
        if len(checked.jobs) > 1:
            connected = {
                worker.device
                for worker in self._board.live()
                if not objection(self._board.profiles[worker.profile], checked)
            }
            views = [view for view in views if view.device in connected] or views
        try:
            chosen = self.router.choose_queue(views, now=now)
        except Exception as error:  # noqa: BLE001 -- a plugin's code; see rule 3
            self._note_fault(error)
            return candidates[0]
        return chosen if chosen in candidates else candidates[0]

    def expected_work(self, queue: str) -> float:
        """Return the seconds of work that wait or run in the queue."""
        return max(0.0, self._work.get(queue, 0.0))

    def _queue_view(self, name: str, checked: CheckedTask) -> QueueView:
        home = [
            worker
            for worker in self._board.live()
            if worker.queue == name and not objection(self._board.profiles[worker.profile], checked)
        ]
        device = home[0].device if home else None
        return QueueView(
            name=name,
            device=self._queue_devices.get(name, device),
            workers=len(home),
            expected_work=self.expected_work(name),
        )

    def _add_work(self, task: WaitingTask, seconds: float) -> None:
        self._work[task.queue] = self._work.get(task.queue, 0.0) + seconds

    # ---- answers -------------------------------------------------------------------------------

    def could_run(self, checked: CheckedTask) -> bool:
        """Return whether a connected worker could run the task."""
        return self._board.has_live(self._table.mask(checked))

    def why_none_could(self, checked: CheckedTask) -> str:
        """Return what every connected worker lacks to run the task, in one line."""
        return why_none_could(self._board, checked)

    def waiting_for(self, task_id: TaskId, *, now: float) -> str:
        """Return what the task waits for, in words; empty when a connected worker will take it."""
        task = self._tasks.get(task_id)
        return waiting_for(self._board, task, now=now) if task is not None else ""

    def explain(self, task_id: TaskId, *, now: float) -> Explanation:
        """Return everything that stands between a waiting task and a worker.

        Raises:
            KeyError: the task does not wait.
        """
        self._view.now = now
        name = type(self.router).__name__
        return explain(self._view, self.router, name, self._tasks[task_id], now=now)

    # ---- care ----------------------------------------------------------------------------------

    def replace_router(self, router: Router, *, now: float) -> None:
        """Let another router decide from now on; nothing that waits or runs is touched."""
        in_line = [task for backlog in self._table for task in backlog.tasks()]
        for task in in_line:
            self._take_out(task)
            self._window.leave(task)
        self.router = router
        self._refused_at = None
        for task in self._tasks.values():
            task.key = (self._rank(task.waiting), task.key[1])
        for task in in_line:
            self._line_up(task)
        for worker in self._board.live():
            self._ask_about(worker)
        for backlog in self._table:
            self._backlogs_to_ask[backlog.number] = backlog

    def check_invariants(self) -> None:
        """Raise AssertionError if the engine contradicts itself; for tests and simulation."""
        self._board.check()
        self._window.check()
        waiting = {task.id for backlog in self._table for task in backlog.tasks()}
        delayed = {task.id for _, _, task in self._delayed if self._tasks.get(task.id) is task}
        held = [t for w in self._board.all() for h in w.holdings for t in h.tasks.values()]
        assert not waiting & {id_ for id_ in delayed if self._tasks[id_].backlog is None}
        assert waiting | delayed == set(self._tasks), "a task waits nowhere"
        for backlog in self._table:
            assert backlog.ready or backlog.parked, f"{backlog.key} is empty but kept"
            assert (backlog in self._view.backlogs()) == bool(backlog.ready)
            assert all(task.backlog is backlog for task in backlog.tasks())
        for queue in self._work:
            tasks = [task for task in [*self._tasks.values(), *held] if task.queue == queue]
            total = sum(task.work for task in tasks)
            assert abs(total - self._work[queue]) <= 1e-6 * (1 + total), f"work of {queue} is off"


def _batch_keys(checked: CheckedTask) -> dict[DeviceKind, str | None]:
    return {device: _batch_key(checked, job) for device, job in checked.jobs.items()}


def _batch_key(checked: CheckedTask, job: Job) -> str | None:
    if checked.spec.batch_key is None:
        return None
    try:
        return checked.spec.batch_key(job)
    except Exception:  # noqa: BLE001 -- a plugin's function: without a key it runs alone
        return None


def _chain(first: Worker, rest: Iterator[Worker]) -> Iterator[Worker]:
    yield first
    yield from rest
