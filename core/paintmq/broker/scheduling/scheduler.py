"""The scheduling engine: what waits, who is free, and which worker takes what next.

Rule 1: the engine filters and keeps the guarantees; the router only ranks what is possible.
Rule 2: it is a pure function of what it is told and when: no clock, no I/O, no set iterated.

The parts: ``pending_tasks.py`` (tasks), ``worker_table.py`` (workers), ``decisions.py`` (who takes
what), ``estimates.py`` (how long it takes), ``task_explainer.py`` (why something waits).
"""

import random
from collections.abc import Mapping, Sequence

from paintmq.broker.scheduling.backlog import Waiting
from paintmq.broker.scheduling.decisions import Decisions, Pick
from paintmq.broker.scheduling.estimates import Estimates
from paintmq.broker.scheduling.explanation import Explanation
from paintmq.broker.scheduling.filters import objection, profile_of
from paintmq.broker.scheduling.guarded_router import GuardedRouter
from paintmq.broker.scheduling.pending_tasks import PendingTasks
from paintmq.broker.scheduling.scheduling_board import SchedulingBoard
from paintmq.broker.scheduling.task_explainer import explain, waiting_for, why_none_could
from paintmq.broker.scheduling.task_forms import QueueChoice, TaskForms
from paintmq.broker.scheduling.tenant_window import TenantWindow
from paintmq.broker.scheduling.worker_table import WorkerTable
from paintmq.plugin.catalog import CheckedTask
from paintmq.routing import QueueView, Router
from paintmq.task import DeviceKind, PeerId, TaskId
from paintmq.wire.messages import ModelLoaded, ModelUnloaded, ResidentModel, WorkerHello

__all__ = ["Explanation", "Pick", "Scheduler", "Waiting"]

ALIKE_SECONDS = 0.01
"""Of work that one choice of a queue may bring there."""


class Scheduler:
    """Everything that waits and everyone who works."""

    def __init__(
        self,
        router: Router,
        *,
        tenant_window: int,
        rng: random.Random,
        queue_devices: Mapping[str, DeviceKind] | None = None,
        queue_weights: Mapping[str, float] | None = None,
    ) -> None:
        """Create an engine without tasks or workers.

        ``rng`` is for future routers; the built-in ones break every tie by a fixed order.
        """
        self._board = WorkerTable()
        self._estimates = Estimates()
        self._view = SchedulingBoard(self._board, self._estimates)
        window = TenantWindow(tenant_window)
        self._forms = TaskForms()
        self._router = GuardedRouter(router, self._view)
        level_seconds = self._router.level_seconds()
        self._line = PendingTasks(self._board, self._view, window, self._forms, level_seconds)
        self._decisions = Decisions(self._router, self._board, self._view, self._line)
        self._rng = rng
        self._queue_devices = queue_devices or {}
        self._queue_weights = queue_weights or {}
        self._settings_edition = 0
        """Counts the changes of what else queues are chosen by."""

    @property
    def router(self) -> Router:
        return self._router.router

    @property
    def faults(self) -> int:
        """Invalid answers of the router so far."""
        return self._router.faults

    @property
    def estimate_error(self) -> float:
        """How far run times differ from what was expected of them: 0 is exact, 1 is far off."""
        return self._estimates.error

    @property
    def last_fault(self) -> str:
        return self._router.last_fault

    # ---- tasks ---------------------------------------------------------------------------------

    def add(self, waiting: Waiting, *, now: float) -> None:
        """Add a task that waits for a worker.

        Raises:
            ValueError: it waits already.
        """
        self._line.add(waiting, now=now)

    def remove(self, task_id: TaskId) -> None:
        """Remove a waiting task that was cancelled or has expired. Unknown ids are ignored."""
        self._line.remove(task_id)

    def is_waiting(self, task_id: TaskId) -> bool:
        return task_id in self._line.tasks

    # ---- workers -------------------------------------------------------------------------------

    def worker_joined(
        self,
        session: PeerId,
        hello: WorkerHello,
        *,
        now: float,
        queues: Sequence[str] | None = None,
    ) -> None:
        """Add a worker; a session that is already known starts afresh.

        ``queues``: those whose tasks it may run; None: all.
        """
        self._view.now = now
        self.worker_left(session, now=now)
        profile = profile_of(hello, queues)
        if self._board.number_of(profile) is None:
            self._board.add_profile(profile)
            self._line.add_profile(profile)
        worker = self._board.join(session, hello, profile, now=now)
        if self._board.live_in(worker.profile) == 1:
            self._line.reconsider_windows(worker.profile)
        self._decisions.ask_about(worker)

    @property
    def kinds(self) -> int:
        """Number of worker kinds seen so far; workers of one kind share models and hardware."""
        return len(self._board.profiles)

    def knows_kind(self, hello: WorkerHello, queues: Sequence[str] | None = None) -> bool:
        """Return whether a worker with this profile was ever connected."""
        return self._board.number_of(profile_of(hello, queues)) is not None

    def worker_left(self, session: PeerId, *, now: float) -> None:
        """Remove a worker and everything it holds. Unknown sessions are ignored."""
        self._view.now = now
        worker = self._board.leave(session)
        if worker is None:
            return
        self._decisions.stop_asking_about(session)
        for holding in worker.holdings:
            for task in holding.tasks.values():
                self._line.end_hold(task)
        self._line.after_departure(worker)

    def worker_draining(self, session: PeerId, trouble: str = "", *, now: float) -> None:
        """Give the worker no more tasks: it is leaving, or in trouble until it reconnects."""
        worker = self._board.get(session)
        if worker is None:
            return
        worker.trouble = trouble
        if not worker.draining:
            self._board.drain(worker)
            self._decisions.stop_asking_about(session)
            self._line.after_departure(worker)

    def resident_models(self, session: PeerId) -> Sequence[str]:
        """Return the models the worker has in memory."""
        worker = self._board.get(session)
        return list(worker.resident) if worker is not None else []

    def model_loaded(self, session: PeerId, message: ModelLoaded, *, now: float) -> None:
        """Record that the worker loaded a model, and how long that took."""
        worker = self._board.get(session)
        if worker is None:
            return
        item = ResidentModel(
            model=message.model, memory_mb=message.memory_mb, pinned=message.pinned
        )
        self._board.resident(worker, item, now=now)
        worker.took(message.model, message.seconds)
        self._estimates.loaded(message.model, worker.device, worker.device_name, message.seconds)
        self._decisions.ask_about(worker)

    def model_unloaded(self, session: PeerId, message: ModelUnloaded, *, now: float) -> None:
        """Record that a model left the worker's memory or could not be loaded."""
        worker = self._board.get(session)
        if worker is None:
            return
        self._board.unloaded(worker, message.model)
        if message.error:
            until = self._board.failed_to_load(worker, message.model, now=now)
            self._decisions.cool_off(worker, message.model, until)
        self._line.ask_about_model(message.model)

    # ---- attempts ------------------------------------------------------------------------------

    def started(self, session: PeerId, task_id: TaskId, *, loading: bool, now: float) -> None:
        """Record that the worker began with the task: loading its model, or running it."""
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
        """Record that a worker that reconnected still holds an attempt at this task."""
        worker = self._board.get(session)
        if worker is None:
            return
        self.remove(waiting.request.id)
        task = self._line.make_task(waiting, now)
        self._line.add_work(task, task.work)
        holding = self._decisions.bind(worker, [task])
        holding.started_at, holding.claimed = now, True
        self._decisions.stop_asking_about(session)

    def released(self, session: PeerId, task_id: TaskId, *, ran: float | None, now: float) -> None:
        """Return the worker's credit; ``ran``: the seconds it took, if the attempt succeeded."""
        worker = self._board.get(session)
        if worker is None:
            return
        self._view.now = now
        task = self._board.take_back(worker, task_id, now=now)
        if task is None:
            return
        if ran is not None and worker.device in task.runs:
            self._estimates.ran(task.runs[worker.device], worker.device_name, ran)
        self._line.end_hold(task)
        self._decisions.ask_about(worker)

    def longest_hold(self, session: PeerId) -> float:
        """Return the seconds in which the worker must have ended all that it holds.

        It loads and runs one batch after the other; a batch may be split and run one by one.
        """
        worker = self._board.get(session)
        checked = [
            task.waiting.checked
            for holding in (worker.holdings if worker is not None else ())
            for task in holding.tasks.values()
        ]
        return sum(each.spec.load_limit + each.run_limit for each in checked)

    # ---- decisions -----------------------------------------------------------------------------

    def next_pick(self, *, now: float) -> Pick | None:
        """Return the next batch to give away, or None when nothing more can be started now.

        The tasks wait no longer and occupy one credit of the worker until they are released. Call
        it again until it returns None.
        """
        return self._decisions.next_pick(now=now)

    def next_wakeup(self, *, now: float) -> float | None:
        """Return when ``next_pick`` is due even if nothing happens until then; None: never."""
        return self._decisions.next_wakeup()

    def next_preload(self, *, now: float) -> tuple[PeerId, str] | None:
        """Return a worker and a model it should load ahead of its tasks; None: no more for now."""
        return self._decisions.next_preload(now=now)

    def replace_router(self, router: Router, *, now: float) -> None:
        """Use another router from now on; waiting and running tasks are not touched."""
        self._view.now = now
        self._settings_edition += 1
        self._decisions.replace_router(router)
        self._line.rank_anew(self._router.level_seconds())
        self._line.ask_all()

    # ---- queues --------------------------------------------------------------------------------

    def choose_queue(self, checked: CheckedTask, candidates: Sequence[str], *, now: float) -> str:
        """Return which of the candidates, all able to hold the task, gets it.

        A choice stands for the tasks like it that come at the same time, as long as they are little
        work together: the router would have to be shown all queues anew for each of them.
        """
        form = self._forms.of(checked)
        under = now, self._board.edition, self._settings_edition, *candidates
        if form.choice is not None and form.choice.under == under and form.choice.left > 0:
            form.choice.left -= 1
            return form.choice.queue
        queue = self._choose_queue(checked, candidates, now)
        work = self._estimates.run_seconds(next(iter(form.runs.values())))
        form.choice = QueueChoice(under, queue, int(ALIKE_SECONDS / work))
        return queue

    def _choose_queue(self, checked: CheckedTask, candidates: Sequence[str], now: float) -> str:
        if self._board.any_restricted:
            candidates = [name for name in candidates if self.could_run(checked, (name,))] or (
                candidates
            )
        views = [self._queue_view(name, checked) for name in candidates]
        if len(checked.jobs) > 1:
            connected = {
                worker.device
                for worker in self._board.live()
                if not objection(self._board.profiles[worker.profile], checked, candidates)
            }
            views = [view for view in views if view.device in connected] or views
        return self._router.choose_queue(views, now=now)

    def set_queues(
        self, *, devices: Mapping[str, DeviceKind], weights: Mapping[str, float]
    ) -> None:
        """Learn of other queues, or of other weights."""
        self._queue_devices, self._queue_weights = devices, weights
        self._settings_edition += 1

    def expected_work(self, queue: str) -> float:
        """Return the seconds of work waiting or running in the queue."""
        return max(0.0, self._line.work.get(queue, 0.0))

    def _queue_view(self, name: str, checked: CheckedTask) -> QueueView:
        form, edition = self._forms.of(checked), self._board.edition
        known = form.homes.get(name)
        if known is None or known[0] != edition:
            home = [
                worker
                for worker in self._board.live()
                if worker.queue == name
                and not objection(self._board.profiles[worker.profile], checked, (name,))
            ]
            known = edition, home[0].device if home else None, len(home)
            form.homes[name] = known
        return QueueView(
            name=name,
            device=self._queue_devices.get(name, known[1]),
            workers=known[2],
            expected_work=self.expected_work(name),
            weight=self._queue_weights.get(name, 1.0),
        )

    # ---- answers -------------------------------------------------------------------------------

    def could_run(self, checked: CheckedTask, queues: Sequence[str]) -> bool:
        """Return whether a connected worker could run the task in one of these queues."""
        return self._board.has_live(self._line.table.mask(checked, queues))

    def has_other(self, waiting: Waiting, excluded: Sequence[str], *, now: float) -> bool:
        """Return whether a worker with none of these names could run the task, as far as known."""
        checked = waiting.checked
        return any(
            worker.name not in excluded and not worker.cooling(checked.spec.name, now)
            for worker in self._board.live_of(self._line.table.mask(checked, (waiting.queue,)))
        )

    def why_none_could(self, checked: CheckedTask, queues: Sequence[str]) -> str:
        """Return, in one line, what each connected worker lacks to run the task in any of these
        queues.
        """
        return why_none_could(self._board, checked, queues)

    def waiting_for(self, task_id: TaskId, *, now: float) -> str:
        """Return what the task waits for; empty if a connected worker will take it."""
        task = self._line.tasks.get(task_id)
        return waiting_for(self._board, task, now=now) if task is not None else ""

    def explain(self, task_id: TaskId, *, now: float) -> Explanation:
        """Return everything that keeps a waiting task from starting.

        Raises:
            KeyError: the task does not wait.
        """
        self._view.now = now
        return explain(self._view, self._router, self._line.tasks[task_id], now=now)

    def conserves_work(self, *, now: float) -> bool:
        """Return whether work is conserved: no idle worker could take a waiting task that the
        router would let it take. For tests and simulations, after ``next_pick`` has returned None.
        """
        self._view.now = now
        if self._decisions.will_ask_again:
            return True  # the router declined a pair and may decide otherwise as time passes
        return not any(
            self._router.would_take(backlog, worker, now=now)
            for backlog in self._view.backlogs()
            for worker in self._view.free_workers(backlog)
        )

    def check_invariants(self) -> None:
        """Raise AssertionError if the engine contradicts itself; for tests and simulations."""
        self._board.check()
        held = [
            task
            for worker in self._board.all()
            for holding in worker.holdings
            for task in holding.tasks.values()
        ]
        self._line.check(held)
