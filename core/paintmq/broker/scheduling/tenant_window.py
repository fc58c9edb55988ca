"""The tenant window: how many tasks of one tenant take part in scheduling at a time.

Without it, a tenant that submits hundreds of tasks at once makes all others wait for every one of
them. Tasks beyond the window are parked; the engine still starts a parked task where a worker
would otherwise stay idle, so the window costs no throughput.
"""

from collections import defaultdict
from collections.abc import Sequence

from attrs import define, field

from paintmq.broker.scheduling.backlog import RankedTasks, WaitingTask
from paintmq.task import TaskId

WIDEST = 8
"""How many times its usual size a window may grow to."""

MOST_PASSED = 64
"""How often a tenant's first parked task may be passed by others of a model that just ran."""


@define(eq=False)
class _Tenant:
    inside: int = 0
    """Tasks in the window, waiting or held by a worker."""
    waiting: dict[TaskId, WaitingTask] = field(factory=dict[TaskId, WaitingTask])
    """Those in the window that wait."""
    parked: RankedTasks = field(factory=RankedTasks)
    parked_of: defaultdict[str, RankedTasks] = field(factory=lambda: defaultdict(RankedTasks))
    """Parked tasks by model."""
    passed: int = 0
    """Times the first parked task was passed."""

    def park(self, task: WaitingTask) -> None:
        self.parked.push(task)
        self.parked_of[task.model].push(task)

    def unpark(self, task: WaitingTask) -> None:
        self.parked.remove(task)
        of_model = self.parked_of[task.model]
        of_model.remove(task)
        if not of_model:
            del self.parked_of[task.model]

    def next_in(self, model: str) -> WaitingTask:
        """Return the parked task that takes the place which one of this model left.

        For a while it is one of the same model. With a window of a few tasks, taking strictly the
        first one would interleave models, and workers would load another model for almost every
        task.
        """
        first = self.parked.first()[0]
        if model in self.parked_of and self.passed < MOST_PASSED:
            alike = self.parked_of[model].first()[0]
            if alike.priority >= first.priority:
                self.passed = 0 if alike is first else self.passed + 1
                return alike
        self.passed = 0
        return first


@define
class TenantWindow:
    """Admits the best-ranked ``size`` tasks of each tenant; tasks without a tenant always pass.

    A window grows, up to ``WIDEST`` times, to the average number of tasks that the other tenants
    have. If everyone has a backlog, no one needs protection from it, and choosing among a few
    tasks of each would make workers change models for almost every one.
    """

    size: int
    _tasks: int = field(default=0, init=False)
    """Inside and parked, of all tenants."""
    _tenants: dict[str, _Tenant] = field(factory=dict[str, _Tenant], init=False)

    def enter(self, task: WaitingTask) -> tuple[bool, WaitingTask | None]:
        """Admit a waiting task to the window, or park it.

        Returns:
            Whether it is in, and a task that has to leave the window for it, if any.
        """
        if not task.tenant:
            return True, None
        tenant = self._tenants.setdefault(task.tenant, _Tenant())
        self._tasks += 1
        if tenant.inside < self._size_for(tenant):
            self._let_in(tenant, task)
            return True, None
        last = max(tenant.waiting.values(), key=lambda other: other.key, default=None)
        if last is None or last.key < task.key:
            tenant.park(task)
            return False, None
        del tenant.waiting[last.id]
        tenant.inside -= 1
        last.in_window = False
        tenant.park(last)
        self._let_in(tenant, task)
        return True, last

    def started(self, task: WaitingTask) -> None:
        """Record that a worker took the task; it keeps its place in the window until it ends."""
        tenant = self._tenants.get(task.tenant)
        if tenant is None:
            # It has no tenant, or it started beyond a full window and its tenant has no tasks
            # left.
            return
        if tenant.waiting.get(task.id) is task:
            del tenant.waiting[task.id]
        if task in tenant.parked:
            tenant.unpark(task)
            self._tasks -= 1

    def leave(self, task: WaitingTask) -> Sequence[WaitingTask]:
        """Remove a task; return the parked ones admitted in its place."""
        tenant = self._tenants.get(task.tenant)
        if tenant is None:
            return ()
        self.started(task)
        if task.in_window:
            tenant.inside -= 1
            self._tasks -= 1
            task.in_window = False
        following: list[WaitingTask] = []
        size = self._size_for(tenant)
        while tenant.parked and tenant.inside < size:
            following.append(tenant.next_in(task.model))
            tenant.unpark(following[-1])
            self._let_in(tenant, following[-1])
        if not tenant.inside and not tenant.parked:
            del self._tenants[task.tenant]
        return following

    def _size_for(self, tenant: _Tenant) -> int:
        others = len(self._tenants) - 1
        if not others:
            return self.size
        average = (self._tasks - tenant.inside - len(tenant.parked)) // others
        return min(max(self.size, average), WIDEST * self.size)

    def _let_in(self, tenant: _Tenant, task: WaitingTask) -> None:
        tenant.inside += 1
        tenant.waiting[task.id] = task
        task.in_window = True

    def check(self) -> None:
        """Raise AssertionError if a window is too full, or has room while tasks are parked."""
        for name, tenant in self._tenants.items():
            assert len(tenant.waiting) <= tenant.inside, f"window of {name}"
            assert tenant.inside <= WIDEST * self.size, f"window of {name}"
            assert not tenant.parked or tenant.inside >= self.size, f"{name} is parked needlessly"
        tasks = sum(each.inside + len(each.parked) for each in self._tenants.values())
        assert tasks == self._tasks, "tenants' tasks are miscounted"
