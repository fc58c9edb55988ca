"""The tenant window: how many tasks of one tenant take part in scheduling at a time.

Without it, a tenant that dumps hundreds of tasks makes everybody wait for all of them. Tasks beyond
the window are parked; where a worker would otherwise stay idle, the engine takes parked ones too.
"""

from attrs import define, field

from paintmq.broker.backlog import RankedTasks, WaitingTask
from paintmq.task import TaskId


@define(eq=False)
class _Tenant:
    inside: int = 0
    """Tasks in the window, waiting or held by a worker."""
    waiting: dict[TaskId, WaitingTask] = field(factory=dict[TaskId, WaitingTask])
    """Those of them that wait."""
    parked: RankedTasks = field(factory=RankedTasks)


@define
class TenantWindow:
    """Lets the best-ranked ``size`` tasks of each tenant in; tasks without a tenant all pass."""

    size: int
    _tenants: dict[str, _Tenant] = field(factory=dict[str, _Tenant], init=False)

    def enter(self, task: WaitingTask) -> tuple[bool, WaitingTask | None]:
        """Let a waiting task in or park it.

        Returns:
            Whether it is in, and a task that has to leave the window for it, if any.
        """
        if not task.tenant:
            return True, None
        tenant = self._tenants.setdefault(task.tenant, _Tenant())
        if tenant.inside < self.size:
            self._let_in(tenant, task)
            return True, None
        last = max(tenant.waiting.values(), key=lambda other: other.key, default=None)
        if last is None or last.key < task.key:
            tenant.parked.push(task)
            return False, None
        del tenant.waiting[last.id]
        tenant.inside -= 1
        last.in_window = False
        tenant.parked.push(last)
        self._let_in(tenant, task)
        return True, last

    def started(self, task: WaitingTask) -> None:
        """Note that a task waits no longer; in the window it still counts."""
        if not task.tenant:
            return
        tenant = self._tenants[task.tenant]
        if tenant.waiting.get(task.id) is task:
            del tenant.waiting[task.id]
        if task in tenant.parked:
            tenant.parked.remove(task)

    def leave(self, task: WaitingTask) -> WaitingTask | None:
        """Forget a task; return the parked one that is in the window instead, if any."""
        tenant = self._tenants.get(task.tenant)
        if tenant is None:
            return None
        self.started(task)
        if task.in_window:
            tenant.inside -= 1
            task.in_window = False
        following: WaitingTask | None = None
        if tenant.inside < self.size and tenant.parked:
            following = tenant.parked.first()[0]
            tenant.parked.remove(following)
            self._let_in(tenant, following)
        if not tenant.inside and not tenant.parked:
            del self._tenants[task.tenant]
        return following

    def _let_in(self, tenant: _Tenant, task: WaitingTask) -> None:
        tenant.inside += 1
        tenant.waiting[task.id] = task
        task.in_window = True

    def check(self) -> None:
        """Raise AssertionError if a window is too full, or has room while tasks are parked."""
        for name, tenant in self._tenants.items():
            assert len(tenant.waiting) <= tenant.inside <= self.size, f"window of {name}"
            assert not tenant.parked or tenant.inside == self.size, f"{name} is parked needlessly"
