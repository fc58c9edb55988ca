"""The shell around the client's machine: one thread, one socket, one clock.

Rule 1: the machine, the link and the socket belong to the session's thread. Other threads put
orders into its mailbox, which wakes it up.
Rule 2: what others read is a FollowedTask or a future; the session's thread alone writes it.
Rule 3: nothing starts in the constructor; a session that was closed stays closed.
Rule 4: no argument and no callback of a program ends the thread. What the broker could not read is
refused before it becomes an order; an order that fails is failed to its caller, and no other.
"""

import os
import random
import socket
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path

from attrs import evolve

from paintmq.client.connection import check_context, check_endpoint
from paintmq.client.followed_task import FollowedTask
from paintmq.client.followed_tasks import FollowedTasks
from paintmq.client.journal import ClientJournal
from paintmq.client.machine import ClientMachine
from paintmq.client.mailbox import Mailbox, Order, Submission
from paintmq.client.message_check import (
    as_read,
    brief,
    check_submission,
    checked_name,
    task_id_of,
)
from paintmq.client.pending_answers import PendingAnswers
from paintmq.client.reachability import FAILED, Reachability
from paintmq.client.session_loop import SessionLoop
from paintmq.client.task import PreparedTask, Task
from paintmq.client.task_tracing import traced
from paintmq.client.window import Place, Window, WindowLimits
from paintmq.errors import (
    RejectedError,
    WireError,
)
from paintmq.shared_memory.client_arena import Placed
from paintmq.task import Json, TaskId
from paintmq.task_ids import task_id_for_key
from paintmq.tracing import is_traced
from paintmq.transport.key_files import load_peer_key
from paintmq.transport.sockets import Context
from paintmq.wire.messages import Ask

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
        relays: bool = False,
    ) -> None:
        check_endpoint(endpoint)
        check_context(context)
        self.endpoint = endpoint
        self.window = Window(window or WindowLimits())
        name = checked_name(name) or f"client {os.getpid()} on {socket.gethostname()}"
        self._journal = journal
        # A durable client confirms an ending only when the program has it.
        self._machine = ClientMachine(
            rng or random.Random(), name, acknowledges=journal is None, relays=relays
        )
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._mailbox: Mailbox | None = None
        self._followed = FollowedTasks()
        self._answers = PendingAnswers()
        self._thread: threading.Thread | None = None
        self.key = load_peer_key(Path(key)) if key is not None else None
        self._reachability = Reachability(endpoint, key=self.key)
        self._loop = SessionLoop(
            endpoint=endpoint,
            machine=self._machine,
            followed=self._followed,
            answers=self._answers,
            window=self.window,
            reachability=self._reachability,
            journal=journal,
            given_context=context,
            key=self.key,
        )
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
        if self._thread is not None and not self._loop.stopping:
            return
        with self._lock:
            if self._loop.stopping:
                raise RuntimeError("this client is closed; make another")
            if self._thread is not None:
                return
            left = self._journal.open() if self._journal is not None else []
            self._reachability.connecting()
            self._mailbox = Mailbox()
            self._thread = threading.Thread(
                target=self._loop.run, args=(self._mailbox,), name="paintmq-client", daemon=True
            )
            self._thread.start()
        if self._journal is not None:
            # A program that ends in good order has seen what it took, whether it closes us or not.
            weakref.finalize(self, self._journal.all_seen)
            taken_last = [self.fetch(task_id) for task_id in self._journal.taken_last]
            self.recovered = (*taken_last, *map(self._recover, left))

    def close(self, *, goodbye: float = GOODBYE_SECONDS) -> None:
        """Stop the thread; harmless to repeat.

        Unsent messages, submissions included, get ``goodbye`` seconds to leave. Accepted tasks go
        on in the broker; handles that still wait get a ManagerStoppedError.
        """
        if os.getpid() != self._pid:
            return  # the threads and sockets are the parent's
        with self._lock:
            self._loop.stop(goodbye)
            thread = self._thread
        if thread is None:
            self._loop.abandon("the client was closed")
            return
        assert self._mailbox is not None
        self._mailbox.wake()
        if thread is not threading.current_thread():
            thread.join()

    def wait_until_connected(self, timeout: float | None) -> bool:
        """Wait for the broker's first answer; return False if the time is up before."""
        self.start()
        return self._reachability.wait(timeout)

    def put(self, data: memoryview) -> Placed | None:
        """Copy an input to where the broker can read it; None: it must be sent."""
        arena = self._loop.arena()
        return None if arena is None else arena.put(data)

    @property
    def is_durable(self) -> bool:
        """Whether tasks are written to disk before they are sent."""
        return self._journal is not None

    @property
    def has_failed(self) -> bool:
        """Whether its thread has ended by itself."""
        return self._loop.failed

    @property
    def trouble(self) -> str:
        """What is wrong with the connection, for people; empty while the broker answers."""
        if refusal := self._machine.refusal:
            return f"the broker at {self.endpoint} refuses this client: {refusal}"
        return FAILED if self._loop.failed else self._reachability.trouble

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the session's thread, which must not wait for itself."""
        return self._thread is threading.current_thread()

    @property
    def alarms(self) -> int:
        """How often the broker was found to have forgotten what it had promised."""
        return self._machine.alarms

    @property
    def unread(self) -> int:
        """Connections a running broker forgot, most likely for a message it could not read."""
        return self._machine.unread

    def submit(
        self,
        prepared: PreparedTask,
        place: Place,
        task: Task | None = None,
        *,
        patient: bool = False,
    ) -> FollowedTask:
        """Hand the task over and return at once. Its place in the window is given back at its end.

        If this raises, giving back the place is the caller's.

        Raises:
            InvalidTaskError: the broker could not read it, or a different task with this id is
                unfinished.
            StoreError: the task cannot be written to the journal.
        """
        self.start()
        self._mark_seen()
        prepared = self._with_own_id(prepared, task)
        check_submission(prepared.request, len(prepared.payloads))
        followed, is_new = self._followed.submit(prepared.request, task)
        if not is_new:
            place.give_back()
            return followed
        if is_traced():
            prepared = traced(prepared, followed)
        try:
            if self._journal is not None:
                self._journal.keep(prepared)
            self._send(prepared, place, followed, patient=patient)
        except BaseException:
            # A Ctrl-C included: the program has no handle, and may well submit the task again.
            self._followed.pop(followed.id)
            if self._journal is not None:
                self._journal.drop(followed.id)
            raise
        return followed

    def _with_own_id(self, prepared: PreparedTask, task: Task | None) -> PreparedTask:
        """Let an id that was made of an idempotency key bear the mark of this client's own key.

        Otherwise it would be an id for clients without keys, which the broker refuses.
        """
        if self.key is None or task is None or task.idempotency_key is None:
            return prepared
        if prepared.request.id != task_id_for_key(task.tenant, task.idempotency_key):
            return prepared  # the program chose another
        own = task_id_for_key(task.tenant, task.idempotency_key, owner=self.key.name)
        return prepared._replace(request=evolve(prepared.request, id=own))

    def _recover(self, prepared: PreparedTask) -> FollowedTask:
        place = self.window.place(prepared.request.input_bytes)
        place.take()
        followed, _ = self._followed.submit(prepared.request, None)
        self._send(prepared, place, followed, patient=True)
        return followed

    def _send(
        self,
        prepared: PreparedTask,
        place: Place,
        followed: FollowedTask,
        *,
        patient: bool,
    ) -> None:
        if self._journal is not None:
            followed.when_taken = self._taken
        followed.place = place
        if self._machine.relays:
            followed.when_accepted = place.give_back
        self._put(Submission(prepared.request, prepared.payloads, patient))

    def fetch(self, given: object) -> FollowedTask:
        """Follow a task that was submitted before, by this client or another.

        Raises:
            InvalidTaskError: what was given is no task id.
        """
        task_id = task_id_of(given)
        self.start()
        self._mark_seen()
        followed, is_new = self._followed.fetch(task_id)
        if is_new:
            followed.when_taken = self._taken if self._journal is not None else None
            self._order(
                lambda: self._loop.obey(self._machine.fetch(task_id, now=time.monotonic())),
                partial(self._loop.refuse, task_id, "internal_error"),
            )
        return followed

    def cancel(self, given: object) -> "Future[str]":
        """Cancel the task; the answer is ``cancelled``, ``too_late`` or ``unknown``.

        Raises:
            InvalidTaskError: what was given is no task id.
        """
        task_id = task_id_of(given)
        self.start()
        answer = self._answers.add_cancel(task_id)
        self._order(
            lambda: self._loop.obey(self._machine.cancel(task_id, now=time.monotonic())),
            lambda reason: self._answers.fail_cancel(task_id, reason),
        )
        return answer

    def confirm(self, given: object) -> None:
        """Confirm the task's ending: the broker may forget it after a while.

        Raises:
            InvalidTaskError: what was given is no task id.
        """
        task_id = task_id_of(given)
        self.start()
        acknowledge = self._machine.acknowledge
        self._order(lambda: self._loop.obey(acknowledge(task_id)), _nothing_to_fail)

    def cancel_quietly(self, task_id: TaskId) -> None:
        """Cancel the task without waiting for the answer, if the session is still open."""
        with suppress(RuntimeError):
            self.cancel(task_id)

    def ask(self, subject: str, arguments: Mapping[str, Json]) -> "Future[Json]":
        """Ask the broker one of its subjects.

        Raises:
            RejectedError: the broker could not read the question.
        """
        number = self._answers.new_number()
        try:
            question = as_read(Ask(request_id=number, subject=subject, arguments=arguments))
        except WireError as error:
            raise RejectedError(
                "invalid_question", f"{brief(subject)} cannot be asked: {error}"
            ) from error
        self.start()
        self._mark_seen()
        answer = self._answers.add_ask(number)
        answer.add_done_callback(partial(self._forget_ask, number))
        self._order(
            lambda: self._loop.obey(self._machine.ask(question, now=time.monotonic())),
            lambda reason: self._answers.answer_ask(number, None, reason),
        )
        return answer

    def check_process(self) -> None:
        """Raise RuntimeError in a child process, where nothing could ever arrive."""
        if os.getpid() != self._pid:
            raise RuntimeError(
                "this client was made before the process forked, and its connection stays with"
                " the parent; make a client in each process"
            )

    def check_may_wait(self, what: str) -> None:
        """Raise RuntimeError where waiting would be for ever: in a callback or a child process."""
        self.check_process()
        if self.is_own_thread:
            raise RuntimeError(
                f"{what} in a callback waits for the thread it runs in; hand the work to another"
            )

    # ---- orders --------------------------------------------------------------------------------

    def _forget_ask(self, number: int, answer: "Future[Json]") -> None:
        """Drop a question whose asker has gone away."""
        if answer.cancelled():
            self._answers.drop_ask(number)
            with suppress(RuntimeError):
                self._order(lambda: self._machine.forget_ask(number), _nothing_to_fail)

    def _order(self, run: Callable[[], None], fail: Callable[[str], None]) -> None:
        self._put(Order(run, fail))

    def _put(self, order: Order | Submission) -> None:
        with self._lock:
            if self._loop.stopping:
                raise RuntimeError("this client is closed; make another")
            assert self._mailbox is not None, "start() comes first"
            self._mailbox.put(order)

    def _taken(self, task_id: TaskId) -> None:
        """Forget a task whose outcome is being handed to the program, here and in the broker."""
        assert self._journal is not None
        self._journal.hand_over(task_id)
        with suppress(RuntimeError):  # closed: the broker forgets it after a while by itself
            self._order(
                lambda: self._loop.obey(self._machine.acknowledge(task_id)), _nothing_to_fail
            )

    def _mark_seen(self) -> None:
        """Record that the calling thread has seen the outcomes it took: it is back for more."""
        if self._journal is not None:
            self._journal.seen()


def _nothing_to_fail(reason: str) -> None:
    """For orders that no caller waits for."""
