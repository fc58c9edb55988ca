"""The client's half of the promise that no task is lost, as a pure state machine.

Rule 1: a submission is repeated until the broker answers it, a task is asked after until it ended.
Rule 2: the first ending heard is the task's ending; any later one is confirmed and ignored.
Rule 3: a broker that forgot what it had promised gets the task again, under the same id.
Rule 4: silence is never taken for an answer: a silent broker costs a new connection, not a task.
Rule 5: what is to be answered is sent through ``InFlight``, so that neither many tasks nor one that
the broker cannot read keep the others from being answered.
"""

import random
from typing import assert_never

from attrs import define, field

from paintmq.client.commands import (
    AlarmRaised,
    Answered,
    CancelSettled,
    Command,
    Reconnect,
    Send,
    TaskAccepted,
    TaskEnded,
    TaskProgressed,
    TaskRefused,
    TaskUnknown,
)
from paintmq.client.in_flight import Request
from paintmq.client.liveness import ClientTimers, Liveness
from paintmq.client.requests import Requests
from paintmq.task import TaskId, TaskRequest, TaskState
from paintmq.wire.messages import (
    OBSERVING_VERSION,
    Accepted,
    Answer,
    Ask,
    BrokerHeartbeat,
    CancelAnswered,
    ClientGoodbye,
    Finished,
    Heartbeat,
    Progressed,
    Refused,
    Rejected,
    ResultReceived,
    ToClient,
    UnknownTask,
    Welcome,
    WhoAreYou,
    client_hello,
)

# Refusals that pass by themselves. They are waited out for a patient submission, and for a task the
# broker had promised to finish and then forgot.
_PASSING = {"queue_full", "bytes_full", "no_worker", "draining", "disk_full", "disk_busy"}


@define
class ClientMachine:
    """All that a client knows of its tasks, and when to send what.

    Every method returns what the shell has to do, in order. Nothing is sent before ``opened`` was
    called; what is asked for earlier is kept until then.
    """

    rng: random.Random
    name: str = ""
    timers: ClientTimers = field(factory=ClientTimers, kw_only=True)
    acknowledges: bool = field(default=True, kw_only=True)
    """Confirm an ending when it arrives; else the shell calls ``acknowledge`` later."""
    traces: bool = field(default=True, init=False)
    """Whether the broker understands ``TaskRequest.trace``: of one that does not, its welcome says
    so, at the latest before what was sent without waiting for it is sent again."""
    relays: bool = field(default=False, kw_only=True)
    """The tasks are others': an ending is confirmed by ``acknowledge`` alone, however often it is
    heard, and a task that was accepted is not submitted again."""
    alarms: int = field(default=0, init=False)
    """How often the broker was found to have forgotten what it had promised."""
    _requests: Requests = field(init=False)
    _withheld: dict[TaskId, None] = field(factory=dict[TaskId, None], init=False)
    """Endings that were reported to the shell and that it has not confirmed yet."""
    _durable_sequence: int = field(default=0, init=False)
    _doubted_until: float = field(default=0.0, init=False)
    """Until then another store that seems to have gone back in time starts no further round of
    questions."""
    _link: Liveness = field(init=False)

    @_link.default
    def _no_link(self) -> Liveness:
        return Liveness(self.rng)

    @_requests.default
    def _no_requests(self) -> Requests:
        return Requests(self.rng, self.timers.resend_first, self.timers.resend_most)

    # ---- what the program wants ----------------------------------------------------------------

    def submit(self, request: TaskRequest, *, now: float, patient: bool = False) -> list[Command]:
        """Bring the task to its ending. The shell keeps the inputs until that was reported.

        A patient submission is repeated also when the broker refuses it for the moment only.
        """
        self.take_in(request, now=now, patient=patient)
        return self._flush(now)

    def take_in(self, request: TaskRequest, *, now: float, patient: bool = False) -> None:
        """Submit the task at the next ``tick``: for a shell that takes many in one turn."""
        known = self._requests.tasks.get(request.id)
        if known is None:
            self._requests.add_task(request.id, request, now=now).patient = patient
        else:
            known.request = known.request or request

    def fetch(self, task_id: TaskId, *, now: float) -> list[Command]:
        """Ask for the state of a task that was submitted before, by this client or another."""
        if task_id in self._requests.tasks:
            return []
        self._requests.add_task(task_id, None, now=now)
        return self._flush(now)

    def cancel(self, task_id: TaskId, *, now: float) -> list[Command]:
        """Cancel the task; a task that is not accepted yet is cancelled when it is."""
        if task_id in self._requests.cancels:
            return []
        self._requests.add_cancel(task_id)
        return self._flush(now)

    def ask(self, question: Ask, *, now: float) -> list[Command]:
        """Ask the broker; the question's number comes back with the answer."""
        self._requests.add_ask(question)
        return self._flush(now)

    def forget_ask(self, request_id: int) -> None:
        """Drop a question whose answer is no longer wanted."""
        self._requests.drop_ask(request_id)

    def forget(self, task_id: TaskId) -> None:
        """Stop following a task; if the broker has it, it still brings it to its ending."""
        self._requests.drop_task(task_id)
        self._requests.drop_cancel(task_id)

    def acknowledge(self, task_id: TaskId) -> list[Command]:
        """Confirm an ending that was reported; needed only when ``acknowledges`` is off."""
        if not self.relays and task_id not in self._withheld:
            return []
        self._withheld.pop(task_id, None)
        return [Send(ResultReceived(task_id))] if self._link.is_open else []

    def leave(self) -> list[Command]:
        """Say goodbye. Accepted tasks go on without us."""
        if not self._link.is_open:
            return []
        self._link.is_open = False
        return [Send(ClientGoodbye())]

    @property
    def unfinished(self) -> int:
        return len(self._requests.tasks)

    @property
    def connections(self) -> int:
        return self._link.connections

    @property
    def is_welcomed(self) -> bool:
        """Whether a broker answers on this connection."""
        return self._link.welcomed

    @property
    def gave_up(self) -> bool:
        """Whether the last connection was given up for lack of an answer."""
        return self._link.gave_up

    @property
    def refusal(self) -> str:
        """Why the broker refuses this client; empty unless it does."""
        return self._link.refusal

    @property
    def unread(self) -> int:
        """Connections that a running broker forgot, most likely over a message it cannot read."""
        return self._link.unread

    # ---- the connection ------------------------------------------------------------------------

    def opened(self, *, now: float) -> list[Command]:
        """Send a hello on the new connection and repeat everything that is unanswered."""
        self._link.open(self.timers, now=now)
        self._requests.restart(now=now)
        return [Send(client_hello(self.name)), *self._flush(now)]

    def receive(self, message: ToClient, *, now: float) -> list[Command]:
        """Take in what the broker said."""
        return self.hear(message, now=now) + self._flush(now)

    def hear(self, message: ToClient, *, now: float) -> list[Command]:
        """Take it in, and send what may be sent because of it at the next ``tick``."""
        # Before the welcome, other answers prove nothing: a broker that was restarted in between
        # answers WhoAreYou for ever, because it never got our hello.
        if self._link.welcomed or isinstance(message, Welcome):
            self._link.heard(self.timers, now=now)
        return self._received(message, now)

    def _received(self, message: ToClient, now: float) -> list[Command]:
        match message:
            case Finished():
                return self._finished(message)
            case Accepted():
                return self._accepted(message, now)
            case BrokerHeartbeat():
                return []
            case Welcome():
                return self._welcome(message, now)
            case Rejected():
                return self._rejected(message, now)
            case Progressed(task_id=task_id):
                return self._progressed(task_id, message, now)
            case UnknownTask(task_id):
                return self._unknown(task_id, now)
            case CancelAnswered(task_id, answer):
                return self._settle(task_id, answer)
            case Answer(request_id=request_id, value=value, error=error):
                was_asked = self._requests.drop_ask(request_id)
                return [Answered(request_id, value, error)] if was_asked else []
            case WhoAreYou():
                return self._reintroduce()
            case Refused(reason):
                return self._refused(reason, now)
            case _:
                assert_never(message)

    def tick(self, *, now: float) -> list[Command]:
        """Do what is due."""
        if not self._link.is_open:
            return []
        if self._link.silent_at <= now:
            self._link.gave_up = True
            return [self._reconnect("the broker does not answer")]
        commands: list[Command] = [Send(Heartbeat())] if self._link.beat(now=now) else []
        self._requests.fall_due(now=now)
        return commands + self._flush(now)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is next worth calling; None until a connection is open."""
        if not self._link.is_open:
            return None
        return min(self._link.silent_at, self._link.heartbeat_at, self._requests.next_due())

    # ---- answers -------------------------------------------------------------------------------

    def _welcome(self, welcome: Welcome, now: float) -> list[Command]:
        self.traces = welcome.newest >= OBSERVING_VERSION
        if self._link.is_restart(welcome):
            self._requests.in_flight.acquit()
        commands: list[Command] = []
        if self._link.welcome(welcome, now=now):
            for request in self._requests.in_flight.guilty():
                commands += self._fail(request)
        return commands + self._check_sequence(welcome.durable_sequence, now)

    def _fail(self, request: Request) -> list[Command]:
        """Give up a request that the broker cannot read; repeating it would harm the others."""
        reason = (
            "the broker does not understand this request and dropped the connection each time it"
            " came; its log says what it cannot read. Does it run another version?"
        )
        if request[0] == "ask":
            self.forget_ask(request[1])
            return [Answered(request[1], None, reason)]
        task_id = request[1]
        if request[0] == "cancel":
            return self._settle(task_id, "unknown")
        self._requests.drop_task(task_id)
        refusal = Rejected(task_id=task_id, code="not_understood", reason=reason)
        return [TaskRefused(refusal), *self._settle(task_id, "unknown")]

    def _accepted(self, message: Accepted, now: float) -> list[Command]:
        self._requests.task_answered(message.task_id)
        commands: list[Command] = []
        if message.durable_sequence < self._durable_sequence:
            commands = self._check_sequence(message.durable_sequence, now)
        self._durable_sequence = message.durable_sequence
        task = self._requests.tasks.get(message.task_id)
        if task is None:
            return commands
        if not task.accepted:
            self._requests.tasks.accepted(task, now=now)
        task.accepted = task.promised = True
        if self.relays:
            task.request = None
        commands.append(TaskAccepted(message))
        # Held back until now: an earlier cancel could have overtaken the submission.
        if self._requests.cancels:
            self._requests.release_cancel(message.task_id)
        return commands

    def _rejected(self, message: Rejected, now: float) -> list[Command]:
        task = self._requests.tasks.get(message.task_id)
        if task is None or task.accepted:
            return []  # the answer to a repetition that crossed with the acceptance
        self._requests.task_answered(task.id)
        if (task.promised or task.patient) and message.code in _PASSING:
            wait = max(message.retry_after or 0.0, self._requests.tasks.jittered(task.backoff))
            self._requests.tasks.schedule(task, now + wait)
            return []
        self._requests.drop_task(message.task_id)
        return [TaskRefused(message), *self._settle(message.task_id, "too_late")]

    def _progressed(self, task_id: TaskId, message: Progressed, now: float) -> list[Command]:
        task = self._requests.tasks.get(task_id)
        if task is None:
            return []
        self._requests.task_answered(task_id)
        if not task.accepted:
            task.accepted = task.promised = True
            self._requests.release_cancel(task_id)
        # Progress that arrives by itself makes a question needless for a while.
        self._requests.tasks.schedule(task, now + task.backoff)
        return [TaskProgressed(message)]

    def _finished(self, message: Finished) -> list[Command]:
        task_id = message.task_id
        if task_id in self._withheld:
            return []
        commands: list[Command] = []
        if self._requests.drop_task(task_id):
            commands.append(TaskEnded(message))
            if not self.acknowledges and not self.relays:
                self._withheld[task_id] = None
        if not self.relays and (self.acknowledges or not commands):
            commands.append(Send(ResultReceived(task_id)))
        if self._requests.cancels:
            answer = "cancelled" if message.state is TaskState.CANCELLED else "too_late"
            commands += self._settle(task_id, answer)
        return commands

    def _unknown(self, task_id: TaskId, now: float) -> list[Command]:
        task = self._requests.tasks.get(task_id)
        if task is None:
            return []
        self._requests.task_answered(task_id)
        if task.request is None:
            self._requests.drop_task(task_id)
            return [TaskUnknown(task_id), *self._settle(task_id, "unknown")]
        commands: list[Command] = []
        if task.accepted:
            self.alarms += 1
            commands.append(AlarmRaised(f"the broker has forgotten task {task_id}: sent again"))
        task.accepted = task.sent = False
        self._requests.tasks.reset(task, now=now)
        self._requests.hold_cancel(task_id)
        self._requests.repeat_task(task_id)
        return commands

    def _settle(self, task_id: TaskId, answer: str) -> list[Command]:
        return [CancelSettled(task_id, answer)] if self._requests.drop_cancel(task_id) else []

    def _reintroduce(self) -> list[Command]:
        # On a connection that was not welcomed yet, our hello may still be on its way.
        if not self._link.welcomed:
            return []
        self._link.forgotten()
        self._requests.in_flight.connection_died()
        reason = "the broker does not know it: it was restarted, or could not read a message"
        return [self._reconnect(reason)]

    def _refused(self, reason: str, now: float) -> list[Command]:
        """Fail what the broker has not accepted; keep what it has, and reconnect later."""
        self._link.refused(reason, self.timers, now=now)
        commands: list[Command] = []
        for task in list(self._requests.tasks):
            if not task.promised:
                self._requests.drop_task(task.id)
                refusal = Rejected(task_id=task.id, code="refused", reason=reason)
                commands += [TaskRefused(refusal), *self._settle(task.id, "unknown")]
        for request_id in list(self._requests.asks):
            self.forget_ask(request_id)
            commands.append(Answered(request_id, None, reason))
        return commands

    def _check_sequence(self, sequence: int, now: float) -> list[Command]:
        """Notice a store that went back in time: what it had promised may be gone.

        Answers that overtook each other look the same, and asking after all tasks brings as many
        answers, so a round of questions starts once in ``resend_first`` seconds at most. Every
        task is asked after in time anyway.
        """
        before, self._durable_sequence = self._durable_sequence, sequence
        if sequence >= before or now < self._doubted_until:
            return []
        self._doubted_until = now + self.timers.resend_first
        self.alarms += 1
        reason = f"the broker's store went back from record {before} to {sequence}"
        for task in self._requests.tasks:
            if task.accepted:
                self._requests.repeat_task(task.id)
        return [AlarmRaised(reason)]

    # ---- sending -------------------------------------------------------------------------------

    def _flush(self, now: float) -> list[Command]:
        """Send the requests whose turn has come."""
        if not self._link.is_open:
            return []
        return list(self._requests.flush(now=now, welcomed=self._link.welcomed))

    def _reconnect(self, reason: str) -> Reconnect:
        self._link.close(self.timers)
        return Reconnect(reason)
