"""The shell around the client's machine: one thread, one socket, one clock.

Rule 1: the machine, the link and the socket belong to the session's thread. Other threads put
orders into its mailbox, which wakes it up.
Rule 2: what others read is a FollowedTask or a future; the session's thread alone writes it.
Rule 3: nothing starts in the constructor; a session that was closed stays closed.
"""

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path

from attrs import evolve

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
from paintmq.client.journal import ClientJournal
from paintmq.client.machine import ClientMachine
from paintmq.client.mailbox import Mailbox, Order
from paintmq.client.pending_answers import PendingAnswers
from paintmq.client.reachability import Reachability
from paintmq.client.task import Payload, PreparedTask, Task
from paintmq.client.window import Window, WindowLimits
from paintmq.errors import InvalidTaskError, ManagerStoppedError, WireError
from paintmq.task import Json, TaskId, TaskRequest
from paintmq.transport.key_files import load_peer_key
from paintmq.transport.sockets import Context, new_context
from paintmq.wire.messages import FromClient, Heartbeat, Rejected, Submit, ToClient, Welcome

logger = logging.getLogger(__name__)

GOODBYE_SECONDS = 1.0
"""Seconds ``close`` gives to unsent messages: enough for what was just submitted, and short enough
when the broker is gone."""


class Session:
    """A client's conversation with one broker, over any number of connections."""

    def __init__(
        self,
        endpoint: str,
        *,
        context: Context | None = None,
        name: str = "",
        key: Path | str | None = None,
        window: WindowLimits | None = None,
        journal: ClientJournal | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.window = Window(window or WindowLimits())
        self._given_context = context
        self._key = load_peer_key(Path(key)) if key is not None else None
        self._name = name or f"client {os.getpid()} on {socket.gethostname()}"
        self._journal = journal
        # A durable client confirms an ending only when the program has it.
        self._machine = ClientMachine(
            rng or random.Random(), self._name, acknowledges=journal is None
        )
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._mailbox: Mailbox | None = None
        self._followed: dict[TaskId, FollowedTask] = {}
        self._payloads: dict[TaskId, tuple[Payload, ...]] = {}
        self._answers = PendingAnswers()
        self._closing = False
        self._goodbye = GOODBYE_SECONDS
        self._thread: threading.Thread | None = None
        self._reachability = Reachability(endpoint)
        self.recovered: tuple[FollowedTask, ...] = ()
        """Tasks of an earlier client that this one took over, by its journal."""

    # ---- used by any thread --------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, and with a journal resubmit what an earlier client left in it.

        Harmless to repeat.

        Raises:
            RuntimeError: the session is closed, or was made before a fork.
            StoreError: the journal cannot be used.
        """
        self.check_process()
        with self._lock:
            if self._closing:
                raise RuntimeError("this client is closed; make another")
            if self._thread is not None:
                return
            left = self._journal.open() if self._journal is not None else []
            self._reachability.connecting()
            self._mailbox = Mailbox()
            self._thread = threading.Thread(
                target=self._run, args=(self._mailbox,), name="paintmq-client", daemon=True
            )
            self._thread.start()
        for prepared in left:
            self.window.force(prepared.request.input_bytes)
        self.recovered = tuple(self._follow(prepared, None, patient=True) for prepared in left)

    def close(self, *, goodbye: float = GOODBYE_SECONDS) -> None:
        """Stop the thread; harmless to repeat.

        Unsent messages, submissions included, get ``goodbye`` seconds to leave. Accepted tasks go
        on in the broker; handles that still wait get a ManagerStoppedError.
        """
        if os.getpid() != self._pid:
            return  # the threads and sockets are the parent's
        with self._lock:
            self._closing, self._goodbye = True, goodbye
            thread = self._thread
        if thread is None:
            self._abandon("the client was closed")
            return
        assert self._mailbox is not None
        self._mailbox.wake()
        if thread is not threading.current_thread():
            thread.join()

    def wait_until_connected(self, timeout: float | None) -> bool:
        """Wait for the broker's first answer; return False if the time is up before."""
        self.start()
        return self._reachability.wait(timeout)

    @property
    def is_durable(self) -> bool:
        """Whether tasks are written to disk before they are sent."""
        return self._journal is not None

    @property
    def trouble(self) -> str:
        """What is wrong with the connection, for people; empty while the broker answers."""
        return self._reachability.trouble

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the session's thread, which must not wait for itself."""
        return self._thread is threading.current_thread()

    @property
    def alarms(self) -> int:
        """How often the broker was found to have forgotten what it had promised."""
        return self._machine.alarms

    def submit(
        self, prepared: PreparedTask, task: Task | None = None, *, patient: bool = False
    ) -> FollowedTask:
        """Hand the task over and return at once. Room in the window must have been taken.

        Raises:
            InvalidTaskError: a different task with this id is unfinished.
            StoreError: the task cannot be written to the journal.
        """
        self.start()
        if self._journal is not None:
            try:
                self._journal.keep(prepared)
            except BaseException:
                self.window.leave(prepared.request.input_bytes)
                raise
        return self._follow(prepared, task, patient=patient)

    def _follow(self, prepared: PreparedTask, task: Task | None, *, patient: bool) -> FollowedTask:
        request = prepared.request
        with self._lock:
            known = self._followed.get(request.id)
            if known is not None and known.request is not None:
                self.window.leave(request.input_bytes)
                _check_same(request, known.request)
                return known
            followed = known or FollowedTask(request.id)
            followed.task, followed.request = task, request
            followed.when_taken = self._taken if self._journal is not None else None
            self._followed[request.id] = followed
        followed.when_done(partial(self.window.leave, request.input_bytes))
        self._order(partial(self._submit, request, prepared.payloads, patient=patient))
        return followed

    def fetch(self, task_id: TaskId) -> FollowedTask:
        """Follow a task that was submitted before, by this client or another."""
        self.start()
        with self._lock:
            if (known := self._followed.get(task_id)) is not None:
                return known
            followed = self._followed[task_id] = FollowedTask(task_id)
        self._order(lambda: self._obey(self._machine.fetch(task_id, now=time.monotonic())))
        return followed

    def cancel(self, task_id: TaskId) -> "Future[str]":
        """Cancel the task; the answer is ``cancelled``, ``too_late`` or ``unknown``."""
        self.start()
        answer = self._answers.add_cancel(task_id)
        self._order(lambda: self._obey(self._machine.cancel(task_id, now=time.monotonic())))
        return answer

    def cancel_quietly(self, task_id: TaskId) -> None:
        """Cancel the task without waiting for the answer, if the session is still open."""
        with suppress(RuntimeError):
            self.cancel(task_id)

    def ask(self, subject: str, arguments: Mapping[str, Json]) -> "Future[Json]":
        """Ask the broker one of its subjects."""
        self.start()
        number, answer = self._answers.add_ask()
        answer.add_done_callback(partial(self._forget_ask, number))
        self._order(lambda: self._obey(self._machine.ask(number, subject, dict(arguments))))
        return answer

    # ---- the thread ----------------------------------------------------------------------------

    def _run(self, mailbox: Mailbox) -> None:
        context = self._given_context or new_context()
        self._context = context
        self._connection = Connection(context, self.endpoint, self._key)
        try:
            self._obey(self._machine.opened(now=time.monotonic()))
            while not self._closing:
                self._run_once(mailbox)
            self._obey(self._machine.leave())
            self._connection.flush(self._goodbye)
        except Exception:
            # A bug of ours. Every waiting caller is told below: the thread that would is gone.
            logger.exception("the client's thread failed")
            raise
        finally:
            self._closing = True
            self._connection.close(linger=self._goodbye)
            self._abandon("the client was closed before the task ended")
            mailbox.close()
            if self._journal is not None:
                self._journal.close()
            if self._given_context is None:
                context.term()

    def _run_once(self, mailbox: Mailbox) -> None:
        """Wait for a message, an order or a deadline, and act on it."""
        deadline = self._machine.next_deadline()
        wait = 3600.0 if deadline is None else max(0.0, deadline - time.monotonic())
        self._connection.send_what_may_go()
        self._connection.wait(mailbox.fileno(), wait)
        for order in mailbox.take():
            order()
        self._take_messages()
        self._obey(self._machine.tick(now=time.monotonic()))

    def _take_messages(self) -> None:
        try:
            deliveries = self._connection.receive()
        except WireError as error:
            logger.warning("broker %s: %s", self.endpoint, error)
            self._reconnect("the broker sent what is not of our protocol")
            return
        for delivery in deliveries:
            message = delivery.message
            if not isinstance(message, ToClient):
                logger.warning("broker %s says %s to a client", self.endpoint, type(message))
                continue
            if isinstance(message, Welcome):
                self._reachability.answered()
            self._obey(self._machine.receive(message, now=time.monotonic()), delivery.payloads)

    def _obey(self, commands: Sequence[Command], payloads: Sequence[Payload] = ()) -> None:
        """Carry out the machine's commands; the payloads are those of the message it answers."""
        for command in commands:
            match command:
                case Send(message):
                    self._say(message)
                case Reconnect(reason):
                    self._reconnect(reason)
                case TaskAccepted(task_id=task_id, queue=queue, state=state, waiting_for=reason):
                    if (followed := self._followed.get(task_id)) is not None:
                        followed.accepted(queue, state, reason)
                case TaskProgressed(message):
                    if (followed := self._followed.get(message.task_id)) is not None:
                        followed.progressed(message, payloads)
                case TaskEnded(message):
                    if (followed := self._unfollow(message.task_id)) is not None:
                        followed.ended(message, payloads)
                case TaskRefused(message):
                    if (followed := self._unfollow(message.task_id)) is not None:
                        followed.refused(message)
                case TaskUnknown(task_id):
                    if (followed := self._unfollow(task_id)) is not None:
                        followed.unknown()
                case CancelSettled(task_id, answer):
                    self._answers.settle_cancel(task_id, answer)
                case Answered(request_id, value, error):
                    self._answers.answer_ask(request_id, value, error)
                case AlarmRaised(reason):
                    logger.error("broker %s: %s", self.endpoint, reason)

    def _say(self, message: FromClient | Heartbeat) -> None:
        try:
            self._connection.send(message, self._payloads)
        except WireError as error:
            # Only what a program handed in can be too large: tell it, and nobody else.
            if not isinstance(message, Submit):
                raise
            task_id = message.task.id
            self._machine.forget(task_id)
            if (followed := self._unfollow(task_id)) is not None:
                refusal = Rejected(task_id=task_id, code="invalid_task", reason=str(error))
                followed.refused(refusal)

    # ---- orders --------------------------------------------------------------------------------

    def _submit(
        self, request: TaskRequest, payloads: tuple[Payload, ...], *, patient: bool
    ) -> None:
        self._payloads[request.id] = payloads
        self._obey(self._machine.submit(request, now=time.monotonic(), patient=patient))

    def _forget_ask(self, number: int, answer: "Future[Json]") -> None:
        """Drop a question whose asker has gone away."""
        if answer.cancelled():
            self._answers.drop_ask(number)
            with suppress(RuntimeError):
                self._order(lambda: self._machine.forget_ask(number))

    # --------------------------------------------------------------------------------------------

    def _unfollow(self, task_id: TaskId) -> FollowedTask | None:
        self._payloads.pop(task_id, None)
        with self._lock:
            return self._followed.pop(task_id, None)

    def _reconnect(self, reason: str) -> None:
        logger.info("broker %s: connecting again: %s", self.endpoint, reason)
        self._reachability.connecting()
        if self._machine.gave_up:
            self._reachability.gave_up()
        self._connection.close()
        self._connection = Connection(self._context, self.endpoint, self._key)
        self._obey(self._machine.opened(now=time.monotonic()))

    def _abandon(self, reason: str) -> None:
        """End every wait: no answer can arrive any more."""
        with self._lock:
            followed, self._followed = self._followed, {}
        for task_id, task in followed.items():
            task.gave_up(ManagerStoppedError(task_id, None, "stopped", reason))
        stopped = ManagerStoppedError(TaskId(""), None, "stopped", reason)
        self._answers.give_up(stopped)
        self.window.give_up(stopped)
        self._payloads.clear()

    def _order(self, order: Order) -> None:
        with self._lock:
            if self._closing:
                raise RuntimeError("this client is closed; make another")
            assert self._mailbox is not None, "start() comes first"
            self._mailbox.put(order)

    def _taken(self, task_id: TaskId) -> None:
        """Forget a task whose outcome is being handed to the program, here and in the broker."""
        assert self._journal is not None
        self._journal.drop(task_id)
        with suppress(RuntimeError):  # closed: the broker forgets it after a while by itself
            self._order(lambda: self._obey(self._machine.acknowledge(task_id)))

    def check_process(self) -> None:
        """Raise RuntimeError in a child process, where nothing could ever arrive."""
        if os.getpid() != self._pid:
            raise RuntimeError(
                "this client was made before the process forked, and its connection stays with"
                " the parent; make a client in each process"
            )


def _check_same(request: TaskRequest, known: TaskRequest) -> None:
    # The queue says where a task waits; it is no part of what the task is.
    if evolve(request, queue="") != evolve(known, queue=""):
        raise InvalidTaskError(
            f"task {request.id} is under way with other contents; use another id or idempotency key"
        )
