"""The session's thread: one loop around the client's machine, a connection and a mailbox."""

import logging
import time
from collections.abc import Sequence
from typing import assert_never

from attrs import define, evolve, field

from paintmq.client.addresses import Addresses
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
from paintmq.client.connection import Connection
from paintmq.client.followed_task import FollowedTask
from paintmq.client.followed_tasks import FollowedTasks
from paintmq.client.journal import ClientJournal
from paintmq.client.machine import ClientMachine
from paintmq.client.mailbox import Mailbox, Order, Submission
from paintmq.client.pending_answers import PendingAnswers
from paintmq.client.reachability import Reachability
from paintmq.client.task import Payload
from paintmq.client.window import Window
from paintmq.errors import ManagerStoppedError, WireError
from paintmq.shared_memory.client_arena import ClientArena
from paintmq.task import TaskId
from paintmq.transport.key_files import PeerKey
from paintmq.transport.sockets import Context, new_context
from paintmq.wire.messages import FromClient, Heartbeat, Rejected, Submit, ToClient, Welcome

logger = logging.getLogger(__name__)


@define(eq=False)
class SessionLoop:
    """All that belongs to the session's thread; other threads call ``stop`` and nothing else."""

    endpoint: str
    machine: ClientMachine
    followed: FollowedTasks
    answers: PendingAnswers
    window: Window
    reachability: Reachability
    journal: ClientJournal | None = None
    given_context: Context | None = None
    key: PeerKey | None = field(default=None, repr=False)
    stopping: bool = field(default=False, init=False)
    failed: bool = field(default=False, init=False)
    """Whether the thread has ended by itself."""
    _goodbye: float = field(default=0.0, init=False)
    _payloads: dict[TaskId, tuple[Payload, ...]] = field(
        factory=dict[TaskId, tuple[Payload, ...]], init=False
    )
    _addresses: Addresses = field(init=False)
    _context: Context = field(init=False)
    _connection: Connection = field(init=False)

    def arena(self) -> ClientArena | None:
        """Return where inputs can be put that are submitted next; for any thread."""
        connection = getattr(self, "_connection", None)
        return None if connection is None else connection.arena

    def stop(self, goodbye: float) -> None:
        """Have ``run`` return; unsent messages get ``goodbye`` seconds. Then wake it up."""
        self._goodbye, self.stopping = goodbye, True

    def run(self, mailbox: Mailbox) -> None:
        """Talk with the broker until ``stop`` is called."""
        self._context = self.given_context or new_context()
        self._addresses = Addresses.of(self.endpoint)
        self._connection = self._connect()
        reason = "the client was closed before the task ended"
        try:
            self.obey(self.machine.opened(now=time.monotonic()))
            while not self.stopping:
                self._run_once(mailbox)
            self.obey(self.machine.leave())
            self._connection.flush(self._goodbye)
        except BaseException:
            # A bug of ours. Every waiting caller is told: the thread they wait for is gone.
            logger.exception("the client's thread failed")
            self.failed = True
            reason = "the client failed, and its log says how"
            raise
        finally:
            self.stopping = True
            self._connection.close(linger=self._goodbye)
            self.abandon(reason)
            mailbox.close()
            if self.journal is not None:
                self.journal.close()
            if self.given_context is None:
                self._context.term()

    def _run_once(self, mailbox: Mailbox) -> None:
        """Wait for a message, an order or a deadline, and act on it."""
        deadline = self.machine.next_deadline()
        look = self._addresses.next_look(welcomed=self.machine.is_welcomed)
        if look is not None:
            deadline = look if deadline is None else min(look, deadline)
        wait = 3600.0 if deadline is None else max(0.0, deadline - time.monotonic())
        self._connection.send_what_may_go()
        woken = self._connection.wait(mailbox.fileno(), wait)
        for order in mailbox.take(woken=woken):
            self._carry_out(order)
        self._take_messages()
        self._follow_the_lead()
        # Sends what these orders and messages gave rise to, in as few messages as it fits into.
        self.obey(self.machine.tick(now=time.monotonic()))

    def _carry_out(self, order: Order | Submission) -> None:
        """Run an order; a failure is its caller's alone, and must not stop the conversation."""
        try:
            if isinstance(order, Submission):
                self._submit(order)
            else:
                order.run()
        except Exception as error:
            logger.exception("an order of the program failed")
            reason = f"it failed inside the client: {type(error).__name__}: {error}"
            if isinstance(order, Submission):
                self.refuse(order.request.id, "internal_error", reason)
            else:
                order.fail(reason)

    def _take_messages(self) -> None:
        try:
            deliveries = self._connection.receive()
        except WireError as error:
            logger.warning("broker %s: %s", self.endpoint, error)
            self._reconnect("the broker sent what is not of our protocol")
            return
        now = time.monotonic()
        for delivery in deliveries:
            message = delivery.message
            if not isinstance(message, ToClient):
                logger.warning("broker %s says %s to a client", self.endpoint, type(message))
                continue
            if isinstance(message, Welcome):
                self.reachability.answered()
            if commands := self.machine.hear(message, now=now):
                self.obey(commands, delivery.payloads if delivery.received else ())

    def obey(self, commands: Sequence[Command], payloads: Sequence[Payload] = ()) -> None:
        """Carry out the machine's commands; the payloads are those of the message it answers."""
        for command in commands:
            match command:
                case Send(message):
                    self._say(message)
                case TaskEnded(message):
                    if (followed := self._unfollow(message.task_id)) is not None:
                        followed.ended(message, payloads)
                case TaskAccepted(message):
                    if self.machine.relays:
                        self._payloads.pop(message.task_id, None)  # the broker has them now
                    if (followed := self.followed.get(message.task_id)) is not None:
                        followed.accepted(message)
                case TaskProgressed(message):
                    if (followed := self.followed.get(message.task_id)) is not None:
                        followed.progressed(message, payloads)
                case Reconnect(reason):
                    self._reconnect(reason)
                case TaskRefused(message):
                    if (followed := self._unfollow(message.task_id)) is not None:
                        followed.refused(message)
                case TaskUnknown(task_id):
                    if (followed := self._unfollow(task_id)) is not None:
                        followed.unknown()
                case CancelSettled(task_id, answer):
                    self.answers.settle_cancel(task_id, answer)
                case Answered(request_id, value, error):
                    self.answers.answer_ask(request_id, value, error)
                case AlarmRaised(reason):
                    logger.error("broker %s: %s", self.endpoint, reason)
                case _:
                    assert_never(command)

    def _say(self, message: FromClient | Heartbeat) -> None:
        try:
            if isinstance(message, Submit):
                if message.task.trace and not self.machine.traces:
                    message = Submit(evolve(message.task, trace=""))
                self._connection.submit(message, self._payloads[message.task.id])
            else:
                self._connection.send(message)
        except WireError as error:
            # Only what a program handed in can be too large: fail that task alone.
            if not isinstance(message, Submit):
                raise
            self.refuse(message.task.id, "invalid_task", str(error))

    # ---- orders --------------------------------------------------------------------------------

    def _submit(self, order: Submission) -> None:
        self._payloads[order.request.id] = order.payloads
        self.machine.take_in(order.request, now=time.monotonic(), patient=order.patient)

    def refuse(self, task_id: TaskId, code: str, reason: str) -> None:
        self.machine.forget(task_id)
        if (followed := self._unfollow(task_id)) is not None:
            followed.refused(Rejected(task_id=task_id, code=code, reason=reason))

    def abandon(self, reason: str) -> None:
        """End every wait: no answer can arrive any more."""
        for task in self.followed.pop_all():
            task.gave_up(ManagerStoppedError(task.id, None, "stopped", reason))
        stopped = ManagerStoppedError(TaskId(""), None, "stopped", reason)
        self.answers.give_up(stopped)
        self.window.give_up(stopped)
        self._payloads.clear()

    # --------------------------------------------------------------------------------------------

    def _unfollow(self, task_id: TaskId) -> FollowedTask | None:
        self._payloads.pop(task_id, None)
        self._connection.arena.ended(task_id)
        return self.followed.pop(task_id)

    def _connect(self) -> Connection:
        several = self._addresses.are_several
        return Connection(self._context, self._addresses.choose(), self.key, watched=several)

    def _follow_the_lead(self) -> None:
        """Go to another address where this one has no broker that answers, if there are several."""
        if self._connection.is_lost and self.machine.is_welcomed:
            self._reconnect("the connection was ended")
        elif self._addresses.should_change(welcomed=self.machine.is_welcomed):
            self._reconnect("another address takes connections")

    def _reconnect(self, reason: str) -> None:
        logger.info("broker %s: connecting again: %s", self.endpoint, reason)
        self.reachability.connecting()
        if self.machine.gave_up:
            self.reachability.gave_up()
        earlier = self._connection
        earlier.close()
        self._connection = self._connect()
        self._connection.arena.take_over(earlier.arena)
        self.obey(self.machine.opened(now=time.monotonic()))
