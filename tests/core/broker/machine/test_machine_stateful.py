"""Whatever happens, in whatever order: every accepted task gets exactly one outcome."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import hypothesis.strategies as st
from attrs import evolve
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.harness.broker_harness import ALICE, BOB, W1, W2, BrokerHarness, make_machine

from paintmq.broker.accounting.ledger import Ledger, read_books
from paintmq.broker.accounting.report import report
from paintmq.broker.machine import BrokerMachine, Credentials
from paintmq.broker.records import Record, StoredTask, TaskAccepted, TaskChanged, replay
from paintmq.config import Limits, QueueConfig, Timers
from paintmq.routing import BacklogView, BoardView, Router, WorkerView
from paintmq.statistics import QueueStatistics
from paintmq.task import Fence, PeerId, TaskError, TaskId, TaskState
from paintmq.testing.example_tasks import make_hello, make_payload, make_request, make_spec
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import (
    Accepted,
    Answer,
    Ask,
    Assign,
    Assignment,
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptReturned,
    AttemptStarted,
    AttemptSucceeded,
    Cancel,
    CancelAnswered,
    ClientGoodbye,
    ClientHello,
    Draining,
    Finished,
    FromBroker,
    Heartbeat,
    ModelLoaded,
    ModelUnloaded,
    Progressed,
    Query,
    Rejected,
    ResultReceived,
    Submit,
    WorkerGoodbye,
)

W3 = PeerId(b"worker-3")
NAMES = {W1: "node/cpu-0", W2: "node/cpu-1", W3: "node/cpu-2"}
MALLORY, EVE = PeerId(b"client-mallory"), PeerId(b"worker-eve")
"""A client and a worker with keys of their own, who go for the tasks of others."""
KEYS = {
    **dict.fromkeys(NAMES, Credentials(key="workers", is_admin=False)),
    MALLORY: Credentials(key="mallory", is_admin=False),
    EVE: Credentials(key="eve", is_admin=False),
}
CREDIT = 2
workers = st.sampled_from([W1, W2, W3])
clients = st.sampled_from([ALICE, BOB])
ends = st.sampled_from([0, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10])
"""What an attempt says, by its number in ``speak``; what makes a task dead is more frequent."""

QUEUES = {
    "cpu-light": QueueConfig(effort="light", capacity=6),
    "serverless": QueueConfig(capacity=3),
}
TIMERS = Timers(
    lease=30.0,
    dispatch=10.0,
    restart_grace=45.0,
    result_kept=20.0,
    result_kept_at_most=200.0,
    dead_kept=300.0,
)


RESULT = make_payload("image", 100)


class PicturesLast(Router):
    """Another opinion than first come, first served."""

    level_seconds = 30.0

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        return 1.0 / len(backlog)


class BrokerLifecycle(RuleBasedStateMachine):
    """The model beside the machine is a handful of sets: what clients and workers were told."""

    def __init__(self) -> None:
        super().__init__()
        self.incarnation = 1
        self.broker = BrokerHarness(self.new_machine())
        self.broker.keys = KEYS
        self.submitted: list[TaskId] = []
        self.accepted: set[TaskId] = set()
        self.cancelled: set[TaskId] = set()
        self.purged: set[TaskId] = set()
        self.router: type[Router] = PlainRouter
        self.disk_full = False
        self.revived: Counter[TaskId] = Counter()
        self.heard: dict[tuple[PeerId, TaskId], TaskState] = {}  # the last ending a client was told
        self.assigned: list[tuple[PeerId, Assignment]] = []  # every attempt ever, stale ones too
        self.fences: dict[TaskId, Fence] = {}
        self.read = 0

    def new_machine(self) -> BrokerMachine:
        self.ledger = Ledger()
        self.books: Any = None
        self.written = 0
        return make_machine(
            observe=self.ledger.waiting.append,
            specs=[make_spec(max_batch=2, batch_key=lambda job: "all")],
            queues=QUEUES,
            timers=TIMERS,
            limits=Limits(losses=5, undelivered=5, max_spent_bytes=250, tenant_window=2),
            incarnation=self.incarnation,
        )

    def note(self, sends: Sequence[tuple[PeerId, FromBroker]]) -> None:
        for peer, message in sends:
            match message:
                case Accepted(task_id=task_id):
                    self.accepted.add(task_id)
                case Finished(task_id=task_id, state=state):
                    self.heard[peer, task_id] = state
                case CancelAnswered(task_id=task_id, answer="cancelled"):
                    self.cancelled.add(task_id)
                case Assign(assignments):
                    for item in assignments:
                        before = self.fences.get(item.task.id)
                        assert before is None or item.fence.attempt > before.attempt, "I6"
                        self.fences[item.task.id] = item.fence
                        self.assigned.append((peer, item))
                case _:
                    pass

    def tell(self, peer: PeerId, message: object) -> None:
        self.note(self.broker.receive(peer, message))  # type: ignore[arg-type]  # any of ours

    @initialize()
    def somebody_is_there(self) -> None:
        self.tell(ALICE, ClientHello())
        self.tell(W1, make_hello(NAMES[W1], credit=CREDIT))

    @rule(
        client=clients,
        priority=st.integers(0, 9),
        attempts=st.sampled_from([1, 1, 2, 3]),
        expires=st.none() | st.floats(1, 100),
        tenant=st.sampled_from(["", "a", "b"]),
        leaves=st.sampled_from([False, False, True]),
        count=st.integers(1, 3),
    )
    def submit(self, count: int, **request: Any) -> None:
        for _ in range(count):
            self.submit_one(**request)

    def submit_one(
        self,
        client: PeerId,
        priority: int,
        attempts: int,
        expires: float | None,
        tenant: str,
        leaves: bool,
    ) -> None:
        self.tell(client, ClientHello())
        request = make_request(
            str(len(self.submitted)),
            priority=priority,
            max_attempts=attempts,
            expires_in=expires,
            tenant=tenant,
            cancel_on_disconnect=leaves,
        )
        self.submitted.append(request.id)
        waiting = {name: counts.waiting for name, counts in self.counts().items()}
        refused = len(self.broker.heard(client, Rejected))
        self.tell(client, Submit(request))
        if all(waiting[name] >= QUEUES[name].capacity for name in QUEUES):
            assert len(self.broker.heard(client, Rejected)) == refused + 1, "I15"
            assert request.id not in self.accepted, "I15"

    def counts(self) -> Mapping[str, QueueStatistics]:
        return self.broker.machine.statistics(now=self.broker.now).queues

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), client=clients, other=st.booleans())
    def submit_again(self, data: st.DataObject, client: PeerId, other: bool) -> None:
        """The same task, or another one under its id: which is refused and changes nothing."""
        task_id = data.draw(st.sampled_from(self.submitted))
        known = self.broker.machine.stored().get(task_id)
        if known is None:
            return
        self.tell(client, ClientHello())
        request = evolve(known.request, options={"other": 1}) if other else known.request
        records = len(self.broker.records)
        self.tell(client, Submit(request))
        new = [type(record) for record in self.broker.records[records:]]
        assert TaskAccepted not in new, "I3: accepted twice"
        if other:
            assert self.broker.heard(client, Rejected)[-1].code == "conflict"

    @precondition(lambda self: self.submitted)
    @rule(
        data=st.data(),
        subject=st.sampled_from(
            ["dead_requeue", "dead_drop", "dead_show", "why", "tasks", "workers", "statistics"]
        ),
    )
    def an_operator_asks(self, data: st.DataObject, subject: str) -> None:
        dead = [
            task_id
            for task_id, task in self.broker.machine.stored().items()
            if task.status.state is TaskState.DEAD
        ]
        task_id = data.draw(st.sampled_from(dead or self.submitted))
        self.tell(ALICE, ClientHello())
        arguments = {"task_id": task_id} if subject[:3] in ("dea", "why") else {}
        self.tell(ALICE, Ask(request_id=1, subject=subject, arguments=arguments))
        answer = self.broker.heard(ALICE, Answer)[-1]
        if subject in ("dead_requeue", "dead_drop"):
            assert bool(answer.error) == (task_id not in dead), answer
        if subject == "dead_requeue" and not answer.error:
            self.revived[task_id] += 1

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), client=clients, kind=st.sampled_from([Cancel, ResultReceived, Query]))
    def a_client_speaks_of_a_task(self, data: st.DataObject, client: PeerId, kind: type) -> None:
        task_id = data.draw(st.sampled_from(self.submitted))
        self.tell(client, ClientHello())
        self.tell(client, Query((task_id,)) if kind is Query else kind(task_id))

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def a_client_confirms_what_it_was_told(self, data: st.DataObject) -> None:
        client, task_id = data.draw(st.sampled_from(list(self.heard)))
        self.tell(client, ClientHello())
        self.tell(client, ResultReceived(task_id))

    @rule(worker=workers, data=st.data())
    def worker_says_hello(self, worker: PeerId, data: st.DataObject) -> None:
        """It claims any attempts, its own or others', current or stale."""
        running = (
            data.draw(st.lists(st.sampled_from(self.assigned), max_size=3)) if self.assigned else []
        )
        self.tell(
            worker,
            make_hello(
                NAMES[worker],
                credit=CREDIT,
                running=tuple((item.task.id, item.fence) for _, item in running),
                replaces=data.draw(st.sampled_from([PeerId(b""), W1, W2])),
            ),
        )

    @rule(worker=workers, data=st.data())
    def heartbeat(self, worker: PeerId, data: st.DataObject) -> None:
        mine = [item for peer, item in self.assigned if peer == worker]
        named = data.draw(st.lists(st.sampled_from(mine), max_size=3)) if mine else []
        self.tell(worker, Heartbeat(running=tuple((i.task.id, i.fence) for i in named)))

    @precondition(lambda self: self.assigned)
    @rule(data=st.data(), end=ends)
    def any_attempt_speaks_late_or_twice(self, data: st.DataObject, end: int) -> None:
        worker, item = data.draw(st.sampled_from(self.assigned))
        self.speak(worker, item, end)

    @precondition(lambda self: self.current())
    @rule(data=st.data(), end=ends)
    def a_current_attempt_speaks(self, data: st.DataObject, end: int) -> None:
        self.speak(*data.draw(st.sampled_from(self.current())), end)

    def current(self) -> list[tuple[PeerId, Assignment]]:
        """Return the attempts whose workers still have the right to answer."""
        status = {key: task.status for key, task in self.broker.machine.stored().items()}
        return [
            (worker, item)
            for worker, item in self.assigned
            if (known := status.get(item.task.id)) is not None
            and known.state.is_leased
            and known.fence == item.fence
        ]

    def speak(self, worker: PeerId, item: Assignment, end: int) -> None:
        task_id, fence = item.task.id, item.fence
        error = TaskError(code="model_error", message="boom", retryable=end == 2)
        messages = [
            AttemptSucceeded(task_id=task_id, fence=fence, outputs=(RESULT,), ran=1.0),
            AttemptFailed(task_id=task_id, fence=fence, error=error),
            AttemptFailed(task_id=task_id, fence=fence, error=error),
            AttemptCrashed(task_id=task_id, fence=fence, alone=True, detail="killed"),
            AttemptCrashed(task_id=task_id, fence=fence, alone=False, detail="killed"),
            AttemptReturned(task_id=task_id, fence=fence, cancelled=False),
            AttemptStarted(task_id=task_id, fence=fence),
            AttemptStarted(task_id=task_id, fence=fence, loading=True),
            AttemptProgressed(task_id=task_id, fence=fence, step=1, total=2),
            AttemptCrashed(task_id=task_id, fence=fence, alone=True, detail="slow", timed_out=True),
            AttemptReturned(task_id=task_id, fence=fence, cancelled=True),
        ]
        self.tell(worker, messages[end])

    @precondition(lambda self: self.assigned)
    @rule(data=st.data(), end=ends)
    def strangers_go_for_a_task(self, data: st.DataObject, end: int) -> None:
        """I24: they know its id, its fence, and the name and connection of its worker."""
        worker, item = data.draw(st.sampled_from(self.assigned))
        task_id, claim = item.task.id, ((item.task.id, item.fence),)
        self.time_passes(0.0)
        records, heard = len(self.broker.records), len(self.broker.said)
        for message in (
            ClientHello(),
            Query((task_id,)),
            Cancel(task_id),
            ResultReceived(task_id),
            Ask(request_id=1, subject="why", arguments={"task_id": task_id}),
            Submit(evolve(item.task, options={"other": 1})),
        ):
            self.tell(MALLORY, message)
        self.tell(EVE, make_hello(NAMES[worker], models=(), running=claim, replaces=worker))
        self.speak(EVE, item, end)

        assert len(self.broker.records) == records, "I24: strangers changed something"
        for peer, said in self.broker.said[heard:]:
            assert peer in (MALLORY, EVE), f"I24: {peer!r} was told {said}"
            assert not isinstance(said, Accepted | Finished | Progressed | Assign), f"I24: {said}"
            assert not isinstance(said, CancelAnswered) or said.answer == "unknown", "I24"
            assert not isinstance(said, Answer) or said.error, "I24"

    @rule(seconds=st.floats(0.0, 40.0) | st.sampled_from([100.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.note(self.broker.let_pass(seconds))
        self.ledger.settle()
        self.books, self.written = self.ledger.books(0), len(self.broker.records)

    @rule(
        kind=st.sampled_from(
            ["restart", "router", "disk", "drain", "goodbye", "lost", "client", "model", "no model"]
        ),
        worker=workers,
        client=clients,
    )
    def something_rare_happens(self, kind: str, worker: PeerId, client: PeerId) -> None:
        """One rule for all that is rare, or there would be little else."""
        broker = self.broker
        match kind:
            case "restart":
                self.kill_and_restart()
            case "router":
                self.router = PicturesLast if self.router is PlainRouter else PlainRouter
                step = broker.machine.replace_router(self.router(), now=broker.now)
                self.note(broker.take(step))
            case "disk":
                self.disk_full = not self.disk_full
                broker.machine.set_disk_full(full=self.disk_full)
            case "drain":
                self.tell(worker, Draining())
            case "goodbye":
                self.tell(worker, WorkerGoodbye())
            case "lost":
                self.note(broker.take(broker.machine.peer_lost(worker, now=broker.now)))
                self.note(broker.take(broker.machine.peer_lost(client, now=broker.now)))
            case "client":
                self.tell(client, ClientGoodbye())
            case "model":
                self.tell(worker, ModelLoaded(model="toy", seconds=2.0, memory_mb=64))
            case _:
                self.tell(worker, ModelUnloaded(model="toy", error="no weights"))

    def kill_and_restart(self) -> None:
        """I17: what the records say is what there was."""
        records = self.broker.records
        stored = replay(records)
        assert stored == self.broker.machine.stored()
        self.ledger.settle()
        counted, books, written = self.ledger, self.books, self.written
        self.incarnation += 1
        self.router, self.disk_full = PlainRouter, False
        self.broker = BrokerHarness(self.new_machine(), now=self.broker.now)
        self.broker.keys = KEYS
        self.broker.records += records
        if books is not None:
            self.count_on(counted, books, records[written:], stored)
        self.ledger.reconcile(stored.values())
        step = self.broker.machine.restore(list(stored.values()), now=self.broker.now)
        self.note(self.broker.take(step))

    def count_on(
        self,
        counted: Ledger,
        books: Any,
        records: Sequence[Record],
        stored: Mapping[TaskId, StoredTask],
    ) -> None:
        """What was written down at any moment, and the journal's log, give all there was."""
        earlier = read_books(books)
        assert earlier is not None
        self.ledger.take_over(earlier)
        self.ledger.replay(records, {key: task.request for key, task in stored.items()})
        self.ledger.reconcile(stored.values())
        for field in ("accepted", "succeeded", "failed", "cancelled", "expired", "dead", "retries"):
            was = sum(getattr(cell, field) for cell in counted.cells.values())
            now = sum(getattr(cell, field) for cell in self.ledger.cells.values())
            assert now == was, f"{field}: {was} before the restart, {now} after it"

    @invariant()
    def a_promise_is_kept(self) -> None:
        """I1: what was accepted is known until it is purged."""
        for record in self.broker.records[self.read :]:
            if type(record).__name__ == "TaskPurged":
                self.purged.add(record.task_id)  # type: ignore[union-attr]  # by its name
        self.read = len(self.broker.records)
        known = self.broker.machine.stored()
        assert all(task_id in known or task_id in self.purged for task_id in self.accepted)

    @invariant()
    def the_balance_holds(self) -> None:
        """I10."""
        counts = self.broker.machine.statistics(now=self.broker.now)
        self.ledger.settle()
        shown = report(counts, self.ledger, ())
        assert counts.unaccounted == 0
        assert shown.unaccounted == 0, "the ledger disagrees with the machine"
        for name, queue in shown.queues.items():
            assert queue.accepted == queue.in_any_state, f"{name} does not add up"

    @invariant()
    def no_worker_idles_for_nothing(self) -> None:
        """I21: no router here objects to anything."""
        assert self.broker.machine.conserves_work(now=self.broker.now)

    @invariant()
    def clients_were_told_what_is_recorded(self) -> None:
        """I4: an ending that was told is the task's, unless an operator revived it since."""
        stored = self.broker.machine.stored()
        for (_, task_id), state in self.heard.items():
            if task_id in stored and not self.revived[task_id]:
                assert stored[task_id].status.state is state

    @invariant()
    def no_worker_holds_more_than_its_credit(self) -> None:
        """I11."""
        holders = Counter(
            entry.session for entry in self.broker.machine.unfinished() if entry.session
        )
        # Batches of two, CREDIT of them; claims after a restart are honoured beyond that.
        if self.incarnation == 1:
            assert all(count <= 2 * CREDIT + 3 for count in holders.values())

    def teardown(self) -> None:
        """With one healthy worker everything that was accepted comes to one end."""
        self.broker.machine.set_disk_full(full=False)
        last = PeerId(b"worker-last")
        self.tell(ALICE, ClientHello())
        for _ in range(2_000):
            if not list(self.broker.machine.unfinished()):
                break
            self.tell(last, make_hello("node/last", credit=4))
            held = [(i.task.id, i.fence) for peer, i in self.assigned if peer == last][-8:]
            for task_id, fence in held:
                self.tell(last, AttemptSucceeded(task_id=task_id, fence=fence, outputs=(), ran=0.1))
            self.note(self.broker.let_pass(5.0))
        assert not list(self.broker.machine.unfinished()), "something never ended"
        self.every_task_ended_once()

    def every_task_ended_once(self) -> None:
        ends: dict[TaskId, list[TaskState]] = {}
        for record in self.broker.records:
            if isinstance(record, TaskChanged) and record.event == "finish":
                ends.setdefault(record.task_id, []).append(record.status.state)
        for task_id, states in ends.items():
            assert len(states) == 1 + self.revived[task_id], "I3"
            assert states[:-1] == [TaskState.DEAD] * self.revived[task_id], "I3"
        assert set(ends) >= self.accepted, "I1"
        assert all(ends[task_id][-1] is TaskState.CANCELLED for task_id in self.cancelled), "I7"


TestBrokerLifecycle = BrokerLifecycle.TestCase
# `--hypothesis-profile=hunt` takes 200,000 steps, other ones each time.
IS_HUNT = settings.get_current_profile_name() == "hunt"
TestBrokerLifecycle.settings = settings(
    max_examples=5_000 if IS_HUNT else 80,
    stateful_step_count=40,
    deadline=None,
    derandomize=not IS_HUNT,
)
