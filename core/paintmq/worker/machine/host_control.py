"""What a worker does with its model host: load, feed, watch, replace. Pure; part of WorkerMachine.

Rule 1: a host is replaced, never repaired; who ran alone in it when it died is reported as alone.
Rule 2: what it had been sent but had not begun is not to blame, and is run by the next host.
Rule 3: where no host starts, what waits is handed back, and nothing taken until one does.
The models in it: ``loaded_models.py``.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import assert_never

from paintmq.model import ModelSpec
from paintmq.task import TaskError
from paintmq.wire.messages import (
    AttemptStarted,
    Draining,
    ResidentModel,
)
from paintmq.worker.channel.messages import (
    AttemptsEnded,
    BatchBegun,
    BatchProgressed,
    BatchSplit,
    CancelItem,
    FromHost,
    HostBeat,
    HostLeaving,
    HostLoaded,
    HostLoadFailed,
    HostReady,
    HostUnloaded,
)
from paintmq.worker.machine.attempts import Answers
from paintmq.worker.machine.batches import Batch, Batches, HandedOver, HeldAttempt
from paintmq.worker.machine.commands import (
    Command,
    KillHost,
    Reconnect,
    SendToBroker,
    SendToHost,
    StartHost,
    StopHost,
)
from paintmq.worker.machine.host_life import HostLife, HostState
from paintmq.worker.machine.loaded_models import LoadedModels
from paintmq.worker.machine.profile import WorkerProfile, WorkerTimers

HOST_WINDOW = 2
"""Batches the host has: one it runs, one it already reads, so that it never waits for the agent."""


class HostControl:
    """Decides what the model host of one worker does, and whether it lives."""

    def __init__(
        self,
        profile: WorkerProfile,
        specs: Mapping[str, ModelSpec],
        timers: WorkerTimers,
        answers: Answers,
    ) -> None:
        self._profile = profile
        self._specs = specs
        self._answers = answers
        self._models = LoadedModels(profile, specs)
        self._host = HostLife(timers, profile.growth_mb)
        self._batches = Batches()
        self._draining = False

    # ---- for the machine -----------------------------------------------------------------------

    @property
    def resident(self) -> tuple[ResidentModel, ...]:
        return self._models.resident

    @property
    def memory_free_mb(self) -> int:
        return max(self._profile.memory_mb - self._host.memory_mb, 0)

    @property
    def gpu_memory_free_mb(self) -> int:
        return self._host.gpu_memory_free_mb

    @property
    def is_draining(self) -> bool:
        return self._draining

    @property
    def excuse(self) -> Draining | None:
        """What the worker tells the broker while it takes no tasks; None while it does.

        It drains, or it is in trouble: no host starts, or one that was killed does not end.
        """
        if self._draining:
            return Draining()
        return Draining(self._host.trouble) if self._host.trouble else None

    @property
    def restart_at(self) -> float:
        """When the next host may be started, if the last one died of itself."""
        return self._host.restart_at

    @property
    def handed_over(self) -> tuple[HandedOver, ...]:
        return self._batches.handed_over

    def want(self, model: str) -> None:
        """Load the model when the host is idle."""
        if model != self._host.loading:
            self._models.want(model)

    def add(self, model: str, attempts: list[HeldAttempt]) -> None:
        """Run these as one batch, after what waits already."""
        self._batches.add(model, attempts)

    def abandon(self, held: HeldAttempt, grace: float, *, now: float) -> list[Command]:
        """Drop the attempt if it has not begun; else ask the model, and act after the grace."""
        if self._batches.drop_waiting(held.key):
            return self._answers.hand_back(held.key, cancelled=True)
        stop_at = now + grace
        held.stop_at = stop_at if held.stop_at is None else min(stop_at, held.stop_at)
        return [SendToHost(CancelItem(*held.key))]

    def receive(self, message: FromHost, *, now: float) -> list[Command]:
        """The host said this. What it says after its end was decided changes nothing."""
        if self._host.state not in (HostState.STARTING, HostState.UP):
            return self._answers.release_outputs(message)
        self._host.alive(now=now)
        return self._note(message, now=now)

    def alive(self, *, now: float) -> None:
        self._host.alive(now=now)

    def exited(
        self, detail: str, *, lines: Sequence[str] = (), marked: int = 0, now: float
    ) -> list[Command]:
        """The process is gone; unless we ended it, answer for what it was doing."""
        self._batches.marked(marked)
        died, was_stuck = self._host.state is not HostState.LEAVING, self._host.stuck
        self._host.printed(lines)
        commands = self._lose_host(detail, now=now) if died else []
        self._host.gone(died=died, now=now)
        if lines and self._host.failed_starts and not died:
            commands += self._tell_trouble()  # now it is known what it had printed
        if was_stuck and not self._draining:
            commands.append(Reconnect("its model host has ended at last"))  # and works again
        return commands

    def watch(self, *, marked: int = 0, now: float) -> list[Command]:
        """Act on what took too long."""
        if self.next_deadline() > now:
            return []
        self._batches.marked(marked)
        return [
            *self._watch_host(now=now),
            *self._watch_exit(now=now),
            *map(SendToBroker, self._batches.pop_untold(now=now)),
            *self._watch_running(now=now),
            *self._watch_abandoned(now=now),
            *self._watch_idleness(now=now),
        ]

    def drain(self) -> list[Command]:
        """Load and begin nothing more; hand back what has not begun."""
        self._draining = True
        return self._hand_back_waiting()

    def _hand_back_waiting(self) -> list[Command]:
        return [
            command
            for key in self._batches.pop_waiting()
            for command in self._answers.hand_back(key, cancelled=False)
        ]

    def abort(self, *, now: float) -> list[Command]:
        """Hand back whatever is left, and kill the host."""
        self._batches.sent.clear()
        commands: list[Command] = []
        for key in list(self._answers.held):
            commands += self._answers.hand_back(key, cancelled=False)
        return [*commands, *self._dismiss_host("was killed: the worker drains", now=now)]

    def next_deadline(self) -> float:
        """Return when ``watch`` or ``advance`` is worth calling; infinity: not for now."""
        at = self._host.next_deadline()
        if held := self._answers.held:
            at = min(at, *[inf if each.stop_at is None else each.stop_at for each in held.values()])
        if running := self._batches.running:
            at = min(at, running.next_deadline(), self._batches.next_to_tell())
        if self._host.state is HostState.ABSENT and self._wants_host():
            at = min(at, self._host.restart_at)
        return at

    # ---- what the host says --------------------------------------------------------------------

    def _note(self, message: FromHost, *, now: float) -> list[Command]:
        match message:
            case HostReady():
                had_trouble = self._host.failed_starts > 0
                self._host.ready(now=now)
                if had_trouble and not self._draining:
                    return [Reconnect("its model host starts again")]
            case HostBeat():
                self._host.beat(message)
            case HostLoaded(model=model) | HostLoadFailed(model=model) if (
                model != self._host.loading
            ):
                pass  # it was not told to load that
            case HostLoaded():
                self._host.load_ends()
                return self._models.loaded(message)
            case HostLoadFailed():
                return self._load_failed(message, now=now)
            case HostUnloaded():
                pass  # it counted as gone when the order was given
            case BatchBegun(number):
                if batch := self._batches.find_sent(number):
                    batch.begin(now=now)
                    self._renew(batch, now=now)
            case BatchProgressed():
                return self._progressed(message, now=now)
            case BatchSplit(number):
                if batch := self._batches.find_sent(number):
                    self._renew(batch, now=now)
            case AttemptsEnded():
                return self._attempts_ended(message, now=now)
            case HostLeaving(reason):
                self._batches.put_back()  # it has answered for all it touched
                return self._dismiss_host(f"left: {reason}", now=now)
            case _:
                assert_never(message)
        return []

    def _load_failed(self, message: HostLoadFailed, *, now: float) -> list[Command]:
        self._host.load_ends()
        room = self._models.make_room_again(message)  # and it is loaded again, as it still waits
        return room or self._fail_loading(message.model, message.error, now=now)

    def _fail_loading(self, model: str, error: TaskError, *, now: float) -> list[Command]:
        news = self._models.give_up_model(model, error)
        return [*news, *self._answers.fail(self._batches.pop_waiting(model), error, now=now)]

    def _progressed(self, message: BatchProgressed, *, now: float) -> list[Command]:
        batch = self._batches.find_sent(message.batch)
        if batch is None:
            return []
        batch.stall_at = now + self._specs[batch.model].stall_limit
        return [SendToBroker(each) for each in batch.progress(message)]

    def _attempts_ended(self, message: AttemptsEnded, *, now: float) -> list[Command]:
        batch = self._batches.find_sent(message.batch)
        if batch is None:
            return self._answers.release_outputs(message)
        commands: list[Command] = []
        for outcome in message.outcomes:
            batch.attempts.pop((outcome.task_id, outcome.fence), None)
            commands += self._answers.settle(outcome, now=now)
        if any(outcome.error and outcome.error.code == "oom" for outcome in message.outcomes):
            commands += self._models.unload_but(*(sent.model for sent in self._batches.sent))
        if batch.attempts:
            self._renew(batch, now=now)
            return commands
        self._batches.sent.remove(batch)
        self._host.batch_ended(message.memory_mb)
        if running := self._batches.running:
            self._is_next(running, now=now)
        return commands

    def _lose_host(self, detail: str, *, timed_out: bool = False, now: float) -> list[Command]:
        """Answer for what the host was doing, and record that its models are gone."""
        commands, printed = self._models.lost(), "\n".join(self._host.last_lines)
        if self._host.state is HostState.STARTING:
            self._host.start_failed(detail)
            commands += [*self._tell_trouble(), *self._hand_back_waiting()]
        elif self._host.loading:
            text = f"the model host {detail} while it loaded model {self._host.loading!r}"
            error = TaskError(code="load_failed", message=text, retryable=True, traceback=printed)
            commands += self._fail_loading(self._host.loading, error, now=now)
        if batch := self._batches.host_lost():
            keys, alone = tuple(batch.attempts), batch.size == 1
            detail = "\n".join(filter(None, [detail, printed]))
            commands += self._answers.crash(keys, detail, alone=alone, timed_out=timed_out, now=now)
        for held in self._batches.pop_abandoned():
            if held.key in self._answers.held:
                commands += self._answers.hand_back(held.key, cancelled=True)
        if self._draining:
            commands += self.drain()
        return commands

    def _dismiss_host(
        self, reason: str, *, kill: bool = True, timed_out: bool = False, now: float
    ) -> list[Command]:
        commands = self._lose_host(reason, timed_out=timed_out, now=now)
        self._host.leaving(now=now)
        return [KillHost(reason) if kill else StopHost(), *commands]

    def _watch_host(self, *, now: float) -> list[Command]:
        limit = self._specs[self._host.loading].load_limit if self._host.loading else 0.0
        failure = self._host.failure(now=now, load_limit=limit)
        return self._dismiss_host(failure, now=now) if failure else []

    def _watch_exit(self, *, now: float) -> list[Command]:
        """Hand the work to other workers while no process can be started here."""
        if not self._host.does_not_end(now=now):
            return []
        return [*self._tell_trouble(), *self._hand_back_waiting()]

    def _tell_trouble(self) -> list[Command]:
        """Say what is wrong, before anything is handed back: otherwise the broker, which still
        thinks that this worker is free, would assign the same tasks to it again.
        """
        excuse = self.excuse
        return [] if self._draining or excuse is None else [SendToBroker(excuse)]

    # ---- running -------------------------------------------------------------------------------

    def _has_work(self) -> bool:
        return bool(self._batches.waiting or (self._models.next_wanted and not self._draining))

    def _wants_host(self) -> bool:
        # A host that failed to start is tried again without work, so that no task has to be the one
        # that finds out whether it starts again.
        return self._has_work() or (self._host.failed_starts > 0 and not self._draining)

    def advance(self, *, now: float) -> list[Command]:
        """Start the host or give it what it can do next; to be called after every event."""
        commands: list[Command] = []
        if self._host.state is HostState.UP:
            commands += self._feed(now=now)
        elif self._host.may_start(now=now) and self._wants_host():
            self._host.starting(now=now)
            commands.append(StartHost())
        self._expect_idleness(now=now)
        return commands

    def _feed(self, *, now: float) -> list[Command]:
        """Give the host what it can start, or let it load what is needed next."""
        batches = self._batches
        if self._host.outgrown:
            idle = not batches.sent and not self._host.loading
            return self._dismiss_host("outgrew its limit", kill=False, now=now) if idle else []
        commands: list[Command] = []
        while self._has_work() and not self._host.loading and len(batches.sent) < HOST_WINDOW:
            model = batches.waiting[0].model if batches.waiting else ""
            if model in self._models:
                batch = batches.waiting.popleft()
                self._models.touch(model)
                batches.sent.append(batch)
                commands.append(SendToHost(batch.order()))
                if batch is batches.running:
                    self._is_next(batch, now=now)
            elif batches.sent:
                break
            else:
                commands += self._load(model or self._models.next_wanted, now=now)
        return commands

    def _load(self, model: str, *, now: float) -> list[Command]:
        """Make room and load; the attempts that wait for it count as started."""
        self._host.load_begins(model, until=now + self._specs[model].load_limit)
        commands = self._models.load(model)
        if self._batches.waiting and self._batches.waiting[0].model == model:
            commands += [
                SendToBroker(AttemptStarted(task_id=task_id, fence=fence, loading=True))
                for task_id, fence in self._batches.waiting[0].attempts
            ]
        return commands

    def _renew(self, batch: Batch, *, now: float) -> None:
        """Give the batch its full time from now on.

        A batch that was sent ahead waits in the host while the one before it runs, so its time
        starts anew when the host begins it or has nothing else left to do.
        """
        batch.renew(stall_limit=self._specs[batch.model].stall_limit, now=now)

    def _is_next(self, batch: Batch, *, now: float) -> None:
        """Give its time to a batch that the host begins, now or as soon as it has read it."""
        batch.is_next(now=now)
        self._renew(batch, now=now)

    def _watch_running(self, *, now: float) -> list[Command]:
        batch = self._batches.running
        if batch is None or batch.next_deadline() > now:
            return []
        if batch.run_until <= now:
            reason = f"was killed after {batch.run_limit:g} s run limit"
        else:
            limit = self._specs[batch.model].stall_limit
            reason = f"was killed after {limit:g} s without progress"
        return self._dismiss_host(reason, timed_out=True, now=now)

    def _watch_abandoned(self, *, now: float) -> list[Command]:
        """Hand back what was asked to stop and did not; replace a host whose whole batch
        was handed back.
        """
        late = [
            held.key
            for held in self._answers.held.values()
            if held.stop_at is not None and held.stop_at <= now
        ]
        commands = [c for key in late for c in self._answers.hand_back(key, cancelled=True)]
        batch = self._batches.running
        if late and batch and not any(key in self._answers.held for key in batch.attempts):
            batch.attempts.clear()
            commands += self._dismiss_host("was killed: its task was cancelled", now=now)
        return commands

    def _expect_idleness(self, *, now: float) -> None:
        idle = self._host.state is HostState.UP and not (
            self._batches.sent or self._host.loading or self._has_work() or self._profile.pinned
        )
        self._host.rest(idle=idle, at_most=self._profile.idle_exit, now=now)

    def _watch_idleness(self, *, now: float) -> list[Command]:
        idle = self._host.has_rested(now=now)
        return self._dismiss_host("idle", kill=False, now=now) if idle else []
