"""Pending tasks: in a backlog, held back by a tenant's window, or waiting for their time."""

from collections.abc import Sequence

from attrs import define, field

from paintmq.broker.scheduling.backlog import Backlog, Waiting, WaitingTask
from paintmq.broker.scheduling.backlog_table import BacklogTable
from paintmq.broker.scheduling.filters import Profile
from paintmq.broker.scheduling.scheduling_board import SchedulingBoard
from paintmq.broker.scheduling.task_forms import TaskForms
from paintmq.broker.scheduling.tenant_window import TenantWindow
from paintmq.broker.scheduling.worker import Worker
from paintmq.broker.scheduling.worker_table import WorkerTable
from paintmq.deadlines import Deadlines
from paintmq.task import TaskId


@define(eq=False)
class PendingTasks:
    """Where each waiting task is, and which backlogs the router should be asked about."""

    _board: WorkerTable
    _view: SchedulingBoard
    _window: TenantWindow
    forms: TaskForms
    level_seconds: float
    """Seconds that one level of priority is worth to the router, on top of the given ranks."""
    table: BacklogTable = field(init=False)
    tasks: dict[TaskId, WaitingTask] = field(factory=dict[TaskId, WaitingTask], init=False)
    """All waiting tasks, including those held back by a backoff or a tenant's window."""
    to_ask: dict[int, Backlog] = field(factory=dict[int, Backlog], init=False)
    """Backlogs in which something changed that could let a task start."""
    work: dict[str, float] = field(factory=dict[str, float], init=False)
    """Seconds of work waiting or running, by queue."""
    _added: int = field(default=0, init=False)
    _delayed: Deadlines[TaskId] = field(factory=Deadlines[TaskId], init=False)
    """When the backoff of a task ends."""

    def __attrs_post_init__(self) -> None:
        self.table = BacklogTable(self._board.profiles, self.forms)

    # ---- coming and going ----------------------------------------------------------------------

    def add(self, waiting: Waiting, *, now: float) -> None:
        """Add a waiting task.

        Raises:
            ValueError: it waits already.
        """
        task_id = waiting.request.id
        self._view.now = now
        if task_id in self.tasks:
            raise ValueError(f"task {task_id} waits already")
        task = self.make_task(waiting, now)
        self.tasks[task_id] = task
        self.add_work(task, task.work)
        if waiting.not_before > now:
            self._delayed.set(task_id, waiting.not_before)
        else:
            self._line_up(task)
            self._view.estimates.arrived(waiting.checked.spec.name, now=now)

    def remove(self, task_id: TaskId) -> None:
        """Remove a waiting task that was cancelled or has expired. Unknown ids are ignored."""
        task = self.tasks.pop(task_id, None)
        if task is None:
            return
        self._delayed.discard(task_id)
        self.add_work(task, -task.work)
        self._take_out(task)
        self._admit(self._window.leave(task))

    def depart(self, backlog: Backlog, tasks: Sequence[WaitingTask]) -> None:
        """Remove tasks of a backlog's head, in order, that a worker takes together.

        They still count as work of their queues.
        """
        for task in tasks:
            del self.tasks[task.id]
            if task.tenant:
                self._window.started(task)
            task.backlog = None
        backlog.ready.remove_first(tasks)
        self._view.changed(backlog)
        self._drop_if_empty(backlog)

    def end_hold(self, task: WaitingTask) -> None:
        """Release a task that a worker held."""
        self.work[task.queue] -= task.work
        if task.tenant:
            self._admit(self._window.leave(task))

    def make_task(self, waiting: Waiting, now: float) -> WaitingTask:
        """Return the task with everything that is computed once."""
        checked, request = waiting.checked, waiting.request
        runs = self.forms.of(checked).runs
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
            batch_keys=checked.batch_keys if checked.spec.max_batch > 1 else {},
            runs=runs,
            work=self._view.estimates.run_seconds(preferred),
        )

    def _rank(self, waiting: Waiting) -> float:
        """Return the task's virtual arrival time, with the router's worth of a priority level."""
        worth = waiting.request.priority * self.level_seconds
        return waiting.rank - worth if worth else waiting.rank  # the same number, not an equal one

    def wake(self, *, now: float) -> None:
        """Line up the tasks whose pause has ended."""
        if not self._delayed:
            return
        for task_id in self._delayed.pop_due(now):
            self._line_up(self.tasks[task_id])

    def next_time(self) -> float | None:
        """Return when the next pause ends."""
        return self._delayed.next()

    # ---- backlogs and windows ------------------------------------------------------------------

    def _line_up(self, task: WaitingTask) -> None:
        """Put a task whose time has come into its backlog; park it if its window is full."""
        backlog = self.table.backlog_for(task.waiting)
        task.backlog = backlog
        if not self._board.has_live(backlog.key.profiles):
            # No worker could take it, so it must not use up a place in its tenant's window: tasks
            # that can never start would keep out those that can.
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
            self.to_ask[backlog.number] = backlog

    def _admit(self, tasks: Sequence[WaitingTask]) -> None:
        """Move parked tasks into the places that others left in their tenant's window."""
        for task in tasks:
            assert task.backlog is not None
            task.backlog.parked.remove(task)
            # It goes behind the tasks that arrived while it was parked. With its original rank, a
            # tenant that submits hundreds of tasks at once would stay ahead of everyone else until
            # they are done, which is what the window is there to prevent.
            parked_for = max(0.0, self._view.now - task.arrived_at)
            task.key = (self._rank(task.waiting) + parked_for, task.key[1])
            self._into_ready(task.backlog, task)

    def _into_ready(self, backlog: Backlog, task: WaitingTask) -> None:
        if backlog.ready.push(task):
            self._view.changed(backlog)
        self.to_ask[backlog.number] = backlog

    def _out_of_ready(self, backlog: Backlog, task: WaitingTask) -> None:
        if backlog.ready.remove(task):
            self._view.changed(backlog)

    def _take_out(self, task: WaitingTask) -> None:
        """Remove a task from its backlog, if it is in one."""
        backlog, task.backlog = task.backlog, None
        if backlog is None:
            return
        if task in backlog.ready:
            self._out_of_ready(backlog, task)
        else:
            backlog.parked.remove(task)
        self._drop_if_empty(backlog)

    def _drop_if_empty(self, backlog: Backlog) -> None:
        if not backlog.ready and not backlog.parked:
            self.table.drop(backlog)
            self.to_ask.pop(backlog.number, None)

    def _line_up_again(self, task: WaitingTask) -> None:
        self._take_out(task)
        self._admit(self._window.leave(task))
        self._line_up(task)

    def ask_all(self) -> None:
        """Mark every backlog for the router's next round."""
        self.to_ask.update((backlog.number, backlog) for backlog in self.table)

    def ask_about_model(self, model: str) -> None:
        """Mark a model's backlogs: the workers that should take its tasks have changed."""
        self.to_ask.update((item.number, item) for item in self._view.backlogs_of(model))

    def add_profile(self, profile: Profile) -> None:
        """Redistribute tasks among backlogs for a new, already listed, kind of worker."""
        for task in self.table.add_profile(profile):
            self._line_up_again(task)

    def reconsider_windows(self, profile: int) -> None:
        """Let tenants' tasks that depend on this profile enter their windows again."""
        for backlog in self.table:
            if backlog.key.profiles >> profile & 1:
                for task in sorted(backlog.tasks(), key=lambda task: task.key):
                    if task.tenant:
                        self._line_up_again(task)

    def after_departure(self, worker: Worker) -> None:
        """Account for a worker that left or is leaving."""
        if not self._board.live_in(worker.profile):
            self.reconsider_windows(worker.profile)
        for backlog in self._view.backlogs():
            # A router may have waited for this very worker; or it was the last that was not
            # excluded, so that the excluded ones may be used again.
            if backlog.key.profiles >> worker.profile & 1:
                self.to_ask[backlog.number] = backlog

    def rank_anew(self, level_seconds: float) -> None:
        """Recompute every task's place with another worth of a priority level."""
        in_line = [task for backlog in self.table for task in backlog.tasks()]
        for task in in_line:
            self._take_out(task)
            self._window.leave(task)
        self.level_seconds = level_seconds
        for task in self.tasks.values():
            task.key = (self._rank(task.waiting), task.key[1])
        for task in in_line:
            self._line_up(task)

    def unpark_for(self, worker: Worker, now: float) -> bool:
        """Let the best parked task in that this idle worker could take; return whether there was
        one.
        """
        parked = (
            backlog
            for backlog in self.table
            if backlog.parked and self._board.may_take(worker, backlog, now=now)
        )
        best = min(
            parked,
            key=lambda item: (not worker.has(item.model), item.parked.first()[0].key),
            default=None,
        )
        if best is None:
            return False
        self.unpark(best.parked.first()[0])
        return True

    def unpark(self, task: WaitingTask) -> None:
        """Let a parked task start although its tenant's window is full."""
        assert task.backlog is not None
        self._window.started(task)
        task.backlog.parked.remove(task)
        self._into_ready(task.backlog, task)

    def add_work(self, task: WaitingTask, seconds: float) -> None:
        """Add seconds of work to the task's queue; negative ones remove work."""
        self.work[task.queue] = self.work.get(task.queue, 0.0) + seconds

    def check(self, held: list[WaitingTask]) -> None:
        """Raise AssertionError if a task is missing or counted twice; ``held``: those that workers
        hold.
        """
        self._window.check()
        waiting = {task.id for backlog in self.table for task in backlog.tasks()}
        delayed = set(self._delayed)
        assert waiting | delayed == set(self.tasks), "a task waits nowhere"
        assert not waiting & delayed, "a task waits twice"
        listed = list(self._view.backlogs())
        for backlog in self.table:
            assert backlog.ready or backlog.parked, f"{backlog.key} is empty but kept"
            assert (backlog in listed) == bool(backlog.ready)
            assert all(task.backlog is backlog for task in backlog.tasks())
        for queue, work in self.work.items():
            tasks = [task for task in [*self.tasks.values(), *held] if task.queue == queue]
            total = sum(task.work for task in tasks)
            assert abs(total - work) <= 1e-6 * (1 + total), f"work of {queue} is off"
