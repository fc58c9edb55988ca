"""Whatever happens, in whatever order: every accepted task gets exactly one outcome."""

from collections import Counter
from collections.abc import Sequence

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from paintmq.broker.machine import BrokerMachine
from paintmq.broker.records import TaskChanged, replay
from paintmq.config import Limits, QueueConfig, Timers
from paintmq.task import Fence, PeerId, TaskError, TaskId, TaskState
from paintmq.testing.broker_harness import (
    ALICE,
    BOB,
    W1,
    W2,
    BrokerHarness,
    make_hello,
    make_machine,
    make_request,
    make_spec,
)
from paintmq.wire.messages import (
    Accepted,
    Assign,
    Assignment,
    AttemptCrashed,
    AttemptFailed,
    AttemptReturned,
    AttemptStarted,
    AttemptSucceeded,
    Cancel,
    CancelAnswered,
    ClientHello,
    FromBroker,
    Heartbeat,
    Query,
    ResultReceived,
    Submit,
    WorkerGoodbye,
)

W3 = PeerId(b"worker-3")
NAMES = {W1: "node/cpu-0", W2: "node/cpu-1", W3: "node/cpu-2"}
CREDIT = 2
workers = st.sampled_from([W1, W2, W3])
clients = st.sampled_from([ALICE, BOB])

QUEUES = {
    "cpu-light": QueueConfig(effort="light", capacity=6),
    "serverless": QueueConfig(capacity=3),
}
TIMERS = Timers(lease=30.0, dispatch=10.0, restart_grace=45.0, result_kept=60.0)


class BrokerLifecycle(RuleBasedStateMachine):
    """The model beside the machine is a handful of sets: what clients and workers were told."""

    def __init__(self) -> None:
        super().__init__()
        self.incarnation = 1
        self.broker = BrokerHarness(self.new_machine())
        self.submitted: list[TaskId] = []
        self.accepted: set[TaskId] = set()
        self.cancelled: set[TaskId] = set()
        self.purged: set[TaskId] = set()
        self.assigned: list[tuple[PeerId, Assignment]] = []  # every attempt ever, stale ones too
        self.fences: dict[TaskId, Fence] = {}
        self.read = 0

    def new_machine(self) -> BrokerMachine:
        return make_machine(
            specs=[make_spec(max_batch=2, batch_key=lambda job: "all")],
            queues=QUEUES,
            timers=TIMERS,
            limits=Limits(losses=5, undelivered=5),
            incarnation=self.incarnation,
        )

    def note(self, sends: Sequence[tuple[PeerId, FromBroker]]) -> None:
        for peer, message in sends:
            match message:
                case Accepted(task_id=task_id):
                    self.accepted.add(task_id)
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

    @rule(
        client=clients,
        priority=st.integers(0, 9),
        attempts=st.integers(1, 3),
        expires=st.none() | st.floats(1, 100),
        tenant=st.sampled_from(["", "a", "b"]),
        leaves=st.booleans(),
    )
    def submit(
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
        self.tell(client, Submit(request))

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), client=clients, kind=st.sampled_from([Cancel, ResultReceived, Query]))
    def a_client_speaks_of_a_task(self, data: st.DataObject, client: PeerId, kind: type) -> None:
        task_id = data.draw(st.sampled_from(self.submitted))
        self.tell(client, ClientHello())
        self.tell(client, Query((task_id,)) if kind is Query else kind(task_id))

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
    @rule(data=st.data(), end=st.integers(0, 7))
    def any_attempt_speaks_late_or_twice(self, data: st.DataObject, end: int) -> None:
        worker, item = data.draw(st.sampled_from(self.assigned))
        task_id, fence = item.task.id, item.fence
        error = TaskError(code="model_error", message="boom", retryable=end == 2)
        messages = [
            AttemptSucceeded(task_id=task_id, fence=fence, outputs=(), ran=1.0),
            AttemptFailed(task_id=task_id, fence=fence, error=error),
            AttemptFailed(task_id=task_id, fence=fence, error=error),
            AttemptCrashed(task_id=task_id, fence=fence, alone=True, detail="killed"),
            AttemptCrashed(task_id=task_id, fence=fence, alone=False, detail="killed"),
            AttemptReturned(task_id=task_id, fence=fence, cancelled=False),
            AttemptStarted(task_id=task_id, fence=fence),
            AttemptStarted(task_id=task_id, fence=fence, loading=True),
        ]
        self.tell(worker, messages[end])

    @rule(worker=workers)
    def worker_leaves(self, worker: PeerId) -> None:
        self.tell(worker, WorkerGoodbye())

    @rule(worker=workers)
    def worker_is_unreachable(self, worker: PeerId) -> None:
        broker = self.broker
        self.note(broker.take(broker.machine.peer_lost(worker, now=broker.now)))

    @rule(seconds=st.floats(0.0, 40.0))
    def time_passes(self, seconds: float) -> None:
        self.note(self.broker.let_pass(seconds))

    @rule()
    def the_broker_is_killed_and_started_again(self) -> None:
        """I17: what the records say is what there was."""
        records = self.broker.records
        stored = replay(records)
        assert stored == self.broker.machine.stored()
        self.incarnation += 1
        self.broker = BrokerHarness(self.new_machine(), now=self.broker.now)
        self.broker.records += records
        step = self.broker.machine.restore(list(stored.values()), now=self.broker.now)
        self.note(self.broker.take(step))

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
        assert self.broker.machine.statistics(now=self.broker.now).unaccounted == 0

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
        assert all(len(states) == 1 for states in ends.values()), "I3"
        assert set(ends) >= self.accepted, "I1"
        assert all(ends[task_id] == [TaskState.CANCELLED] for task_id in self.cancelled), "I7"


TestBrokerLifecycle = BrokerLifecycle.TestCase
TestBrokerLifecycle.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, derandomize=True
)
