"""The checks a task must pass before it is accepted.

Cheap checks come first, so that a flood of bad submissions costs little. A refused task leaves
nothing behind, and the refusal names the limit or the setting to change.
"""

from collections.abc import Mapping, Sequence

import msgspec
from attrs import define, field

from paintmq.broker.machine.credentials import NO_KEYS, Credentials
from paintmq.broker.machine.queues import Feasibility, FeasibleQueues
from paintmq.broker.machine.sessions import MAX_NAME
from paintmq.broker.machine.tasks import TaskTable
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import Limits, QueueConfig
from paintmq.errors import InvalidTaskError
from paintmq.plugin.catalog import Catalog, CheckedTask
from paintmq.plugin.watched_inputs import undigested
from paintmq.task import TaskRequest
from paintmq.wire.messages import Rejected

REMEMBERED = 1_000
"""Forms of tasks that are known to pass: most tasks come in large numbers that are alike."""
LONGEST_RETRY = 60.0
"""Seconds. A client told to wait longer would miss the room that other tasks leave meanwhile."""


@define
class Admission:
    """Decides whether a task is accepted, and into which queue."""

    catalog: Catalog
    queues: Mapping[str, QueueConfig]
    _scheduler: Scheduler
    _tasks: TaskTable
    _limits: Limits
    strict: bool = False
    closed: tuple[str, ...] = ()
    """Queues that are drained: they take no new tasks."""
    draining: bool = False
    disk_full: bool = False
    disk_busy: bool = False
    _feasible: FeasibleQueues = field(factory=FeasibleQueues, init=False)
    _found: dict[tuple[object, ...], CheckedTask] = field(
        factory=dict[tuple[object, ...], CheckedTask], init=False
    )
    """What passed all checks that depend on the task alone; see ``_check_itself``."""
    _found_for: tuple[Catalog | None, Limits | None] = field(default=(None, None), init=False)
    """The catalog and the limits by which it passed."""

    def exceeds_key(self, request: TaskRequest, credentials: Credentials) -> Rejected | None:
        """Return the refusal of a request that claims more than its client's key allows.

        This comes before the broker looks whether it knows the task: what a key may not claim must
        tell it nothing.
        """
        if not credentials.may_use(request.id):
            return _reject(
                request,
                "not_allowed",
                f"the id {request.id} is not for tasks of your key {credentials.key!r}: use a "
                f"UUID version 7, or let the client library make it of an idempotency key",
            )
        tenant, highest = credentials.tenant, credentials.max_priority
        if tenant is not None and request.tenant not in ("", tenant):
            reason = f"your key is for the tenant {tenant!r}, not for {request.tenant!r}"
            return _reject(request, "not_allowed", reason)
        if highest is not None and request.priority > highest:
            reason = f"your key allows priorities up to {highest}, not {request.priority}"
            return _reject(request, "not_allowed", reason)
        return None

    def decide(
        self, request: TaskRequest, *, now: float, credentials: Credentials = NO_KEYS
    ) -> tuple[str, CheckedTask] | Rejected:
        """Return the queue and the checked task, or the refusal."""
        if self.draining:
            return _reject(request, "draining", "the broker is shutting down", retry_after=30.0)
        if self.disk_full:
            return _reject(request, "disk_full", "the broker's disk is full", retry_after=10.0)
        if self.disk_busy:
            reason = "the broker's disk is slow and too many records wait to be written"
            return _reject(request, "disk_busy", reason, retry_after=1.0)
        checked = self._check_itself(request)
        if isinstance(checked, Rejected):
            return checked
        size = request.input_bytes
        refusal = self._exceeds_room(request, size) or self._exceeds_quota(request, credentials)
        return refusal or self._queue_for(request, checked, size, now, credentials.queues)

    def _check_itself(self, request: TaskRequest) -> CheckedTask | Rejected:
        """Make the checks that depend on the task alone; once, for all that are like it."""
        catalog, limits = self._found_for
        if (
            catalog is not self.catalog
            or limits is not self._limits
            or len(self._found) >= REMEMBERED
        ):
            self._found_for = self.catalog, self._limits
            self._found.clear()
        key = _what_is_checked(request)
        if (found := self._found.get(key)) is not None:
            return found
        if (refusal := self._exceeds_sizes(request)) is not None:
            return refusal
        try:
            checked = self.catalog.check(request)
        except InvalidTaskError as error:
            return _reject(request, error.code, str(error))
        if (refusal := self._exceeds_limits(request, checked)) is not None:
            return refusal
        if not checked.looks_at_digests:
            self._found[key] = checked
        return checked

    def _exceeds_quota(self, request: TaskRequest, credentials: Credentials) -> Rejected | None:
        quota = credentials.quota
        if quota is None or self._tasks.unfinished_of(credentials.key) < quota:
            return None
        reason = f"your key {credentials.key!r} allows {quota} unfinished tasks (its quota)"
        return _reject(request, "queue_full", reason, retry_after=5.0)

    def _exceeds_sizes(self, request: TaskRequest) -> Rejected | None:
        limits = self._limits
        if (longest := longest_text(request)) > MAX_NAME:
            reason = f"a name in the task has {longest} characters, at most {MAX_NAME} are allowed"
            return _reject(request, "invalid_task", reason)
        options = len(msgspec.msgpack.encode(request.options)) if request.options else 0
        if options > limits.max_options_bytes:
            return _reject(
                request,
                "invalid_option",
                f"the options have {options} bytes, at most {limits.max_options_bytes} are allowed "
                f"(limits.max_options_bytes)",
            )
        return None

    def _exceeds_limits(self, request: TaskRequest, checked: CheckedTask) -> Rejected | None:
        limits, size = self._limits, request.input_bytes
        for info in request.inputs:
            if info.size > limits.max_payload_bytes:
                return _reject(
                    request,
                    "invalid_input",
                    f"input {info.name!r} has {info.size} bytes, at most "
                    f"{limits.max_payload_bytes} are allowed (limits.max_payload_bytes)",
                )
            sides = max(info.width, info.height), info.width * info.height
            if sides[0] > limits.max_side or sides[1] > limits.max_pixels:
                return _reject(
                    request,
                    "invalid_input",
                    f"input {info.name!r} has {info.width} x {info.height} pixels, at most "
                    f"{limits.max_pixels:,} (limits.max_pixels) and {limits.max_side:,} along a "
                    f"side (limits.max_side) are allowed",
                )
        if checked.result_bytes > limits.max_payload_bytes:
            return _reject(
                request,
                "invalid_input",
                f"the result would have {checked.result_bytes:,} bytes, at most "
                f"{limits.max_payload_bytes:,} are allowed: use a smaller image or scale, or raise "
                f"limits.max_payload_bytes",
            )
        if size > limits.max_task_bytes:
            return _reject(
                request,
                "invalid_input",
                f"the inputs have {size} bytes, at most {limits.max_task_bytes} are allowed "
                f"(limits.max_task_bytes)",
            )
        return None

    def _exceeds_room(self, request: TaskRequest, size: int) -> Rejected | None:
        limits = self._limits
        if self._tasks.unfinished >= limits.max_tasks:
            return _reject(
                request,
                "queue_full",
                f"the broker holds {limits.max_tasks} unfinished tasks (limits.max_tasks)",
                retry_after=5.0,
            )
        if len(self._tasks) >= limits.max_kept_tasks:
            return _reject(
                request,
                "queue_full",
                f"the broker keeps {limits.max_kept_tasks} tasks, most of them ended and not yet "
                f"confirmed by their clients (limits.max_kept_tasks)",
                retry_after=60.0,
            )
        held = self._tasks.input_bytes + self._tasks.output_bytes
        if held + size > limits.max_bytes_in_flight:
            return _reject(
                request,
                "bytes_full",
                f"the broker holds {held} bytes of images and results, at most "
                f"{limits.max_bytes_in_flight} are allowed (limits.max_bytes_in_flight)",
                retry_after=5.0,
            )
        return None

    def _queue_for(
        self,
        request: TaskRequest,
        checked: CheckedTask,
        size: int,
        now: float,
        allowed: tuple[str, ...] | None,
    ) -> tuple[str, CheckedTask] | Rejected:
        if request.queue and request.queue not in self.queues:
            known = ", ".join(self.queues)
            return _reject(
                request,
                "invalid_task",
                f"there is no queue {request.queue!r}; known queues: {known}",
            )
        feasible = self._feasible.of(self.queues, checked)
        if not feasible.queues:
            return _reject(
                request, "no_queue_fits", f"no queue can hold this task: {feasible.reason()}"
            )
        if allowed is not None:
            others, feasible = feasible.queues, feasible.within(allowed)
            if (refusal := _refused_by_key(request, feasible, allowed, others)) is not None:
                return refusal
        if request.queue and request.queue not in feasible.queues:
            return _reject(
                request,
                "no_queue_fits",
                f"queue {request.queue} cannot hold this task: "
                f"{feasible.objections[request.queue]}; {', '.join(feasible.queues)} could",
            )
        candidates: Sequence[str] = (request.queue,) if request.queue else feasible.queues
        if self.closed:
            drained, candidates = candidates, [n for n in candidates if n not in self.closed]
            if not candidates:
                return _reject(
                    request,
                    "draining",
                    f"queue {' and '.join(drained)} takes no new tasks: an operator drains it",
                    retry_after=30.0,
                )
        is_strict = self.strict or request.strict
        if is_strict and not self._scheduler.could_run(checked, candidates):
            return _reject(
                request,
                "no_worker",
                f"no connected worker can run model {request.model!r} on "
                f"{' or '.join(checked.needs)}: "
                f"{self._scheduler.why_none_could(checked, candidates)}",
            )
        open_queues = [name for name in candidates if not self._is_full(name, size)]
        if not open_queues:
            name = candidates[0]
            return _reject(
                request,
                "queue_full",
                f"queue {' and '.join(candidates)} is full "
                f"({self._tasks.counts[name].waiting} tasks waiting, "
                f"{self._tasks.counts[name].bytes_waiting} bytes)",
                retry_after=min(self._seconds_until_room(name) for name in candidates),
            )
        return self._scheduler.choose_queue(checked, open_queues, now=now), checked

    def _seconds_until_room(self, name: str) -> float:
        """Return the expected duration of one of the queue's tasks: then one more fits in."""
        counts = self._tasks.counts[name]
        one = self._scheduler.expected_work(name) / max(1, counts.waiting + counts.running)
        return max(1.0, min(LONGEST_RETRY, one))

    def _is_full(self, name: str, size: int) -> bool:
        queue, counts = self.queues[name], self._tasks.counts[name]
        return counts.waiting >= queue.capacity or counts.bytes_waiting + size > queue.max_bytes


def _what_is_checked(request: TaskRequest) -> tuple[object, ...]:
    """Return all of a request that ``_check_itself`` looks at."""
    options = msgspec.msgpack.encode(request.options) if request.options else b""
    return (
        request.model,
        request.task_type,
        request.device,
        request.queue,
        request.tenant,
        request.priority,
        request.max_attempts,
        request.run_limit,
        request.expires_in,
        options,
        *[(undigested(info), len(info.digest)) for info in request.inputs],
    )


def longest_text(request: TaskRequest) -> int:
    """Return the length of the longest string in a request, not counting its options."""
    longest = max(
        len(request.task_type),
        len(request.model),
        len(request.tenant),
        len(request.queue),
        len(request.trace),
    )
    for info in request.inputs:
        longest = max(longest, len(info.name), len(info.digest), len(info.dtype))
    return longest


def _refused_by_key(
    request: TaskRequest, feasible: Feasibility, allowed: Sequence[str], others: Sequence[str]
) -> Rejected | None:
    """Return the refusal of a task that fits only into queues outside the client's key, if so.

    ``feasible`` covers only the ``allowed`` queues; ``others`` are all queues that could hold it.
    """
    if request.queue and request.queue not in allowed:
        reason = f"your key allows {' and '.join(allowed)}, not queue {request.queue}"
        return _reject(request, "not_allowed", reason)
    if not feasible.queues:
        return _reject(
            request,
            "no_queue_fits",
            f"none of the queues that your key allows can hold this task: {feasible.reason()}; "
            f"with another key, {', '.join(others)} could",
        )
    return None


def _reject(
    request: TaskRequest, code: str, reason: str, *, retry_after: float | None = None
) -> Rejected:
    return Rejected(task_id=request.id, code=code, reason=reason, retry_after=retry_after)
