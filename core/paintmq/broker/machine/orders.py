"""Orders of operators that change things for others: many tasks, workers and whole nodes."""

from collections.abc import Callable, Iterator, Mapping

from attrs import define

from paintmq.broker.machine.admission import Admission
from paintmq.broker.machine.credentials import Credentials
from paintmq.broker.machine.lifecycle import Lifecycle
from paintmq.broker.machine.queues import not_its_owners, objection
from paintmq.broker.machine.sessions import MAX_NAME, BadQuestionError, Sessions, WorkerSession
from paintmq.broker.machine.tasks import TaskEntry, TaskTable
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.task import Json, TaskState
from paintmq.wire.messages import Preload

MOST_AT_ONCE = 2_000
"""Tasks that one order cancels or moves, as nobody is served meanwhile; ``more`` are left."""
MOST_CORDONED = 1_000


@define
class Orders:
    """Carries out orders; the subjects are part of the table in ``control.py``."""

    _tasks: TaskTable
    _sessions: Sessions
    _life: Lifecycle
    _scheduler: Scheduler
    _admission: Admission
    _rejoin: Callable[[WorkerSession, float], None]

    def cancel_tasks(
        self, arguments: Mapping[str, Json], now: float, credentials: Credentials
    ) -> Json:
        """Cancel the waiting tasks of a ``queue``, ``model`` and ``tenant``; with ``running`` also
        those that run.
        """
        chosen = list(self._chosen(arguments, credentials))
        for entry in chosen[:MOST_AT_ONCE]:
            self._life.cancel(entry, now=now)
        return {"cancelled": len(chosen[:MOST_AT_ONCE]), "more": len(chosen[MOST_AT_ONCE:])}

    def move_tasks(
        self, arguments: Mapping[str, Json], now: float, credentials: Credentials
    ) -> Json:
        """Bring the waiting tasks of a ``queue``, ``model`` and ``tenant`` to the queue ``to``.

        Those that it cannot hold, or that their owners' keys are not for, stay where they are.
        """
        to = arguments.get("to")
        target = self._admission.queues.get(to) if isinstance(to, str) else None
        if target is None or not isinstance(to, str):
            known = ", ".join(self._admission.queues)
            raise BadQuestionError(f"there is no queue {to!r} to move tasks to; there are {known}")
        moved, kept = 0, ""
        fitting: list[TaskEntry] = []
        for entry in self._chosen({**arguments, "running": False}, credentials):
            assert entry.checked is not None
            if entry.status.queue == to:
                continue
            not_its = not_its_owners(to, entry.status.allowed)
            if why := not_its or objection(target, entry.checked):
                kept = f"{entry.id} stays: {to} {why}"
            else:
                fitting.append(entry)
        for entry in fitting[:MOST_AT_ONCE]:
            self._scheduler.remove(entry.id)
            self._life.move(entry, to, f"moved to {to} by an operator", now=now)
            moved += 1
        return {"moved": moved, "more": len(fitting) - moved, "kept": kept}

    def cordon(self, arguments: Mapping[str, Json], now: float, _: Credentials) -> Json:
        """Give a worker, or all of a node, nothing more; it stays, also if it connects again."""
        meant, name = self._meant(arguments), str(arguments["name"])
        if len(self._sessions.cordoned) >= MOST_CORDONED:
            raise BadQuestionError(f"{MOST_CORDONED} names are cordoned; uncordon some")
        self._sessions.cordoned[name] = None
        for worker in meant:
            self._scheduler.worker_draining(worker.peer, now=now)
        return [worker.hello.name for worker in meant]

    def uncordon(self, arguments: Mapping[str, Json], now: float, _: Credentials) -> Json:
        """End ``cordon``."""
        name = arguments.get("name")
        if not isinstance(name, str) or name not in self._sessions.cordoned:
            known = ", ".join(self._sessions.cordoned) or "none"
            raise BadQuestionError(f"{name!r} is not cordoned; these are: {known}")
        del self._sessions.cordoned[name]
        back = [
            worker
            for worker in self._sessions.named(name)
            if not worker.draining and not self._sessions.is_cordoned(worker)
        ]
        for worker in back:
            self._rejoin(worker, now)
        return [worker.hello.name for worker in back]

    def preload(self, arguments: Mapping[str, Json], now: float, _: Credentials) -> Json:
        """Have a worker, or all of a node that can run it, load a ``model`` while idle."""
        model = arguments.get("model")
        meant = [worker for worker in self._meant(arguments) if model in worker.hello.models]
        if not meant or not isinstance(model, str):
            raise BadQuestionError(f"{arguments['name']} cannot run model {model!r}")
        for worker in meant:
            self._life.step.send(worker.peer, Preload(model))
        return [worker.hello.name for worker in meant]

    def _meant(self, arguments: Mapping[str, Json]) -> list[WorkerSession]:
        """Return the workers that a name means: one by its own, or those of a node."""
        name = arguments.get("name")
        found = self._sessions.named(name) if isinstance(name, str) else []
        if found:
            return found
        workers = self._sessions.workers.values()
        known = ", ".join(worker.hello.name for worker in workers)
        raise BadQuestionError(f"no worker or node {name!r}; connected: {known or 'none'}")

    def _chosen(
        self, arguments: Mapping[str, Json], credentials: Credentials
    ) -> Iterator[TaskEntry]:
        """Give the tasks that match all filters that are given; at least one must be."""
        wanted = {name: arguments.get(name) for name in ("queue", "model", "tenant")}
        if all(value is None for value in wanted.values()):
            raise BadQuestionError("say which tasks: by queue, model or tenant")
        for name, value in wanted.items():
            if value is not None and (not isinstance(value, str) or len(value) > MAX_NAME):
                raise BadQuestionError(f"{name} = {value!r} is no name")
        found = self._tasks.in_state(TaskState.QUEUED)
        if arguments.get("running"):
            found += self._tasks.leased()
        for entry in found:
            has = {
                "queue": entry.status.queue,
                "model": entry.request.model,
                "tenant": entry.request.tenant,
            }
            is_meant = all(wanted[name] in (None, value) for name, value in has.items())
            if is_meant and credentials.sees(entry.owner):
                yield entry
