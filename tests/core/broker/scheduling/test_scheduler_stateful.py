"""The scheduling engine: whatever happens in whatever order, its guarantees hold."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.harness.scheduler_harness import (
    make_scheduler,
    make_task,
    make_worker,
    session,
)

from paintmq.broker.scheduling.scheduler import Pick, Waiting
from paintmq.routing import Router
from paintmq.task import PeerId, TaskId
from paintmq.wire.messages import ModelLoaded, ModelUnloaded, WorkerHello
from paintmq_routers.least_loaded import LeastLoaded
from paintmq_routers.model_affinity import ModelAffinity
from paintmq_routers.priority_first import PriorityFirst

ROUTERS = [LeastLoaded, PriorityFirst, ModelAffinity]


class AnyOrder(RuleBasedStateMachine):
    """Tasks and workers come and go; the engine never contradicts itself (I11, I12, I13, I21)."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = make_scheduler(tenant_window=2)
        self.now = 0.0
        self.count = 0
        self.waiting: dict[TaskId, Waiting] = {}
        self.running: dict[TaskId, tuple[PeerId, Waiting]] = {}
        self.workers: dict[PeerId, WorkerHello] = {}
        self.serves: dict[PeerId, tuple[str, ...] | None] = {}
        self.draining: set[PeerId] = set()
        self.eager = False

    @initialize(eager=st.booleans(), workers=st.integers(0, 4))
    def begin(self, eager: bool, workers: int) -> None:
        """Begin with some workers; ``eager``: as a broker does, give away at once what can be."""
        self.eager = eager
        for number in range(workers):
            self.join(number, 1000, 1, queues=(None, ("light",), ("heavy",))[number % 3])

    @rule(
        model=st.sampled_from(["plain", "sized", "batching", "either"]),
        priority=st.integers(0, 9),
        tenant=st.sampled_from(["", "", "a", "b"]),
        pixels=st.sampled_from([0, 400_000, 1_500_000, 900_000]),
        pause=st.sampled_from([0.0, 0.0, 0.0, 2.0]),
        suspect=st.booleans(),
        excluded=st.sampled_from([(), (), ("w0",), ("w0", "w1")]),
        queue=st.sampled_from(["light", "heavy"]),
    )
    def add(
        self,
        model: str,
        priority: int,
        tenant: str,
        pixels: int,
        pause: float,
        suspect: bool,
        excluded: tuple[str, ...],
        queue: str,
    ) -> None:
        self.count += 1
        task = make_task(
            self.count,
            model,
            at=self.now,
            priority=priority,
            tenant=tenant,
            pixels=pixels,
            not_before=self.now + pause if pause else 0.0,
            suspect=suspect,
            excluded=excluded,
            queue=queue,
        )
        self.scheduler.add(task, now=self.now)
        self.waiting[task.request.id] = task

    @rule(
        number=st.integers(0, 3),
        memory=st.sampled_from([500, 1000, 2000]),
        credit=st.integers(1, 3),
        queues=st.sampled_from([("light",), ("heavy",), None]),
    )
    def join(self, number: int, memory: int, credit: int, queues: tuple[str, ...] | None) -> None:
        peer = session(f"w{number}")
        self._lose(peer)
        self.workers[peer] = make_worker(f"w{number}", memory_mb=memory, credit=credit)
        self.serves[peer] = queues
        self.draining.discard(peer)
        hello = self.workers[peer]
        self.scheduler.worker_joined(peer, hello, now=self.now, queues=queues)

    @rule(number=st.integers(0, 3))
    def leave(self, number: int) -> None:
        peer = session(f"w{number}")
        self.scheduler.worker_left(peer, now=self.now)
        self._lose(peer)

    @rule(number=st.integers(0, 3))
    def drain(self, number: int) -> None:
        peer = session(f"w{number}")
        if peer in self.workers:
            self.draining.add(peer)
        self.scheduler.worker_draining(peer, now=self.now)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), again=st.booleans())
    def end(self, data: st.DataObject, again: bool) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.running)))
        peer, task = self.running.pop(task_id)
        self.scheduler.released(peer, task_id, ran=None if again else 1.0, now=self.now)
        if again:
            self.scheduler.add(task, now=self.now)
            self.waiting[task_id] = task

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.waiting)))
        del self.waiting[task_id]
        self.scheduler.remove(task_id)

    @rule(data=st.data(), loads=st.booleans())
    def report_model(self, data: st.DataObject, loads: bool) -> None:
        if not self.workers:
            return
        peer = data.draw(st.sampled_from(sorted(self.workers)))
        model = data.draw(st.sampled_from(["plain", "sized", "batching"]))
        if loads:
            message = ModelLoaded(model=model, seconds=2.0, memory_mb=300)
            self.scheduler.model_loaded(peer, message, now=self.now)
        else:
            self.scheduler.model_unloaded(peer, ModelUnloaded(model=model), now=self.now)

    @rule(seconds=st.floats(0.1, 5.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(router=st.sampled_from(ROUTERS))
    def replace_router(self, router: type[Router]) -> None:
        self.scheduler.replace_router(router(), now=self.now)

    @rule()
    def pick_all(self) -> None:
        while (pick := self.scheduler.next_pick(now=self.now)) is not None:
            self._check_pick(pick)
            self.scheduler.check_invariants()
        if type(self.scheduler.router) is LeastLoaded:
            self._check_that_nobody_idles()

    @invariant()
    def an_eager_one_keeps_nothing_back(self) -> None:
        if self.eager:
            self.pick_all()

    @invariant()
    def it_never_contradicts_itself(self) -> None:
        self.scheduler.check_invariants()
        assert all(self.scheduler.is_waiting(task_id) for task_id in self.waiting)
        assert self.scheduler.faults == 0, self.scheduler.last_fault

    def _check_pick(self, pick: Pick) -> None:
        hello = self.workers[pick.session]
        assert pick.session not in self.draining
        held = [task for peer, task in self.running.values() if peer == pick.session]
        for task_id in pick.task_ids:
            task = self.waiting.pop(task_id)
            self.running[task_id] = (pick.session, task)
            assert task.not_before <= self.now
            assert task.checked.spec.name in hello.models
            assert task.checked.needs["cpu"].memory_mb <= hello.memory_mb
            assert self._may_serve(pick.session, task)
            if task.suspect:
                assert not held, "a suspect shares its worker"
                assert len(pick.task_ids) == 1
            self._check_order(task)

    def _check_order(self, task: Waiting) -> None:
        """No waiting twin, alike in all but its rank, should have gone first (I12, I13)."""
        batches = task.checked.spec.max_batch > 1
        for other in self.waiting.values():
            twins = (
                other.checked.spec is task.checked.spec
                and other.queue == task.queue
                and other.checked.needs == task.checked.needs
                and (other.suspect, other.excluded) == (task.suspect, task.excluded)
                and other.request.tenant == task.request.tenant == ""
                and other.request.priority == task.request.priority
                and other.not_before <= self.now
            )
            assert not twins or batches or other.rank >= task.rank, "overtaken by its twin"

    def _check_that_nobody_idles(self) -> None:
        """Work conservation (I21): least-loaded never objects, so no pair may be left."""
        busy = {peer for peer, _ in self.running.values()}
        live = {peer: h for peer, h in self.workers.items() if peer not in self.draining}
        for task in self.waiting.values():
            if task.not_before > self.now:
                continue
            fitting = {
                peer: hello
                for peer, hello in live.items()
                if task.checked.needs["cpu"].memory_mb <= hello.memory_mb
                and self._may_serve(peer, task)
            }
            others = {p: h for p, h in fitting.items() if h.name not in task.excluded}
            idle = set(others or fitting) - busy
            assert not idle, f"{task.request.id} waits although {idle} are idle"

    def _may_serve(self, peer: PeerId, task: Waiting) -> bool:
        queues = self.serves[peer]
        return queues is None or task.queue in queues

    def _lose(self, peer: PeerId) -> None:
        for task_id, (holder, task) in list(self.running.items()):
            if holder == peer:
                del self.running[task_id]
                self.scheduler.worker_left(peer, now=self.now)
                self.scheduler.add(task, now=self.now)
                self.waiting[task_id] = task
        self.workers.pop(peer, None)
        self.draining.discard(peer)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
