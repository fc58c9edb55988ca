"""What an operator may order a running broker to do, from Python: ``client.control``.

Where keys are in use, orders take an admin's key. All of them go through the broker's own table of
subjects, like those of the command line, so whatever asks it can do the same: ``client.ask``.
"""

from collections.abc import Callable
from typing import Any

from attrs import frozen

from paintmq.task import Json


@frozen(kw_only=True)
class SettingChange:
    """One setting that a reload or an order changes."""

    key: str
    """Such as ``queues.cpu-light.capacity``; ``queues.NAME`` for a queue added or removed."""
    before: Json
    after: Json
    late: str
    """Why it takes effect at the broker's next start; empty: it did at once."""


@frozen
class Control:
    """Orders to one broker. Every method raises RejectedError with the broker's reason where it
    refuses, and TimeoutError where it does not answer.
    """

    _ask: Callable[..., Any]

    # ---- settings and queues -------------------------------------------------------------------

    def reload(self, *, dry_run: bool = False) -> list[SettingChange]:
        """Have it read its settings and keys again; return what differs."""
        return _changes(self._ask("reload", dry_run=dry_run))

    def queues(self) -> dict[str, dict[str, Any]]:
        """Return each queue's ``settings``, ``endpoint``, ``state`` (``open``, ``paused`` or
        ``draining``) and the keys that were ``changed`` while the broker ran.
        """
        answer: dict[str, dict[str, Any]] = self._ask("queues")
        return answer

    def add_queue(self, name: str, *, dry_run: bool = False, **settings: Json) -> None:
        """Add a queue; ``settings`` are fields of ``QueueConfig``, or ``requirements``."""
        self._change("add", name, settings, dry_run=dry_run)

    def update_queue(
        self, name: str, *, dry_run: bool = False, **settings: Json
    ) -> list[SettingChange]:
        """Change settings of a queue; return what differs. They win over the broker's file."""
        return self._change("set", name, settings, dry_run=dry_run)

    def remove_queue(self, name: str, *, dry_run: bool = False) -> None:
        """Remove a queue. Its tasks go to other queues; what none can hold ends as DEAD."""
        self._change("remove", name, {}, dry_run=dry_run)

    def reset_queue(self, name: str) -> list[SettingChange]:
        """Undo all of this for a queue: it is as the broker's settings have it."""
        return self._change("reset", name, {})

    def pause_queue(self, name: str) -> None:
        """Let no task of the queue start; it goes on taking tasks."""
        self._change("pause", name, {})

    def drain_queue(self, name: str) -> None:
        """Take no new tasks in the queue; those it has go on."""
        self._change("drain", name, {})

    def resume_queue(self, name: str) -> None:
        """End ``pause_queue`` and ``drain_queue``."""
        self._change("resume", name, {})

    # ---- tasks ---------------------------------------------------------------------------------

    def cancel_tasks(
        self,
        *,
        queue: str | None = None,
        model: str | None = None,
        tenant: str | None = None,
        running: bool = False,
    ) -> int:
        """Cancel all waiting tasks that match, and with ``running`` those that run; return how
        many. At least one of the three must be given.
        """
        which = {"queue": queue, "model": model, "tenant": tenant, "running": running}
        return self._until_done("cancel_tasks", "cancelled", which)

    def move_tasks(
        self,
        to: str,
        *,
        queue: str | None = None,
        model: str | None = None,
        tenant: str | None = None,
    ) -> int:
        """Bring all waiting tasks that match, and that it can hold, to the queue ``to``; return how
        many. At least one of the three must be given.
        """
        which = {"queue": queue, "model": model, "tenant": tenant, "to": to}
        return self._until_done("move_tasks", "moved", which)

    # ---- workers and nodes ---------------------------------------------------------------------

    def drain(self, name: str, *, grace: float = 30.0) -> None:
        """Have a worker, or all of a node, finish what they run within ``grace`` seconds, and
        leave.
        """
        self._ask("drain_worker", name=name, grace=grace)

    def cordon(self, name: str) -> list[str]:
        """Give a worker, or all of a node, no more tasks; they stay. Return their names. It holds
        until ``uncordon`` or the broker's next start.
        """
        workers: list[str] = self._ask("cordon", name=name)
        return workers

    def uncordon(self, name: str) -> list[str]:
        """End ``cordon`` of that name; return the workers that get tasks again."""
        workers: list[str] = self._ask("uncordon", name=name)
        return workers

    def preload(self, name: str, model: str) -> list[str]:
        """Have a worker, or all of a node, load a model while idle; return those that will."""
        workers: list[str] = self._ask("preload", name=name, model=model)
        return workers

    # --------------------------------------------------------------------------------------------

    def _change(
        self, action: str, name: str, settings: dict[str, Json], *, dry_run: bool = False
    ) -> list[SettingChange]:
        answer = self._ask(
            "change_queue", action=action, name=name, settings=settings, dry_run=dry_run
        )
        return _changes(answer)

    def _until_done(self, subject: str, done: str, which: dict[str, Any]) -> int:
        """Ask until nothing is left: one order deals with a limited number of tasks."""
        count, more = 0, 1
        while more:
            answer = self._ask(subject, **which)
            count, more = count + answer[done], answer["more"]
        return count


def _changes(answer: Any) -> list[SettingChange]:
    return [SettingChange(**each) for each in answer.get("changes", [])]
