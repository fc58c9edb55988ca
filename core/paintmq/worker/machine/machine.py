"""One worker's side of every rule: what to say, what to run, when to give up. Pure.

Rule 1: every attempt that was accepted gets one answer (``attempts.py``). Rule 2: a heartbeat names
exactly the attempts that will still be answered. Rule 3: the machine decides and the shell obeys:
it keeps payloads until it is told to release them. The model host's part: ``host_control.py``.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import assert_never

from attrs import evolve

from paintmq.model import ModelSpec
from paintmq.task import PeerId, TaskError
from paintmq.wire.messages import (
    Abandon,
    Assign,
    Assignment,
    AttemptRecorded,
    BrokerHeartbeat,
    Drain,
    Draining,
    FromWorker,
    Heartbeat,
    Preload,
    Refused,
    ToWorker,
    WhoAreYou,
    WorkerGoodbye,
    WorkerWelcome,
)
from paintmq.worker.channel.messages import FromHost, Key
from paintmq.worker.machine.attempts import Answers
from paintmq.worker.machine.batches import HandedOver, HeldAttempt
from paintmq.worker.machine.broker_session import BrokerSession
from paintmq.worker.machine.commands import Command, Leave, Reconnect, ReleaseInputs, SendToBroker
from paintmq.worker.machine.host_control import HostControl
from paintmq.worker.machine.profile import WorkerProfile, WorkerTimers


class WorkerMachine:
    """Decides for one worker; its shell is a WorkerAgent.

    The shell reports what happens through the methods that take ``now``, and carries out the
    commands they return, in order. It calls ``tick`` when ``next_deadline`` has come.
    """

    def __init__(
        self,
        profile: WorkerProfile,
        specs: Mapping[str, ModelSpec],
        *,
        timers: WorkerTimers | None = None,
    ) -> None:
        self._profile = profile
        self._timers = timers or WorkerTimers()
        self._connection = BrokerSession(self._timers)
        self._answers = Answers(self._timers)
        self._host = HostControl(profile, specs, self._timers, self._answers)
        self._drain_until = inf
        self._left = False

    # ---- what the shell reports ----------------------------------------------------------------

    def connected(self, peer: PeerId, *, now: float) -> list[Command]:
        """A connection was opened under this fresh routing id: introduce the worker."""
        self._connection.opened(peer)
        return self._greet(now=now) + self._advance(now=now)

    def receive(self, message: ToWorker, *, now: float) -> list[Command]:
        """The broker said this."""
        return self.hear(message, now=now) + self.go_on(now=now)

    def hear(self, message: ToWorker, *, now: float) -> list[Command]:
        """The broker said this, and perhaps more: call ``go_on`` after the last."""
        if self._left:
            return []
        self._connection.heard(now=now)
        return self._handle(message, now=now)

    def go_on(self, *, now: float) -> list[Command]:
        """Do what can be done now, after what was heard."""
        return self._advance(now=now)

    def receive_from_host(self, message: FromHost, *, now: float) -> list[Command]:
        """The model host said this. What it says after its end was decided changes nothing."""
        return self._host.receive(message, now=now) + self._advance(now=now)

    def host_alive(self, *, now: float) -> None:
        """The host is known to run though it says nothing: a model may hold its interpreter."""
        self._host.alive(now=now)

    def host_exited(
        self, detail: str, *, lines: Sequence[str] = (), marked: int = 0, now: float
    ) -> list[Command]:
        """The host's process is gone; ``detail`` is its exit status or signal as text.

        ``lines`` are the last that it printed, ``marked`` is as for ``tick``.
        """
        commands = self._host.exited(detail, lines=lines, marked=marked, now=now)
        return commands + self._advance(now=now)

    def crashes_found(self, keys: Sequence[Key], *, alone: bool, now: float) -> list[Command]:
        """An earlier process of this worker died while it ran these (from its crash journal)."""
        return self._answers.crash(keys, "its node died while it ran", alone=alone, now=now)

    def drain(self, grace: float, *, now: float) -> list[Command]:
        """Take nothing more; finish or hand back within ``grace`` seconds, then leave."""
        if self._left:
            return []
        return self._start_draining(grace, now=now) + self._advance(now=now)

    def moved(self, queue: str) -> None:
        """Its home is another queue now; the shell opens a new connection next."""
        self._profile = evolve(self._profile, queue=queue)

    def tick(self, *, marked: int = 0, now: float) -> list[Command]:
        """Do what is due. ``marked`` is the batch that the host has marked as begun; 0: none, or it
        keeps no mark, and says ``BatchBegun`` instead.
        """
        if self._left:
            return []
        return [
            *self._watch_broker(now=now),
            *self._host.watch(marked=marked, now=now),
            *self._watch_drain(now=now),
            *self._advance(now=now),
        ]

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is next worth calling; None: not before something happens."""
        if self._left:
            return None
        at = min(
            self._connection.next_deadline(),
            self._answers.endings.next_deadline(),
            self._host.next_deadline(),
            self._drain_until,
        )
        return None if at == inf else at

    # ---- what the shell may ask ----------------------------------------------------------------

    @property
    def held(self) -> tuple[Key, ...]:
        """The attempts this worker holds and has not answered, in the order they came."""
        return tuple(self._answers.held)

    def host_pause(self, *, now: float) -> float:
        """Return the seconds until a host that died may be replaced; 0: as soon as need be."""
        return max(self._host.restart_at - now, 0.0)

    @property
    def handed_over(self) -> tuple[HandedOver, ...]:
        """What the host has: it may be touching one of these batches now."""
        return self._host.handed_over

    @property
    def is_draining(self) -> bool:
        return self._host.is_draining

    # ---- the broker ----------------------------------------------------------------------------

    def _greet(self, *, now: float) -> list[Command]:
        """Say hello, then everything the broker has not confirmed."""
        self._connection.greeted(now=now)
        messages: list[FromWorker] = [
            self._profile.hello(
                self._host.resident, self._answers.keys(), self._connection.previous
            ),
            *self._answers.endings.messages(),
        ]
        if excuse := self._host.excuse:
            messages.append(excuse)
        return [SendToBroker(message) for message in messages]

    def _handle(self, message: ToWorker, *, now: float) -> list[Command]:
        match message:
            case AttemptRecorded(task_id, fence):
                return self._answers.recorded((task_id, fence))
            case Assign(assignments):
                return self._accept(assignments, now=now)
            case BrokerHeartbeat():
                pass  # hearing anything is what counts
            case WorkerWelcome():
                self._connection.welcomed(message, now=now)
            case WhoAreYou():
                # The broker is another one, or has dropped us: pipes, windows and credits of this
                # connection belong to a session that is gone, so all of it is made anew.
                known = not self._connection.greeting
                return [Reconnect("the broker does not know this session")] if known else []
            case Refused():
                self._connection.refused(now=now)
            case Abandon():
                return self._abandon(message, now=now)
            case Preload(model):
                self._host.want(model)
            case Drain(grace):
                return self._start_draining(grace, now=now)
            case _:
                assert_never(message)
        return []

    def _accept(self, assignments: Sequence[Assignment], *, now: float) -> list[Command]:
        fresh: list[HeldAttempt] = []
        commands: list[Command] = []
        for item in assignments:
            if held := self._answers.accept(item):
                fresh.append(held)
            elif (item.task.id, item.fence) not in self._answers.held:
                commands.append(ReleaseInputs(item.task.id, item.fence))
        if not fresh:
            return commands
        keys = [held.key for held in fresh]
        model = fresh[0].assignment.task.model
        if excuse := self._host.excuse:
            commands.append(SendToBroker(excuse))  # the first one may have been lost
            for key in keys:
                commands += self._answers.hand_back(key, cancelled=False)
        elif model not in self._profile.models:
            reason = self._profile.unavailable.get(model, "it is not installed")
            text = f"worker {self._profile.name} cannot run model {model!r}: {reason}"
            error = TaskError(code="model_unavailable", message=text, retryable=True)
            commands += self._answers.fail(keys, error, now=now)
        else:
            self._host.add(model, fresh)
        return commands

    def _abandon(self, message: Abandon, *, now: float) -> list[Command]:
        key = message.task_id, message.fence
        if key in self._answers.endings:
            return []  # our ending is on its way: the broker settles which of the two was first
        held = self._answers.held.get(key)
        if held is None:
            return self._answers.hand_back_unseen(key)
        return self._host.abandon(held, message.grace, now=now)

    def _watch_broker(self, *, now: float) -> list[Command]:
        if self._connection.is_silent(now=now):
            return [Reconnect("the broker is silent")]
        messages: list[FromWorker] = [*self._answers.endings.pop_due(now=now)]
        if self._connection.pop_beat(now=now):
            beat = Heartbeat(
                running=self._answers.keys(),
                memory_free_mb=self._host.memory_free_mb,
                gpu_memory_free_mb=self._host.gpu_memory_free_mb,
            )
            messages.append(beat)
        return [SendToBroker(message) for message in messages]

    # ---- leaving -------------------------------------------------------------------------------

    def _start_draining(self, grace: float, *, now: float) -> list[Command]:
        """Hand back what has not begun; a second drain can only shorten the first."""
        until = now + grace
        if self.is_draining:
            self._drain_until = min(self._drain_until, until)
            return []
        self._drain_until = until
        return [SendToBroker(Draining()), *self._host.drain()]

    def _watch_drain(self, *, now: float) -> list[Command]:
        if self._drain_until > now:
            return []
        if not self._answers.held:
            return self._leave()
        self._drain_until = now + self._timers.farewell
        return self._host.abort(now=now)

    def _advance(self, *, now: float) -> list[Command]:
        """Let the host go on, and leave once a drained worker owes nothing."""
        if self._left:
            return []
        commands = self._host.advance(now=now)
        if self.is_draining and not self._answers.keys():
            commands += self._leave()
        return commands

    def _leave(self) -> list[Command]:
        self._left = True
        return [SendToBroker(WorkerGoodbye()), Leave()]
