"""The broker with one rule broken on purpose: a checker that never fails proves nothing.

The simulation must catch each mutant within the stated number of seeds, which is generous.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from attrs import evolve, field, frozen

from paintmq.broker.machine import Credentials, Step, orders, worker_handler
from paintmq.broker.machine.client_handler import ClientHandler
from paintmq.broker.machine.leases import Leases
from paintmq.broker.machine.lifecycle import Lifecycle
from paintmq.broker.machine.retention import Retention
from paintmq.broker.machine.sessions import WorkerSession
from paintmq.broker.machine.step import StepBuilder
from paintmq.broker.machine.tasks import TaskEntry, TaskTable
from paintmq.broker.machine.transitions import RECORDS, Event
from paintmq.broker.records import TaskChanged
from paintmq.broker.scheduling.decisions import Decisions
from paintmq.broker.scheduling.worker import Worker
from paintmq.client.commands import Command, TaskEnded
from paintmq.client.commands import Send as Say
from paintmq.client.machine import ClientMachine
from paintmq.task import Fence, PeerId, TaskError, TaskId, TaskRequest, TaskState
from paintmq.wire.messages import Finished, ResultReceived, ToWorker, WhoAreYou
from paintmq.worker.machine import batches
from paintmq.worker.machine.commands import Command as Order
from paintmq.worker.machine.host_control import HostControl
from paintmq.worker.machine.machine import WorkerMachine
from tests.harness.simulation.broker import SimulatedBroker
from tests.harness.simulation.cluster import Scale, SimulatedCluster
from tests.harness.simulation.oracle import judged_run
from tests.harness.simulation.world import Weather


@frozen
class Mutant:
    """One broken rule."""

    name: str
    seen_as: str
    """The invariants, one of which the judge must name: a pattern."""
    breaks: Callable[[ExitStack], None]
    seeds: int = 60
    """Runs of half an hour within which it must be caught."""
    weather: Weather | None = None
    """Of the faults that bring it to light, more; None: the usual mixes."""
    scale: Scale = field(default=Scale(hours=0.5))

    def caught_as(self) -> str:
        """Return what the judge says of the first run that breaks a promise; empty if none does."""
        with self.applied():
            return next(filter(None, map(self._complaint, range(self.seeds))), "")

    def _complaint(self, seed: int) -> str:
        try:
            judged_run(SimulatedCluster(seed, scale=self.scale, weather=self.weather))
        except AssertionError as error:
            return str(error)
        return ""

    @contextmanager
    def applied(self) -> Iterator[None]:
        with ExitStack() as stack:
            self.breaks(stack)
            yield


def _replace(owner: Any, name: str, function: Any) -> Callable[[ExitStack], None]:
    return lambda stack: stack.enter_context(patch.object(owner, name, function))


def _replace_all(*replacements: tuple[Any, str, Any]) -> Callable[[ExitStack], None]:
    def breaks(stack: ExitStack) -> None:
        for replacement in replacements:
            _replace(*replacement)(stack)

    return breaks


def _speak_before_commit(self: SimulatedBroker, step: Step) -> None:
    self.write(step)
    for send in step.sends:
        self.speak(send)
    self._schedule_tick()


def _speak_at_once_without_records(self: SimulatedBroker, step: Step) -> None:
    sequence = self.write(step)
    if step.records:
        self._outbox.append((sequence, step.sends))
        self.flush()
    else:
        for send in step.sends:
            self.speak(send)
    self._schedule_tick()


def _any_fence(self: Leases, task_id: TaskId, fence: Fence, who: object) -> Any:
    entry = self._step.tasks.get(task_id)
    return entry if entry is not None and entry.status.state.is_leased else None


def _even_the_ended(self: Leases, task_id: TaskId, fence: Fence, session: PeerId) -> Any:
    entry = self._step.tasks.get(task_id)
    return entry if entry is not None and entry.status.fence == fence else None


def _any_session(self: Leases, task_id: TaskId, fence: Fence, session: PeerId) -> Any:
    entry = self._step.tasks.get(task_id)
    is_current = entry is not None and entry.status.state.is_leased and entry.status.fence == fence
    return entry if is_current else None


def _may_claim_by_name(self: Leases, task_id: TaskId, fence: Fence, worker: WorkerSession) -> bool:
    entry = _any_session(self, task_id, fence, worker.peer)
    return entry is not None and entry.status.worker == worker.hello.name


def _yes(*arguments: object) -> bool:
    return True


def _no_objection(*arguments: object) -> str:
    return ""


_submit = ClientHandler._submit


def _forget_and_submit(
    self: ClientHandler,
    peer: PeerId,
    request: TaskRequest,
    now: float,
    credentials: Credentials,
) -> None:
    known = self._tasks.get(request.id)
    if known is not None and known.status.state.is_final:
        self._life.retention.purge(known)
    _submit(self, peer, request, now, credentials)


_retry_or_die = Lifecycle._retry_or_die


def _never_die(self: Lifecycle, entry: TaskEntry, status: Any, **more: Any) -> None:
    _retry_or_die(self, entry, status, **(more | {"spent": False}))


_handle = WorkerMachine._handle


def _greet_again(self: WorkerMachine, message: ToWorker, *, now: float) -> list[Order]:
    if isinstance(message, WhoAreYou) and not self._connection.greeting:
        return self._greet(now=now)
    return _handle(self, message, now=now)


def _charge_a_crash(self: Lifecycle, entry: TaskEntry, *, now: float) -> None:
    self.crash(entry, alone=True, detail="its worker fell silent", now=now)


_crash = Lifecycle.crash


def _charge_every_task(
    self: Lifecycle, entry: TaskEntry, *, alone: bool, detail: str, now: float
) -> None:
    _crash(self, entry, alone=True, detail=detail, now=now)


_change = TaskTable.change


def _miscount_at_times(self: TaskTable, entry: TaskEntry, status: Any) -> None:
    _change(self, entry, status)
    if status.state is TaskState.FAILED:
        self.counts[status.queue].ended[TaskState.FAILED] += 1


_cancelled_answer = ClientHandler._cancel


def _always_cancelled(
    self: ClientHandler, task_id: TaskId, now: float, credentials: Credentials
) -> str:
    answer = _cancelled_answer(self, task_id, now, credentials)
    return answer if answer == "unknown" else "cancelled"


def _forget_the_session(
    self: Lifecycle,
    entry: TaskEntry,
    *,
    now: float,
    ran: float | None = None,
    may_still_run: bool = False,
) -> None:
    self.deadlines.discard(("task", entry.id, 0))
    entry.session = None  # and the worker's credit is gone for ever


_restore = Lifecycle.restore


def _forget_the_leased(self: Lifecycle, entry: TaskEntry, *, now: float) -> None:
    if entry.status.state.is_leased:
        self.step.tasks.add(entry)
    else:
        _restore(self, entry, now=now)


def _mix_up_outputs(
    self: Lifecycle, entry: TaskEntry, outputs: Sequence[Any], *, ran: float, now: float
) -> None:
    previous, _LAST["outputs"] = _LAST.get("outputs", outputs), outputs
    _succeed(self, entry, tuple(previous), ran=ran, now=now)


_succeed = Lifecycle.succeed
_LAST: dict[str, Sequence[Any]] = {}

_lease = Leases._lease


def _mix_up_inputs(self: Leases, task_id: TaskId, session: PeerId, now: float, run: float) -> Any:
    assignment = _lease(self, task_id, session, now, run)
    inputs = assignment.task.inputs
    previous, _LAST["inputs"] = _LAST.get("inputs", inputs), inputs
    return evolve(assignment, task=evolve(assignment.task, inputs=tuple(previous)))


def _record_no_starts(
    self: StepBuilder, entry: TaskEntry, event: Event, status: Any, timers: Any
) -> None:
    self.tasks.change(entry, status)
    self.set_timers(entry, timers)
    if event not in (Event.LOAD, Event.RUN):
        self.records.append(TaskChanged(entry.id, RECORDS[event], status))


def _only_record_that_it_waits(
    self: Lifecycle, entry: TaskEntry, event: Event, status: Any, *, now: float
) -> None:
    self.step.change(entry, event, status, self._waiting_timers(entry, status, now=now))


def _report_every_ending(self: ClientMachine, message: Finished) -> list[Command]:
    self._requests.drop_task(message.task_id)
    return [TaskEnded(message), Say(ResultReceived(message.task_id))]


def _ask_no_worker(self: Decisions, worker: Worker) -> None:
    pass


def _forget_what_has_ended(
    self: Retention, status: Any, *, now: float, restarted: bool = False
) -> float:
    return now + 1.0


def _purge_what_has_ended(self: Retention, *, at_most: int) -> None:
    ended = [entry for entry in self._step.tasks if entry.status.state.is_final]
    for entry in ended[:at_most]:
        self.purge(entry)


_hand_back = Lifecycle.hand_back


def _charge_whatever_came_back(
    self: Lifecycle, entry: TaskEntry, *, trouble: str = "", now: float
) -> None:
    status = entry.status
    self.step.tasks.change(entry, status.changed(undelivered=status.undelivered + 1))
    _hand_back(self, entry, trouble=trouble, now=now)


def _fail_what_waits(self: HostControl) -> list[Order]:
    error = TaskError(code="host_failed", message="it does not start", retryable=True)
    return self._answers.fail(self._batches.pop_waiting(), error, now=0.0)


MUTANTS: Sequence[Mutant] = (
    Mutant(
        "speaks before it commits",
        "I1|I2|I4",
        _replace(SimulatedBroker, "perform", _speak_before_commit),
        weather=Weather(commit=2.0, broker_kills=60.0),
    ),
    Mutant(
        "answers from memory while an older record is not committed",
        "I2|I4|I7",
        _replace(SimulatedBroker, "perform", _speak_at_once_without_records),
        weather=Weather(duplication=0.3, delay=0.2, commit=2.0, broker_kills=60.0),
    ),
    Mutant(
        "does not look at fences",
        "I3|I5|I8",
        _replace_all((Leases, "current", _any_fence), (Leases, "may_claim", _any_fence)),
        weather=Weather(duplication=0.1, delay=5.0, node_freezes=40.0),
        scale=Scale(hours=0.5, keys=False),
    ),
    Mutant(
        "lets a late result overwrite an ending",
        "I3|leads to nowhere",
        _replace(Leases, "current", _even_the_ended),
        scale=Scale(hours=0.5, keys=False),
    ),
    Mutant(
        "runs a task again that is submitted again",
        "I3|I4",
        _replace(ClientHandler, "_submit", _forget_and_submit),
        scale=Scale(hours=0.5, keys=False),
    ),
    Mutant(
        "is greeted by its workers on the connections of the one before",
        "I1",
        _replace(WorkerMachine, "_handle", _greet_again),
        weather=Weather(broker_kills=60.0),
        scale=Scale(hours=0.5, nodes=1),
    ),
    Mutant("has no dead letters", "I1|I8", _replace(Lifecycle, "_retry_or_die", _never_die)),
    Mutant("takes any lost lease for a crash", "I8", _replace(Lifecycle, "lose", _charge_a_crash)),
    Mutant(
        "has no quarantine",
        "I8|I9",
        _replace(Lifecycle, "crash", _charge_every_task),
        weather=Weather(host_kills=60.0),
        scale=Scale(hours=0.5, nodes=1, tasks=900),
    ),
    Mutant(
        "blames what a dead host had only been given",
        "I8",
        _replace(batches, "PUT_BACKS", 0),
        weather=Weather(host_kills=60.0, node_freezes=30.0),
        scale=Scale(hours=0.5, nodes=3, tasks=600),
    ),
    Mutant(
        "charges what a worker in trouble gives back",
        "I8|I9",
        _replace(Lifecycle, "hand_back", _charge_whatever_came_back),
        weather=Weather(bad_starts=0.5),
    ),
    Mutant(
        "lets its workers fail what waits for a host that does not start",
        "I9",
        _replace(HostControl, "_hand_back_waiting", _fail_what_waits),
        weather=Weather(bad_starts=0.5),
    ),
    Mutant("counts wrong, rarely", "I10|add up", _replace(TaskTable, "change", _miscount_at_times)),
    Mutant(
        "says cancelled of what it did not cancel",
        "I7",
        _replace(ClientHandler, "_cancel", _always_cancelled),
    ),
    Mutant(
        "never gives credit back",
        "I1|I21",
        _replace(Lifecycle, "_end_attempt", _forget_the_session),
    ),
    Mutant(
        "forgets at a restart who was at work",
        "I1|with the timers",
        _replace(Lifecycle, "restore", _forget_the_leased),
    ),
    Mutant("mixes up results", "I22", _replace(Lifecycle, "succeed", _mix_up_outputs)),
    Mutant("mixes up inputs", "I20", _replace(Leases, "_lease", _mix_up_inputs)),
    Mutant(
        "does not record that an attempt has begun",
        "I17",
        _replace(StepBuilder, "change", _record_no_starts),
    ),
    Mutant(
        "does not put retried tasks back into the scheduler",
        "I1|not in the scheduler",
        _replace(Lifecycle, "_wait", _only_record_that_it_waits),
    ),
    Mutant(
        "lets its clients report every ending they hear",
        "I4",
        _replace(ClientMachine, "_finished", _report_every_ending),
    ),
    Mutant(
        "does not ask what a free worker could take",
        "I1|I21",
        _replace(Decisions, "ask_about", _ask_no_worker),
    ),
    Mutant(
        "shows every task to every key",
        "I24",
        _replace(Credentials, "sees", _yes),
    ),
    Mutant("lets whoever fetches a result let it go", "I24", _replace(Credentials, "owns", _yes)),
    Mutant(
        "lets whoever fetches a result let it go, its disk being full",
        "I24",
        _replace(Credentials, "owns", _yes),
        weather=Weather(disks_full=30.0),
    ),
    Mutant(
        "makes room on a full disk of results that their owners do not have",
        "I2|I3|I4|I24",
        _replace(Retention, "purge_confirmed", _purge_what_has_ended),
        weather=Weather(disks_full=30.0, loss=0.1, client_kills=6.0),
    ),
    Mutant(
        "lets a worker claim what a namesake was given",
        "I24",
        _replace(Leases, "may_claim", _may_claim_by_name),
    ),
    Mutant(
        "moves tasks out of the queues of their owners' keys",
        "I24",
        _replace(orders, "not_its_owners", _no_objection),
        scale=Scale(hours=0.5, clients=3),
    ),
    Mutant("believes whoever knows the fence", "I24", _replace(Leases, "current", _any_session)),
    Mutant(
        "drops whom a worker says it replaces", "I24", _replace(worker_handler, "_is_same", _yes)
    ),
    Mutant(
        "forgets results before their clients have them",
        "I2|I3|I4",
        _replace(Retention, "purge_at", _forget_what_has_ended),
    ),
)
