"""A model host that loads and runs nothing, but takes its time and dies like a real one."""

import hashlib
import random
from collections.abc import Callable
from enum import Enum
from typing import Any

from attrs import define, field, frozen

from paintmq.task import PayloadInfo, TaskError, TaskId
from paintmq.worker.channel.messages import (
    AttemptsEnded,
    BatchBegun,
    BatchProgressed,
    CancelItem,
    FromHost,
    HostBeat,
    HostLoaded,
    HostLoadFailed,
    HostReady,
    HostUnloaded,
    Load,
    Outcome,
    Run,
    RunItem,
    Shutdown,
    ToHost,
    Unload,
)
from tests.harness.simulation.world import Agenda

BEAT = 10.0
LOADS_THAT_FAIL = 0.03


class Nature(Enum):
    """What running a task does, whoever runs it."""

    GOOD = "good"
    BROKEN = "broken"  # always an error
    FLAKY = "flaky"  # an error that may pass
    POISON = "poison"  # kills its process
    STUBBORN = "stubborn"  # good, but does not heed a cancel
    ENDLESS = "endless"  # never ends by itself


@frozen
class Behaviour:
    """The truth about one task, known to the simulation alone."""

    nature: Nature
    seconds: float


def output_of(task_id: TaskId) -> PayloadInfo:
    """Return the one result that belongs to this task and to no other."""
    digest = hashlib.sha256(task_id.encode()).hexdigest()
    return PayloadInfo(name="image", size=100, digest=digest, kind="file")


def input_of(task_id: TaskId) -> PayloadInfo:
    """Return the one input that belongs to this task and to no other."""
    digest = hashlib.sha256(b"input of " + task_id.encode()).hexdigest()
    return PayloadInfo(name="image", size=1_000, digest=digest, kind="file")


@define
class SimulatedHost:
    """One process. ``say`` reaches its agent; ``die`` ends it, for the reason given."""

    agenda: Agenda
    rng: random.Random
    behaviours: dict[TaskId, Behaviour]
    say: Callable[["SimulatedHost", FromHost], None]
    die: Callable[["SimulatedHost", str], None]
    started: Callable[["SimulatedHost", TaskId], None]
    keeps_mark: bool
    """Its agent can see what it is at; else it is told."""
    alive: bool = True
    running: list[TaskId] = field(factory=list[TaskId], init=False)
    mark: int = field(default=0, init=False)
    """The batch that it is at, as it notes where its death does not wipe it out; 0: none."""
    _inbox: list[ToHost] = field(factory=list[ToHost], init=False)
    _busy: bool = field(default=False, init=False)
    _cancelled: set[TaskId] = field(factory=set[TaskId], init=False)

    def start(self) -> None:
        self._later(self.rng.uniform(0.2, 1.0), self._say, HostReady())
        self._later(BEAT, self._beat)

    def receive(self, message: ToHost) -> None:
        if not self.alive:
            return  # its agent has not noticed yet
        if isinstance(message, CancelItem):
            self._cancelled.add(message.task_id)
            return
        self._inbox.append(message)
        self._next()

    def _next(self) -> None:
        # What was just said may already have brought the next order, and begun it.
        if self._busy or not self._inbox:
            return
        self._busy = True
        match self._inbox.pop(0):
            case Load(model):
                seconds = self.rng.uniform(0.5, 8.0)
                self._later(seconds, self._loaded, model, seconds)
            case Unload(model):
                self._later(0.1, self._done, HostUnloaded(model))
            case Run() as run:
                self._run(run)
            case Shutdown():
                self._later(0.05, self.die, self, "exit status 0")
            case _:
                self._done()

    def _loaded(self, model: str, seconds: float) -> None:
        if self.rng.random() < LOADS_THAT_FAIL:
            error = TaskError(code="model_error", message="the weights did not load")
            self._done(HostLoadFailed(model=model, error=error))
        else:
            self._done(HostLoaded(model=model, seconds=seconds, memory_mb=64))

    def _run(self, run: Run) -> None:
        natures = [self.behaviours[item.task_id] for item in run.items]
        self.running = [item.task_id for item in run.items]
        self.mark = run.batch
        if not self.keeps_mark:
            self._say(BatchBegun(run.batch))
        for item in run.items:
            assert item.inputs == (input_of(item.task_id),), f"I20: {item.task_id} has other inputs"
            self.started(self, item.task_id)
        if any(behaviour.nature is Nature.POISON for behaviour in natures):
            self._later(self.rng.uniform(0.0, 1.0), self.die, self, "killed by SIGSEGV")
            return
        self._steps(run, max(behaviour.seconds for behaviour in natures), 0.0)

    def _steps(self, run: Run, total: float, done: float) -> None:
        natures = {self.behaviours[item.task_id].nature for item in run.items}
        heeds = Nature.STUBBORN not in natures and Nature.ENDLESS not in natures
        everyone_left = all(item.task_id in self._cancelled for item in run.items)
        if (heeds and everyone_left) or (done >= total and Nature.ENDLESS not in natures):
            self._end(run, total)
            return
        if done > 0:
            self._say(BatchProgressed(batch=run.batch, step=int(done), total=int(total) + 1))
        step = min(5.0, total - done) if done < total else 5.0
        self._later(step, self._steps, run, total, done + step)

    def _end(self, run: Run, seconds: float) -> None:
        self.running, self.mark = [], 0
        outcomes = tuple(self._outcome(item, seconds) for item in run.items)
        self._cancelled -= {item.task_id for item in run.items}
        self._done(AttemptsEnded(batch=run.batch, outcomes=outcomes))

    def _outcome(self, item: RunItem, seconds: float) -> Outcome:
        task_id, fence = item.task_id, item.fence
        nature = self.behaviours[task_id].nature
        if task_id in self._cancelled:
            return Outcome(task_id=task_id, fence=fence, ending="cancelled")
        if nature is Nature.BROKEN or (nature is Nature.FLAKY and self.rng.random() < 0.4):
            error = TaskError(code="model_error", message="boom", retryable=nature is Nature.FLAKY)
            return Outcome(task_id=task_id, fence=fence, ending="failed", error=error)
        return Outcome(
            task_id=task_id,
            fence=fence,
            ending="succeeded",
            outputs=(output_of(task_id),),
            ran=seconds,
        )

    def _done(self, message: FromHost | None = None) -> None:
        self._busy = False
        if message is not None:
            self._say(message)
        self._next()

    def _beat(self) -> None:
        self._say(HostBeat(memory_mb=200))
        self._later(BEAT, self._beat)

    def _say(self, message: FromHost) -> None:
        self.say(self, message)

    def _later(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        self.agenda.after(seconds, self._if_alive, action, arguments)

    def _if_alive(self, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if self.alive:
            action(*arguments)
