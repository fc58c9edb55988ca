"""The broker with one rule broken on purpose: a checker that never fails proves nothing.

Each mutant must be caught by the simulation within a stated number of seeds. The first nine are
those that a prototype of this design was tried with; the number of seeds is generous.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from attrs import field, frozen

from paintmq.broker.client_desk import ClientDesk
from paintmq.broker.lifecycle import Lifecycle
from paintmq.broker.step import Step
from paintmq.broker.tasks import TaskEntry, TaskTable
from paintmq.task import Fence, PeerId, TaskId, TaskRequest, TaskState
from paintmq.testing.simulation.broker import SimulatedBroker
from paintmq.testing.simulation.cluster import Scale, SimulatedCluster
from paintmq.testing.simulation.world import Weather
from paintmq.worker import batches


@frozen
class Mutant:
    """One broken rule."""

    name: str
    breaks: Callable[[ExitStack], None]
    seeds: int = 60
    """Within so many runs of half an hour it must be caught."""
    weather: Weather | None = None
    """Of the faults that bring it to light, more; None: the usual mixes."""
    scale: Scale = field(default=Scale(hours=0.5))

    def is_caught(self) -> bool:
        """Return whether one of the runs breaks a promise."""
        with self.applied():
            return any(self._fails(seed) for seed in range(self.seeds))

    def _fails(self, seed: int) -> bool:
        try:
            SimulatedCluster(seed, scale=self.scale, weather=self.weather).run()
        except AssertionError:
            return True
        return False

    @contextmanager
    def applied(self) -> Iterator[None]:
        with ExitStack() as stack:
            self.breaks(stack)
            yield


def _replace(owner: Any, name: str, function: Any) -> Callable[[ExitStack], None]:
    return lambda stack: stack.enter_context(patch.object(owner, name, function))


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


def _any_fence(self: Lifecycle, task_id: TaskId, fence: Fence, worker: str) -> bool:
    entry = self.step.tasks.get(task_id)
    return entry is not None and entry.status.state.is_leased


def _even_the_ended(self: Lifecycle, task_id: TaskId, fence: Fence, worker: str) -> bool:
    entry = self.step.tasks.get(task_id)
    return entry is not None and entry.status.fence == fence


_submit = ClientDesk._submit


def _forget_and_submit(self: ClientDesk, peer: PeerId, request: TaskRequest, now: float) -> None:
    known = self._tasks.get(request.id)
    if known is not None and known.status.state.is_final:
        self._life.deadlines.discard(("purge", request.id, 0))
        self._life.retention.purge(known)
    _submit(self, peer, request, now)


_retry_or_die = Lifecycle._retry_or_die


def _never_die(self: Lifecycle, entry: TaskEntry, status: Any, **more: Any) -> None:
    _retry_or_die(self, entry, status, **(more | {"spent": False}))


def _charge_a_crash(self: Lifecycle, entry: TaskEntry, *, now: float) -> None:
    self.crash(entry, alone=True, detail="its worker fell silent", now=now)


_crash = Lifecycle.crash


def _charge_everybody(
    self: Lifecycle, entry: TaskEntry, *, alone: bool, detail: str, now: float
) -> None:
    _crash(self, entry, alone=True, detail=detail, now=now)


_change = TaskTable.change


def _miscount_at_times(self: TaskTable, entry: TaskEntry, status: Any) -> None:
    _change(self, entry, status)
    if status.state is TaskState.FAILED:
        self.counts[status.queue].ended[TaskState.FAILED] += 1


_cancelled_answer = ClientDesk._cancel


def _always_cancelled(self: ClientDesk, task_id: TaskId, now: float) -> str:
    answer = _cancelled_answer(self, task_id, now)
    return answer if answer == "unknown" else "cancelled"


def _forget_the_session(
    self: Lifecycle, entry: TaskEntry, *, now: float, ran: float | None = None, limbo: bool = False
) -> None:
    self.deadlines.discard(("lease", entry.id, 0))
    self.deadlines.discard(("run", entry.id, 0))
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

MUTANTS: Sequence[Mutant] = (
    Mutant(
        "speaks before it commits",
        _replace(SimulatedBroker, "perform", _speak_before_commit),
        weather=Weather(commit=2.0, broker_kills=60.0),
    ),
    Mutant(
        "answers from memory while an older record is not committed",
        _replace(SimulatedBroker, "perform", _speak_at_once_without_records),
        weather=Weather(duplication=0.3, delay=0.2, commit=2.0, broker_kills=60.0),
    ),
    Mutant("does not look at fences", _replace(Lifecycle, "holds", _any_fence)),
    Mutant("lets a late result overwrite an ending", _replace(Lifecycle, "holds", _even_the_ended)),
    Mutant(
        "runs a task again that is submitted again",
        _replace(ClientDesk, "_submit", _forget_and_submit),
    ),
    Mutant("has no dead letters", _replace(Lifecycle, "_retry_or_die", _never_die)),
    Mutant("takes any lost lease for a crash", _replace(Lifecycle, "lose", _charge_a_crash)),
    Mutant(
        "has no quarantine",
        _replace(Lifecycle, "crash", _charge_everybody),
        weather=Weather(host_kills=60.0),
        scale=Scale(hours=0.5, nodes=1, tasks=900),
    ),
    Mutant(
        "blames what a dead host had only been given",
        _replace(batches, "PUT_BACKS", 0),
        weather=Weather(host_kills=60.0, node_freezes=30.0),
        scale=Scale(hours=0.5, nodes=3, tasks=600),
    ),
    Mutant("counts wrong, rarely", _replace(TaskTable, "change", _miscount_at_times)),
    Mutant(
        "says cancelled of what it did not cancel",
        _replace(ClientDesk, "_cancel", _always_cancelled),
    ),
    Mutant("never gives credit back", _replace(Lifecycle, "_end_attempt", _forget_the_session)),
    Mutant(
        "forgets at a restart who was at work", _replace(Lifecycle, "restore", _forget_the_leased)
    ),
    Mutant("mixes up results", _replace(Lifecycle, "succeed", _mix_up_outputs)),
)
