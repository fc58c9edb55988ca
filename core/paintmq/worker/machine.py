"""One worker's side of every rule: what to say, what to run, when to give up. Pure.

Rule 1: every attempt that was accepted gets one answer (``answers.py``). Rule 2: a heartbeat names
exactly the attempts that will still be answered. Rule 3: a host is replaced, never repaired; who
ran alone in it when it died is reported as alone. Rule 4: the machine decides and the shell obeys:
it keeps payloads until it is told to release them.
"""

from collections.abc import Mapping, Sequence

from paintmq.model import ModelSpec
from paintmq.task import PeerId, TaskError
from paintmq.wire.messages import (
    Abandon,
    Assign,
    Assignment,
    AttemptProgressed,
    AttemptRecorded,
    AttemptReturned,
    AttemptStarted,
    BrokerHeartbeat,
    Drain,
    Draining,
    FromWorker,
    Heartbeat,
    ModelLoaded,
    ModelUnloaded,
    Preload,
    Refused,
    ToWorker,
    WhoAreYou,
    WorkerGoodbye,
    WorkerWelcome,
)
from paintmq.worker.answers import Answers, release_outputs
from paintmq.worker.batches import Batch, Batches, HeldAttempt
from paintmq.worker.commands import (
    Command,
    KillHost,
    Leave,
    Reconnect,
    ReleaseInputs,
    SendToBroker,
    SendToHost,
    StartHost,
    StopHost,
)
from paintmq.worker.connection import Connection
from paintmq.worker.host_life import HostLife, HostState
from paintmq.worker.host_messages import (
    AttemptsEnded,
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
    Key,
    Load,
    Unload,
)
from paintmq.worker.model_cache import ModelCache
from paintmq.worker.profile import Patience, WorkerProfile

HOST_WINDOW = 2
"""Batches the host has: one it runs, one it already reads, so that it never waits for the agent."""


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
        patience: Patience | None = None,
    ) -> None:
        self._profile = profile
        self._specs = specs
        self._patience = patience or Patience()
        self._connection = Connection(self._patience)
        self._answers = Answers(self._patience)
        self._cache = ModelCache(profile.budget_mb)
        self._host = HostLife(self._patience, profile.growth_mb)
        self._batches = Batches()
        self._wanted = [model for model in profile.pinned if model in profile.models]
        """Models to load when idle: pinned ones, and what the broker asked to preload."""
        self._made_room_for = ""
        self._idle_at: float | None = None
        self._drain_until: float | None = None
        self._left = False

    # ---- what the shell reports ----------------------------------------------------------------

    def connected(self, peer: PeerId, *, now: float) -> list[Command]:
        """A connection was opened under this fresh routing id: introduce the worker."""
        self._connection.opened(peer)
        return self._greet(now=now) + self._advance(now=now)

    def receive(self, message: ToWorker, *, now: float) -> list[Command]:
        """The broker said this."""
        if self._left:
            return []
        self._connection.heard(now=now)
        return self._obey(message, now=now) + self._advance(now=now)

    def receive_from_host(self, message: FromHost, *, now: float) -> list[Command]:
        """The model host said this. What it says after its end was decided changes nothing."""
        if self._host.state not in (HostState.STARTING, HostState.UP):
            return release_outputs(message)
        self._host.alive(now=now)
        return self._note(message, now=now) + self._advance(now=now)

    def host_alive(self, *, now: float) -> None:
        """The host is known to run though it says nothing: a model may hold its interpreter."""
        self._host.alive(now=now)

    def host_exited(self, detail: str, *, now: float) -> list[Command]:
        """The host's process is gone, with this exit status or signal in words."""
        died = self._host.state is not HostState.LEAVING
        commands = self._lose_host(detail, now=now) if died else []
        self._host.gone(died=died, now=now)
        return commands + self._advance(now=now)

    def crashes_found(self, keys: Sequence[Key], *, alone: bool, now: float) -> list[Command]:
        """An earlier process of this worker died while it ran these (from its crash journal)."""
        return self._answers.crash(keys, "its node died while it ran", alone=alone, now=now)

    def drain(self, grace: float, *, now: float) -> list[Command]:
        """Take nothing more; finish or hand back within ``grace`` seconds, then leave."""
        if self._left:
            return []
        return self._start_draining(grace, now=now) + self._advance(now=now)

    def tick(self, *, now: float) -> list[Command]:
        """Do what is due."""
        if self._left:
            return []
        return [
            *self._watch_broker(now=now),
            *self._watch_host(now=now),
            *self._watch_running(now=now),
            *self._watch_abandoned(now=now),
            *self._watch_idleness(now=now),
            *self._watch_drain(now=now),
            *self._advance(now=now),
        ]

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is next worth calling; None: not before something happens."""
        if self._left:
            return None
        deadlines = [
            self._connection.next_deadline(),
            self._answers.endings.next_deadline(),
            self._host.next_deadline(),
            self._idle_at,
            self._drain_until,
            *(held.stop_at for held in self._answers.held.values()),
        ]
        if self._host.state is HostState.ABSENT and self._has_work():
            deadlines.append(self._host.restart_at)
        if running := self._batches.running:
            deadlines += [running.run_until, running.stall_at]
        return min((at for at in deadlines if at is not None), default=None)

    # ---- what the shell may ask ----------------------------------------------------------------

    @property
    def held(self) -> tuple[Key, ...]:
        """The attempts this worker holds and has not answered, in the order they came."""
        return tuple(self._answers.held)

    @property
    def running(self) -> tuple[Key, ...]:
        """The attempts whose payloads the host may be touching now."""
        batch = self._batches.running
        return tuple(batch.attempts) if batch else ()

    @property
    def is_draining(self) -> bool:
        return self._drain_until is not None

    # ---- the broker ----------------------------------------------------------------------------

    def _greet(self, *, now: float) -> list[Command]:
        """Say hello, then everything the broker has not confirmed."""
        self._connection.greeted(now=now)
        messages: list[FromWorker] = [
            self._profile.hello(
                self._cache.resident(), self._answers.keys(), self._connection.previous
            ),
            *self._answers.endings.messages(),
        ]
        if self.is_draining:
            messages.append(Draining())
        return [SendToBroker(message) for message in messages]

    def _obey(self, message: ToWorker, *, now: float) -> list[Command]:
        match message:
            case WorkerWelcome():
                self._connection.welcomed(message, now=now)
            case WhoAreYou():
                return [] if self._connection.greeting else self._greet(now=now)
            case Refused():
                self._connection.refused(now=now)
            case Assign(assignments):
                return self._accept(assignments, now=now)
            case Abandon():
                return self._abandon(message, now=now)
            case AttemptRecorded(task_id, fence):
                return self._answers.recorded((task_id, fence))
            case Preload(model):
                if model in self._profile.models and not self._is_near(model):
                    self._wanted.append(model)
            case Drain(grace):
                return self._start_draining(grace, now=now)
            case BrokerHeartbeat():
                pass  # hearing anything is what counts
        return []

    def _is_near(self, model: str) -> bool:
        """Return whether the model is in memory or on its way."""
        return model in self._cache or model in self._wanted or model == self._host.loading

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
        if self.is_draining:
            for key in keys:
                commands += self._answers.hand_back(key, cancelled=False)
        elif model not in self._profile.models:
            reason = self._profile.unavailable.get(model, "it is not installed")
            text = f"worker {self._profile.name} cannot run model {model!r}: {reason}"
            error = TaskError(code="model_unavailable", message=text, retryable=True)
            commands += self._answers.fail(keys, error, now=now)
        else:
            self._batches.add(model, fresh)
        return commands

    def _abandon(self, message: Abandon, *, now: float) -> list[Command]:
        key = message.task_id, message.fence
        if key in self._answers.endings:
            return []  # our ending is on its way: the broker settles which of the two was first
        held = self._answers.held.get(key)
        if held is None:
            returned = AttemptReturned(task_id=key[0], fence=key[1], cancelled=True)
            return [SendToBroker(returned)]
        if self._batches.drop_waiting(key):
            return self._answers.hand_back(key, cancelled=True)
        stop_at = now + message.grace
        held.stop_at = stop_at if held.stop_at is None else min(stop_at, held.stop_at)
        return [SendToHost(CancelItem(*key))]

    def _watch_broker(self, *, now: float) -> list[Command]:
        if self._connection.is_silent(now=now):
            return [Reconnect("the broker is silent")]
        messages: list[FromWorker] = [*self._answers.endings.pop_due(now=now)]
        if self._connection.pop_beat(now=now):
            beat = Heartbeat(
                running=self._answers.keys(),
                memory_free_mb=max(self._profile.memory_mb - self._host.memory_mb, 0),
                gpu_memory_free_mb=self._host.gpu_memory_free_mb,
            )
            messages.append(beat)
        return [SendToBroker(message) for message in messages]

    # ---- the host ------------------------------------------------------------------------------

    def _note(self, message: FromHost, *, now: float) -> list[Command]:
        match message:
            case HostReady():
                self._host.ready(now=now)
            case HostBeat():
                self._host.beat(message)
            case HostLoaded():
                return self._loaded(message)
            case HostLoadFailed():
                return self._load_failed(message, now=now)
            case HostUnloaded():
                pass  # it counted as gone when the order was given
            case BatchProgressed():
                return self._progressed(message, now=now)
            case BatchSplit(number):
                if batch := self._batches.find_sent(number):
                    self._renew(batch, now=now)
            case AttemptsEnded():
                return self._attempts_ended(message, now=now)
            case HostLeaving(reason):
                return self._dismiss_host(f"left: {reason}", now=now)
        return []

    def _loaded(self, message: HostLoaded) -> list[Command]:
        self._host.load_ends()
        self._made_room_for = ""
        pinned = message.model in self._profile.pinned
        self._cache.add(message.model, message.memory_mb, pinned=pinned)
        self._wanted = [model for model in self._wanted if model != message.model]
        news = ModelLoaded(
            model=message.model,
            seconds=message.seconds,
            memory_mb=message.memory_mb,
            pinned=pinned,
        )
        return [SendToBroker(news)]

    def _load_failed(self, message: HostLoadFailed, *, now: float) -> list[Command]:
        self._host.load_ends()
        others = self._cache.evictable()
        if message.error.code == "oom" and others and self._made_room_for != message.model:
            self._made_room_for = message.model  # once, with all the room there can be
            return self._unload(others)
        return self._give_up_loading(message.model, message.error, now=now)

    def _give_up_loading(self, model: str, error: TaskError, *, now: float) -> list[Command]:
        self._made_room_for = ""
        self._wanted = [wanted for wanted in self._wanted if wanted != model]
        news = SendToBroker(ModelUnloaded(model=model, error=error.message))
        return [news, *self._answers.fail(self._batches.pop_waiting(model), error, now=now)]

    def _unload(self, models: Sequence[str]) -> list[Command]:
        commands: list[Command] = []
        for model in models:
            self._cache.remove(model)
            commands += [SendToHost(Unload(model)), SendToBroker(ModelUnloaded(model=model))]
        return commands

    def _progressed(self, message: BatchProgressed, *, now: float) -> list[Command]:
        batch = self._batches.find_sent(message.batch)
        if batch is None:
            return []
        batch.stall_at = now + self._specs[batch.model].stall_limit
        preview = message.preview  # of the first attempt alone
        commands: list[Command] = []
        for task_id, fence in batch.attempts:
            progress = AttemptProgressed(
                task_id=task_id,
                fence=fence,
                step=message.step,
                total=message.total,
                preview=preview,
            )
            commands.append(SendToBroker(progress))
            preview = ()
        return commands

    def _attempts_ended(self, message: AttemptsEnded, *, now: float) -> list[Command]:
        batch = self._batches.find_sent(message.batch)
        if batch is None:
            return release_outputs(message)
        commands: list[Command] = []
        for outcome in message.outcomes:
            batch.attempts.pop((outcome.task_id, outcome.fence), None)
            commands += self._answers.settle(outcome, now=now)
        if any(outcome.error and outcome.error.code == "oom" for outcome in message.outcomes):
            in_use = [sent.model for sent in self._batches.sent]
            commands += self._unload(self._cache.evictable(in_use=in_use))
        if batch.attempts:
            self._renew(batch, now=now)
            return commands
        self._batches.sent.remove(batch)
        self._host.batch_ended(message.memory_mb)
        if running := self._batches.running:
            commands += self._begin(running, now=now)
        return commands

    def _lose_host(self, detail: str, *, timed_out: bool = False, now: float) -> list[Command]:
        """Answer for what the host was doing, and note that its models are gone."""
        commands: list[Command] = [
            SendToBroker(ModelUnloaded(model=model)) for model in self._cache.clear()
        ]
        if self._host.state is HostState.STARTING:
            error = TaskError(
                code="host_failed", message=f"the model host {detail}", retryable=True
            )
            commands += self._answers.fail(self._batches.pop_waiting(), error, now=now)
        elif self._host.loading:
            text = f"the model host {detail} while it loaded model {self._host.loading!r}"
            error = TaskError(code="load_failed", message=text, retryable=True)
            commands += self._give_up_loading(self._host.loading, error, now=now)
        if batch := self._batches.host_lost():
            keys = tuple(batch.attempts)
            alone = batch.size == 1
            commands += self._answers.crash(keys, detail, alone=alone, timed_out=timed_out, now=now)
        for held in self._batches.pop_abandoned():
            if held.key in self._answers.held:
                commands += self._answers.hand_back(held.key, cancelled=True)
        self._wanted = [model for model in self._profile.pinned if model in self._profile.models]
        return commands

    def _dismiss_host(
        self, reason: str, *, kill: bool = True, timed_out: bool = False, now: float
    ) -> list[Command]:
        commands = self._lose_host(reason, timed_out=timed_out, now=now)
        self._host.leaving()
        return [KillHost(reason) if kill else StopHost(), *commands]

    def _watch_host(self, *, now: float) -> list[Command]:
        limit = self._specs[self._host.loading].load_limit if self._host.loading else 0.0
        if failure := self._host.failure(now=now, load_limit=limit):
            return self._dismiss_host(failure, now=now)
        return []

    # ---- running -------------------------------------------------------------------------------

    def _has_work(self) -> bool:
        return bool(self._batches.waiting or (self._wanted and not self.is_draining))

    def _advance(self, *, now: float) -> list[Command]:
        """Do the next sensible thing with the host; called after everything that happens."""
        if self._left:
            return []
        commands: list[Command] = []
        match self._host.state:
            case HostState.ABSENT:
                if self._has_work() and self._host.restart_at <= now:
                    self._host.starting(now=now)
                    commands.append(StartHost())
            case HostState.UP:
                commands += self._feed(now=now)
            case HostState.STARTING | HostState.LEAVING:
                pass
        self._expect_idleness(now=now)
        return commands + self._leave_if_done(now=now)

    def _feed(self, *, now: float) -> list[Command]:
        """Give the host what it can start, or let it load what is needed next."""
        batches, commands = self._batches, list[Command]()
        if self._host.outgrown:
            idle = not batches.sent and not self._host.loading
            return self._dismiss_host("outgrew its limit", kill=False, now=now) if idle else []
        while not self._host.loading and len(batches.sent) < HOST_WINDOW:
            model = batches.waiting[0].model if batches.waiting else ""
            if model in self._cache:
                batch = batches.waiting.popleft()
                self._cache.touch(model)
                batches.sent.append(batch)
                commands.append(SendToHost(batch.order()))
                if batch is batches.running:
                    commands += self._begin(batch, now=now)
            elif batches.sent or not (model or self._has_work()):
                break
            else:
                commands += self._load(model or self._wanted[0], now=now)
        return commands

    def _load(self, model: str, *, now: float) -> list[Command]:
        """Make room and load; the attempts that wait for it count as started."""
        spec = self._specs[model]
        self._host.load_begins(model, until=now + spec.load_limit)
        commands = self._unload(self._cache.victims(spec.resident_mb))
        if self._batches.waiting and self._batches.waiting[0].model == model:
            commands += [
                SendToBroker(AttemptStarted(task_id=task_id, fence=fence, loading=True))
                for task_id, fence in self._batches.waiting[0].attempts
            ]
        return [*commands, SendToHost(Load(model))]

    def _begin(self, batch: Batch, *, now: float) -> list[Command]:
        """Note that the host is at this batch now."""
        self._renew(batch, now=now)
        return [
            SendToBroker(AttemptStarted(task_id=task_id, fence=fence))
            for task_id, fence in batch.attempts
        ]

    def _renew(self, batch: Batch, *, now: float) -> None:
        batch.run_until = now + batch.run_limit
        batch.stall_at = now + self._specs[batch.model].stall_limit

    def _watch_running(self, *, now: float) -> list[Command]:
        batch = self._batches.running
        if batch is None:
            return []
        if batch.run_until <= now:
            reason = f"killed after {batch.run_limit:g} s run limit"
        elif batch.stall_at <= now:
            limit = self._specs[batch.model].stall_limit
            reason = f"killed after {limit:g} s without progress"
        else:
            return []
        return self._dismiss_host(reason, timed_out=True, now=now)

    def _watch_abandoned(self, *, now: float) -> list[Command]:
        """Hand back what was asked to stop and did not; replace a host nobody waits for."""
        late = [
            held.key
            for held in self._answers.held.values()
            if held.stop_at is not None and held.stop_at <= now
        ]
        commands = [c for key in late for c in self._answers.hand_back(key, cancelled=True)]
        batch = self._batches.running
        if late and batch and not any(key in self._answers.held for key in batch.attempts):
            batch.attempts.clear()
            commands += self._dismiss_host("killed: its task was cancelled", now=now)
        return commands

    def _expect_idleness(self, *, now: float) -> None:
        idle = self._host.state is HostState.UP and not (
            self._batches.sent or self._host.loading or self._has_work() or self._profile.pinned
        )
        if not idle or self._profile.idle_exit is None:
            self._idle_at = None
        elif self._idle_at is None:
            self._idle_at = now + self._profile.idle_exit

    def _watch_idleness(self, *, now: float) -> list[Command]:
        if self._idle_at is None or self._idle_at > now:
            return []
        return self._dismiss_host("idle", kill=False, now=now)

    # ---- leaving -------------------------------------------------------------------------------

    def _start_draining(self, grace: float, *, now: float) -> list[Command]:
        """Hand back what has not begun; a second drain can only shorten the first."""
        until = now + grace
        if self._drain_until is not None:
            self._drain_until = min(self._drain_until, until)
            return []
        self._drain_until = until
        commands: list[Command] = [SendToBroker(Draining())]
        for key in self._batches.pop_waiting():
            commands += self._answers.hand_back(key, cancelled=False)
        return commands

    def _watch_drain(self, *, now: float) -> list[Command]:
        if self._drain_until is None or self._drain_until > now:
            return []
        if not self._answers.held:
            return self._leave()
        self._drain_until = now + self._patience.farewell
        commands: list[Command] = []
        for key in self.held:
            commands += self._answers.hand_back(key, cancelled=False)
        self._batches.sent.clear()
        return [*commands, *self._dismiss_host("killed: the worker drains", now=now)]

    def _leave_if_done(self, *, now: float) -> list[Command]:
        if not self.is_draining or self._answers.held or len(self._answers.endings):
            return []
        return self._leave()

    def _leave(self) -> list[Command]:
        self._left = True
        return [SendToBroker(WorkerGoodbye()), Leave()]
