"""What a peer's key allows: an argument of each of the machine's inputs.

Rule 1: the owner of a task is the name of the key that it was submitted with, so a key that is
renewed under the same name keeps its tasks. Only the owner and admins learn of a task or end it.
Rule 2: without keys, every program that reaches the broker is an admin, and all tasks have the
owner "", which is not the name of any key.
"""

from attrs import evolve, frozen

from paintmq.task import TaskId, TaskRequest
from paintmq.task_ids import may_use_id


@frozen(kw_only=True)
class Credentials:
    """The key that a peer has shown, and what it allows."""

    key: str = ""
    """The key's name; empty: no key is asked for, or the peer is in the broker's own process."""
    is_admin: bool = True
    queues: tuple[str, ...] | None = None
    """Where a client may submit tasks, or whose tasks a worker may run; None: all."""
    tenant: str | None = None
    """The tenant of all tasks of this key; None: the client names one."""
    max_priority: int | None = None
    quota: int | None = None
    """Unfinished tasks that the key may have at once."""

    def sees(self, owner: str) -> bool:
        """Return whether a task of this owner exists, as far as the peer is told."""
        return self.is_admin or self.key == owner

    def owns(self, owner: str) -> bool:
        """Return whether a task of this owner is the peer's own; an admin's view is not enough."""
        return self.key == owner

    def may_use(self, task_id: TaskId) -> bool:
        """Return whether a task may be submitted under this id."""
        return self.is_admin or may_use_id(self.key, task_id)

    def in_tenant(self, request: TaskRequest) -> TaskRequest:
        """Return the request as one of the key's tenant, unless it names another."""
        if self.tenant is None or request.tenant:
            return request
        return evolve(request, tenant=self.tenant)

    def allows_queue(self, queue: str) -> bool:
        return self.queues is None or queue in self.queues


NO_KEYS = Credentials()
"""Of every peer of a broker that asks for no keys."""
