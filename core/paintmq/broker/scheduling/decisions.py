"""Decisions: which batch goes to which worker next, as the router ranks what is possible.

Rule 1: the router is asked only when something happened that could allow a decision: a worker
became free, a task reached a backlog, or a time was reached. Nothing is scanned in between, so a
turn of the loop costs what changed, not what waits.
Rule 2: the router is asked through ``guarded_router.py`` alone, so none of its faults arrives here.
"""

from collections.abc import Sequence
from itertools import takewhile

import msgspec
from attrs import define, field

from paintmq.broker.scheduling.backlog import HEAD, Backlog, WaitingTask
from paintmq.broker.scheduling.guarded_router import GuardedRouter
from paintmq.broker.scheduling.pending_tasks import PendingTasks
from paintmq.broker.scheduling.scheduling_board import SchedulingBoard
from paintmq.broker.scheduling.worker import PREFETCH_SECONDS, Holding, Worker
from paintmq.broker.scheduling.worker_table import WorkerTable
from paintmq.deadlines import Deadlines
from paintmq.routing import Router
from paintmq.task import PeerId, TaskId

SOONEST_LOOK = 0.01
"""Least seconds between two checks: an estimate and the clock may disagree in the last bit, and
the same moment would fall due again and again."""
PRELOAD_PATIENCE = 30.0
"""Seconds beyond twice its expected time after which an unconfirmed preload is given up."""


class Pick(msgspec.Struct, frozen=True, gc=False):
    """Give these tasks, as one batch, to this worker."""

    session: PeerId
    task_ids: tuple[TaskId, ...]


@define(eq=False)
class Decisions:
    """Asks the router whenever a decision may be possible, and binds tasks to workers."""

    router: GuardedRouter
    _board: WorkerTable
    _view: SchedulingBoard
    _line: PendingTasks
    _workers_to_ask: dict[PeerId, None] = field(factory=dict[PeerId, None], init=False)
    _cooling: Deadlines[tuple[PeerId, str]] = field(
        factory=Deadlines[tuple[PeerId, str]], init=False
    )
    """When a worker may retry a model that it failed to load."""
    _nearly_free: Deadlines[PeerId] = field(factory=Deadlines[PeerId], init=False)
    """When to send the next task to a busy worker whose profile no other worker shares."""
    _preloads: Deadlines[tuple[PeerId, str]] = field(
        factory=Deadlines[tuple[PeerId, str]], init=False
    )
    """When each unconfirmed preload is given up."""
    _refused_at: float | None = field(default=None, init=False)
    """When the router last declined a possible pair; it is asked again ``recheck_after`` later."""

    @property
    def will_ask_again(self) -> bool:
        """Whether the router declined a possible pair and is to be asked again after a time."""
        return self._recheck_at() is not None

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
        while self._line.to_ask:
            number = next(iter(self._line.to_ask))
            pick = self._pick_for_backlog(self._line.to_ask[number], now)
            if pick is not None:
                return pick
            self._line.to_ask.pop(number, None)
        return None

    def next_wakeup(self) -> float | None:
        """Return when ``next_pick`` is due even if nothing happens until then; None: never."""
        times = (
            self._line.next_time(),
            None if self._refused_at is None else self._recheck_at(),
            self._nearly_free.next(),
            self._cooling.next(),
            self._preloads.next(),
        )
        return min([time for time in times if time is not None], default=None)

    def next_preload(self, *, now: float) -> tuple[PeerId, str] | None:
        """Return a worker and a model it should load ahead of its tasks; None: no more for now."""
        self._view.now = now
        choice = self.router.choose_preload(now=now)
        if choice is None:
            return None
        worker, spec = choice
        model = spec.name
        if worker.draining or worker.has(model) or model in worker.loading:
            return None
        if not self._view.offers(model, worker):
            return None
        seconds = self._view.load_seconds(model, worker)
        ready_at = worker.free_at(now) + seconds
        self._board.will_load(worker, model, spec.resident_mb, ready_at)
        self._preloads.set((worker.session, model), ready_at + seconds + PRELOAD_PATIENCE)
        return worker.session, model

    def ask_about(self, worker: Worker) -> None:
        """Queue the worker for the router's next round."""
        if not worker.draining:
            self._workers_to_ask[worker.session] = None

    def stop_asking_about(self, session: PeerId) -> None:
        self._workers_to_ask.pop(session, None)
        self._nearly_free.discard(session)

    def cool_off(self, worker: Worker, model: str, until: float) -> None:
        """Ask about the worker again once it may retry a model that it failed to load."""
        self._cooling.set((worker.session, model), until)

    def replace_router(self, router: Router) -> None:
        """Use another router from now on."""
        self.router.router = router
        self._refused_at = None
        for worker in self._board.live():
            self.ask_about(worker)

    def _wake(self, now: float) -> None:
        """Handle every time that was reached."""
        self._line.wake(now=now)
        if self._cooling:
            for session, _ in self._cooling.pop_due(now):
                worker = self._board.get(session)
                if worker is not None:
                    self.ask_about(worker)
        if self._nearly_free:
            for session in self._nearly_free.pop_due(now):
                self._workers_to_ask[session] = None
        if self._preloads:
            for session, model in self._preloads.pop_due(now):
                worker = self._board.get(session)
                if worker is not None and model in worker.loading and worker.idle:
                    self._board.unloaded(worker, model)
        if self._refused_at is None:
            return
        again_at = self._recheck_at()
        if again_at is not None and again_at <= now:
            self._refused_at = None
            self._line.ask_all()

    def _recheck_at(self) -> float | None:
        """Return when to ask the router again about the pairs it declined."""
        if self._refused_at is None or (seconds := self.router.recheck_after()) is None:
            return None
        return self._refused_at + seconds

    def _pick_for_worker(self, session: PeerId, now: float) -> Pick | None:
        worker = self._board.get(session)
        # A worker that leaves is taken off this list: see stop_asking_about.
        assert worker is not None
        if not worker.idle:
            return self._prefetch(worker, now)
        chosen = self._ask_router_for_worker(worker, now)
        if chosen is None and self._line.unpark_for(worker, now):
            # The window protects other tenants. Where none of them can use this worker, leaving it
            # idle would protect no one, so a parked task may run.
            chosen = self._ask_router_for_worker(worker, now)
        return self._take(chosen, worker, now) if chosen is not None else None

    def _ask_router_for_worker(self, worker: Worker, now: float) -> Backlog | None:
        chosen = self.router.choose_backlog(worker, now=now)
        if chosen is not None:
            return chosen
        possible = self._view.backlogs_for(worker)
        if worker.idle and self._refused_at is None and next(possible, None) is not None:
            self._refused_at = now
        return None

    def _pick_for_backlog(self, backlog: Backlog, now: float) -> Pick | None:
        free = self._view.free_workers(backlog)
        first = next(free, None)
        if first is None:
            return None
        if not backlog.ready:
            self._line.unpark(backlog.parked.first()[0])
        worker = self.router.choose_worker(backlog, first, free, now=now)
        if worker is None:
            self._refused_at = now if self._refused_at is None else self._refused_at
            return None
        return self._take(backlog, worker, now)

    def _prefetch(self, worker: Worker, now: float) -> Pick | None:
        """Give a busy worker its next task of a model it has, if no idle worker could take the
        task.

        Without this the device idles for a round trip between two tasks. But a task sent early is
        bound to its worker: if the current run takes longer than expected, it waits there while
        others become free. So it is either a short task, whose bad luck costs little, or one that
        no other worker could run anyway.
        """
        best = self._short_one(worker, now) if worker.may_prefetch(now) else None
        best = best or self._ahead_for_the_only_one(worker, now)
        if best is None or self._suspect_before(best, worker):
            return None
        return self._take(best, worker, now)

    def _short_one(self, worker: Worker, now: float) -> Backlog | None:
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
        return best

    def _ahead_for_the_only_one(self, worker: Worker, now: float) -> Backlog | None:
        """Return what the router gives this worker next, if only this worker could run it.

        The worker must have the model and be expected to finish soon. Binding the task early then
        loses nothing, however long the current run turns out to be.
        """
        if self._board.live_in(worker.profile) > 1 or not worker.may_hold_more():
            return None
        look_at = worker.free_at(now, overdue=0.0) - PREFETCH_SECONDS
        if look_at > now:
            self._nearly_free.set(worker.session, max(look_at, now + SOONEST_LOOK))
            return None
        chosen = self._ask_router_for_worker(worker, now)
        if chosen is None or chosen.key.suspect or not worker.has(chosen.model):
            return None
        shared = any(
            other is not worker and self._board.may_take(other, chosen, now=now)
            for other in self._board.live_of(chosen.key.profiles)
        )
        return None if shared or worker.holds(chosen.first()[0].id) else chosen

    def _suspect_before(self, backlog: Backlog, worker: Worker) -> bool:
        """Return whether a suspect task is ahead of this backlog in line for the worker.

        A suspect runs alone. If the worker were kept busy by prefetching, it would never be idle
        and the suspect would wait for ever.
        """
        before = takewhile(lambda other: other is not backlog, self._view.backlogs_for(worker))
        return any(other.key.suspect for other in before)

    def _take(self, backlog: Backlog, worker: Worker, now: float) -> Pick:
        """Bind the backlog's next batch to the worker."""
        tasks = self._batch(backlog, worker, now)
        spec = backlog.spec
        if worker.has(spec.name):
            worker.use(spec.name, now)
        else:
            seconds = self._view.estimates.load_seconds(spec, worker.device, worker.device_name)
            self._board.will_load(worker, spec.name, spec.resident_mb, now + seconds)
        self._line.depart(backlog, tasks)
        self.bind(worker, tasks)
        self._workers_to_ask.pop(worker.session, None)
        if worker.may_hold_more():
            self.ask_about(worker)
        return Pick(worker.session, tuple(task.id for task in tasks))

    def _batch(self, backlog: Backlog, worker: Worker, now: float) -> list[WaitingTask]:
        first = backlog.first()[0]
        key = first.batch_keys.get(worker.device)
        if key is None or backlog.key.suspect:
            return [first]
        # Leave a fair share to the other idle workers that have the model: a batch of all tasks on
        # one worker would take longer than two halves on two.
        shares = 1 + sum(
            other.idle and self._board.may_take(other, backlog, now=now)
            for other in self._board.copies(backlog.model).values()
            if other is not worker
        )
        most, device = backlog.spec.max_batch, worker.device
        alike: list[WaitingTask] = []
        for task in backlog.first(HEAD):
            if task.batch_keys.get(device) == key and not worker.holds(task.id):
                alike.append(task)
                if len(alike) == most * shares:
                    break
        return alike[: min(most, -(-len(alike) // shares))]

    def bind(self, worker: Worker, tasks: Sequence[WaitingTask]) -> Holding:
        """Count the batch as held by the worker."""
        device = worker.device
        expected = sum(
            self._view.estimates.run_seconds(item.runs[device], worker.device_name)
            for item in tasks
            if device in item.runs
        )
        first = tasks[0].waiting
        holding = Holding(first.checked.spec.name, device, first.suspect, expected)
        holding.tasks.update((item.id, item) for item in tasks)
        self._board.give(worker, holding)
        return holding
