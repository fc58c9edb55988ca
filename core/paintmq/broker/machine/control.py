"""Control requests, off the hot path: statistics, why a task waits, workers, dead letters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from attrs import asdict, define, field

from paintmq.broker.machine.admission import Admission
from paintmq.broker.machine.credentials import NO_KEYS, Credentials
from paintmq.broker.machine.leases import Leases
from paintmq.broker.machine.lifecycle import Lifecycle
from paintmq.broker.machine.membership import Membership
from paintmq.broker.machine.orders import Orders
from paintmq.broker.machine.queues import refuge
from paintmq.broker.machine.sessions import BadQuestionError, Sessions, WorkerSession
from paintmq.broker.machine.tasks import TaskEntry, TaskTable
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.statistics import BrokerStatistics, QueueStatistics
from paintmq.task import Json, PayloadInfo, TaskId, TaskRequest, TaskState
from paintmq.task_status import TaskStatus
from paintmq.wire.messages import Answer, Ask, Drain, Rejected

MOST_ROWS = 1_000
"""Rows of one listing; a listing that is cut says so by ``more``."""


@define
class ControlRequests:
    """Answers control requests.

    The subjects are a closed table: nothing a peer sends is looked up by reflection.
    """

    _tasks: TaskTable
    _sessions: Sessions
    _membership: Membership
    _life: Lifecycle
    _leases: Leases
    _scheduler: Scheduler
    _admission: Admission
    _orders: Orders
    started_at: float = field(default=0.0, init=False)
    rejected: int = field(default=0, init=False)
    duplicates: int = field(default=0, init=False)

    def answer(self, ask: Ask, *, now: float, credentials: Credentials = NO_KEYS) -> Answer:
        """Answer a control request, or say what is wrong with it.

        Tasks that the client may not learn of do not exist in any answer.
        """
        subjects: dict[str, Callable[[Mapping[str, Json], float, Credentials], Json]] = {
            "statistics": self._statistics,
            "why": self._why,
            "route": self._route,
            "tasks": self._list_tasks,
            "workers": self._list_workers,
            "dead_list": self._dead_list,
            "dead_show": self._dead_show,
            "dead_requeue": self._dead_requeue,
            "dead_drop": self._dead_drop,
            "drain_worker": self._drain_worker,
            "cordon": self._orders.cordon,
            "uncordon": self._orders.uncordon,
            "preload": self._orders.preload,
            "cancel_tasks": self._orders.cancel_tasks,
            "move_tasks": self._orders.move_tasks,
        }
        subject = subjects.get(ask.subject)
        if subject is None:
            known = ", ".join(subjects)
            return Answer(
                request_id=ask.request_id,
                error=f"unknown subject {ask.subject!r}; known subjects: {known}",
            )
        try:
            return Answer(request_id=ask.request_id, value=subject(ask.arguments, now, credentials))
        except BadQuestionError as error:
            return Answer(request_id=ask.request_id, error=str(error))

    def statistics(self, *, now: float) -> BrokerStatistics:
        """Return the current counts; every accepted task is in exactly one of them."""
        workers = self._sessions.workers_by_queue()
        queues = {}
        for name, counts in self._tasks.counts.items():
            config = self._admission.queues.get(name)
            oldest = self._tasks.oldest_arrival(name)
            queues[name] = QueueStatistics(
                name=name,
                port=config.port if config is not None else 0,
                waiting=counts.waiting,
                running=counts.running,
                succeeded=counts.ended[TaskState.SUCCEEDED],
                failed=counts.ended[TaskState.FAILED],
                cancelled=counts.ended[TaskState.CANCELLED],
                expired=counts.ended[TaskState.EXPIRED],
                dead=counts.ended[TaskState.DEAD],
                rejected=counts.rejected,
                bytes_waiting=counts.bytes_waiting,
                workers=workers.get(name, 0),
                expected_work=self._scheduler.expected_work(name),
                oldest_wait=0.0 if oldest is None else now - oldest,
                accepted=counts.accepted,
                capacity=config.capacity if config is not None else 0,
                max_bytes=config.max_bytes if config is not None else 0,
                updated_at=now,
            )
        return BrokerStatistics(
            queues=queues,
            workers=len(self._sessions.workers),
            clients=len(self._sessions.clients),
            accepted=sum(counts.accepted for counts in self._tasks.counts.values()),
            rejected=self.rejected,
            duplicates=self.duplicates,
            retries=self._life.retries,
            stale_answers=self._leases.stale_answers,
            leases_lost=self._life.leases_lost,
            crashes=self._life.crashes,
            router_faults=self._scheduler.faults,
            router_fault=self._scheduler.last_fault,
            bytes_in_flight=self._tasks.input_bytes + self._tasks.output_bytes,
            uptime=now - self.started_at,
            since=self.started_at,
            updated_at=now,
            estimate_error=self._scheduler.estimate_error,
        )

    def _statistics(self, arguments: Mapping[str, Json], now: float, _: Credentials) -> Json:
        return _json(asdict(self.statistics(now=now)))

    def _why(self, arguments: Mapping[str, Json], now: float, credentials: Credentials) -> Json:
        entry = self._task(arguments, credentials)
        answer: dict[str, Json] = {"task": _summary(entry, now)}
        queue = entry.status.queue
        if entry.status.state is TaskState.QUEUED and queue in self._life.paused:
            answer["waiting_for"] = paused_text(queue)
        elif entry.status.state is TaskState.QUEUED:
            answer["waiting_for"] = self._scheduler.waiting_for(entry.id, now=now)
            explanation = self._scheduler.explain(entry.id, now=now)
            answer["explanation"] = _json(asdict(explanation))
        elif entry.status.state.is_leased:
            silent = 0.0 if entry.session is None else self._membership.silence(entry.session, now)
            if entry.session is None or silent:
                ends = entry.timers.get("lease")
                answer["lease"] = max(0.0, (ends or now) - now)
                answer["silent"] = silent
        return answer

    def _route(self, arguments: Mapping[str, Json], now: float, credentials: Credentials) -> Json:
        """Return the queue a task would go to now, or why it would be refused. Stores nothing."""
        request = _request(arguments)
        decision = self._admission.decide(request, now=now, credentials=credentials)
        if isinstance(decision, Rejected):
            return _json(asdict(decision))
        return {"queue": decision[0]}

    def _list_tasks(
        self, arguments: Mapping[str, Json], now: float, credentials: Credentials
    ) -> Json:
        """List tasks in order of acceptance; those of one ``state``, in the order they entered it.

        ``model``, ``queue``, ``tenant`` and ``mark`` (the start of their ids) filter them.
        ``newest`` has the last rows kept where there are too many.
        """
        wanted = arguments.get("state")
        states = {state.value: state for state in TaskState}
        if wanted is not None and wanted not in states:
            raise BadQuestionError(f"unknown state {wanted!r}; known states: {', '.join(states)}")
        entries = self._tasks if wanted is None else self._tasks.in_state(states[str(wanted)])
        chosen = [
            entry
            for entry in entries
            if credentials.sees(entry.owner) and _matches(entry, arguments)
        ]
        kept = chosen[-MOST_ROWS:] if arguments.get("newest") is True else chosen[:MOST_ROWS]
        rows: list[Json] = [_summary(entry, now) for entry in kept]
        return {"tasks": rows, "more": max(0, len(chosen) - MOST_ROWS)}

    def _list_workers(
        self, arguments: Mapping[str, Json], now: float, credentials: Credentials
    ) -> Json:
        running: dict[bytes, list[Json]] = {}
        for entry in self._tasks.leased():
            if entry.session is not None and credentials.sees(entry.owner):
                running.setdefault(entry.session, []).append(entry.id)
        rows: list[Json] = [
            {
                "name": worker.hello.name,
                "node": worker.hello.node,
                "queue": worker.hello.queue,
                "key": worker.credentials.key,
                "device": worker.hello.device,
                "device_name": worker.hello.device_name,
                "gpu_memory_mb": worker.hello.gpu_memory_mb,
                "memory_mb": worker.hello.memory_mb,
                "models": list(worker.hello.models),
                "unavailable": dict(worker.hello.unavailable),
                "resident": list(self._scheduler.resident_models(worker.peer)),
                "running": running.get(worker.peer, []),
                "draining": worker.draining,
                "cordoned": self._sessions.is_cordoned(worker),
                "protocol": worker.hello.newest,
                "trouble": worker.trouble,
                "serves": _serves(worker),
                "session": _session_name(worker),
                "silent": self._silence(worker, now),
            }
            for worker in self._sessions.workers.values()
        ]
        return rows

    def _dead_list(
        self, arguments: Mapping[str, Json], now: float, credentials: Credentials
    ) -> Json:
        return self._list_tasks({**arguments, "state": TaskState.DEAD.value}, now, credentials)

    def _dead_show(
        self, arguments: Mapping[str, Json], now: float, credentials: Credentials
    ) -> Json:
        entry = self._task(arguments, credentials)
        options = cast("Json", dict(entry.request.options))
        return {
            **_summary(entry, now),
            "options": options,
            "error": _json(asdict(entry.status.error)) if entry.status.error else None,
            "history": [_json(asdict(report)) for report in entry.status.history],
        }

    def _dead_requeue(
        self, arguments: Mapping[str, Json], now: float, credentials: Credentials
    ) -> Json:
        entry = self._dead_task(arguments, credentials)
        if entry.checked is None:
            raise BadQuestionError(
                f"model {entry.request.model!r} is not installed; install it and restart the broker"
            )
        if entry.status.queue in self._life.removed:
            found = refuge(self._admission.queues, entry.checked, entry.status.allowed)
            if not found.queues:
                raise BadQuestionError(f"no queue can hold task {entry.id}: {found.reason()}")
        self._life.revive(entry, now=now)
        return _summary(entry, now)

    def _dead_drop(
        self, arguments: Mapping[str, Json], now: float, credentials: Credentials
    ) -> Json:
        entry = self._dead_task(arguments, credentials)
        summary = _summary(entry, now)
        self._life.retention.purge(entry)
        return summary

    def _drain_worker(self, arguments: Mapping[str, Json], now: float, _: Credentials) -> Json:
        name = arguments.get("name")
        grace = arguments.get("grace", 30.0)
        if not isinstance(grace, int | float) or isinstance(grace, bool) or grace < 0:
            raise BadQuestionError(f"grace = {grace!r} must be a number of seconds, 0 or more")
        session = arguments.get("session", "")
        workers = self._sessions.workers.values()
        twins = [each for each in workers if each.hello.name == name]
        meant = [each for each in twins if session in ("", _session_name(each))]
        if not twins:
            meant = [each for each in workers if each.hello.node == name]
        elif len(meant) > 1:
            raise BadQuestionError(
                f"{len(meant)} workers are called {name!r}: {self._described(meant, now)}; name one"
                f" by its session (paintmq drain {name} --session {_session_name(meant[0])})"
            )
        if twins and not meant:
            raise BadQuestionError(
                f"no worker {name!r} has the session {session!r}; connected: "
                f"{self._described(twins, now)}"
            )
        for worker in meant:
            worker.draining = True
            self._scheduler.worker_draining(worker.peer, now=now)
            self._life.step.send(worker.peer, Drain(grace=float(grace)))
        if meant:
            return name
        known = ", ".join(worker.hello.name for worker in self._sessions.workers.values())
        raise BadQuestionError(f"no worker or node {name!r}; connected: {known or 'none'}")

    def _described(self, workers: Sequence[WorkerSession], now: float) -> str:
        return "; ".join(
            f"session {_session_name(worker)} on node {worker.hello.node}"
            f", queue {worker.hello.queue}"
            + (f", key {key}" if (key := worker.credentials.key) else "")
            + (f", silent for {silent:.0f} s" if (silent := self._silence(worker, now)) else "")
            for worker in workers
        )

    def _silence(self, worker: WorkerSession, now: float) -> float:
        return self._membership.silence(worker.peer, now)

    def _task(self, arguments: Mapping[str, Json], credentials: Credentials) -> TaskEntry:
        task_id = arguments.get("task_id")
        entry = None
        if isinstance(task_id, str):
            entry = self._tasks.seen_by(credentials, TaskId(task_id))
        if entry is None:
            raise BadQuestionError(
                f"no task {task_id!r}: it was never accepted here, or its retention time is over"
            )
        return entry

    def _dead_task(self, arguments: Mapping[str, Json], credentials: Credentials) -> TaskEntry:
        entry = self._task(arguments, credentials)
        if entry.status.state is not TaskState.DEAD:
            raise BadQuestionError(f"task {entry.id} is {entry.status.state}, not dead")
        return entry


def _session_name(worker: WorkerSession) -> str:
    """Return what tells workers of one name apart: the end of a random routing id."""
    return worker.peer.hex()[-8:]


def paused_text(queue: str) -> str:
    return f"its queue {queue} is paused; `paintmq queues resume {queue}` lets it go on"


def _request(arguments: Mapping[str, Json]) -> TaskRequest:
    """Build a request with the fields that routing looks at."""
    match arguments:
        case {
            "task_type": str(task_type),
            "model": str(model),
            "device": "auto" | "cpu" | "cuda" as device,
            "options": dict(options),
            "inputs": list(inputs),
        }:
            return TaskRequest(
                id=TaskId(""),
                task_type=task_type,
                model=model,
                device=device,
                options=options,
                inputs=tuple(_payload(each) for each in inputs),
            )
        case _:
            raise BadQuestionError("route wants task_type, model, device, options and inputs")


def _payload(value: Json) -> PayloadInfo:
    match value:
        case {"name": str(name), "size": int(size), "width": int(width), "height": int(height)}:
            return PayloadInfo(
                name=name, size=size, digest="", kind="file", width=width, height=height
            )
        case _:
            raise BadQuestionError("an input to route has a name, a size, a width and a height")


def _matches(entry: TaskEntry, wanted: Mapping[str, Json]) -> bool:
    has = {
        "model": entry.request.model,
        "queue": entry.status.queue,
        "tenant": entry.request.tenant,
    }
    mark = wanted.get("mark", "")
    if not isinstance(mark, str) or not entry.id.startswith(mark):
        return False
    return all(wanted.get(name) in (None, value) for name, value in has.items())


def _summary(entry: TaskEntry, now: float) -> dict[str, Json]:
    status = entry.status
    error = status.error
    if error is None and status.history and not status.state.is_final:
        error = status.history[-1].error  # of the previous attempt: why it waits again
    return {
        "id": entry.id,
        "state": status.state.value,
        "model": entry.request.model,
        "device": entry.request.device,
        "queue": status.queue,
        "priority": entry.request.priority,
        "tenant": entry.request.tenant,
        "owner": status.owner,
        "worker": status.worker,
        "attempts": status.attempt,
        "age": now - status.accepted_at,
        "running_for": _running_for(status, now),
        "step": entry.step if status.state.is_leased else 0,
        "total": entry.total if status.state.is_leased else 0,
        "ended": None if status.ended_at is None else now - status.ended_at,
        "crashes": status.crashes,
        "losses": status.losses,
        "undelivered": status.undelivered,
        "failures": status.failures,
        "reason": error.message if error is not None else "",
    }


def _running_for(status: TaskStatus, now: float) -> float | None:
    """Return the seconds since the run began; None while it has not."""
    if status.state is not TaskState.RUNNING or status.started_at is None:
        return None
    return now - status.started_at


def _serves(worker: WorkerSession) -> Json:
    """Return the queues that the worker's key allows; None: all."""
    queues = worker.credentials.queues
    return None if queues is None else list(queues)


def _json(value: Any) -> Json:
    """Return what ``attrs.asdict`` gave as JSON values."""
    match value:
        case dict():
            return {str(key): _json(item) for key, item in value.items()}
        case list() | tuple():
            return [_json(item) for item in value]
        case _:
            return cast("Json", value)
