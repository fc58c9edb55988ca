"""The scheduling engine: whatever happens in whatever order, its guarantees hold."""

import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from paintmq.broker.scheduler import Pick, Scheduler, Waiting
from paintmq.catalog import Catalog
from paintmq.model import Job, ModelSpec, Needs
from paintmq.routing import BacklogView, BoardView, Router, WorkerView
from paintmq.task import PayloadInfo, PeerId, TaskId, TaskRequest
from paintmq.wire.messages import ModelLoaded, ModelUnloaded, WorkerHello
from paintmq_routers.least_loaded import LeastLoaded
from paintmq_routers.model_affinity import ModelAffinity
from paintmq_routers.priority_first import PriorityFirst


def _memory(job: Job) -> Needs:
    return Needs(memory_mb=job.pixels // 1000)


CATALOG = Catalog(
    [
        ModelSpec(name="plain", implementation="m:M", resident_mb=300),
        ModelSpec(name="sized", implementation="m:M", needs=_memory, resident_mb=300),
        ModelSpec(
            name="batching",
            implementation="m:M",
            max_batch=4,
            batch_key=lambda job: str(job.pixels),
            resident_mb=300,
        ),
        ModelSpec(name="either", implementation="m:M", devices=("cuda", "cpu"), resident_mb=300),
    ]
)
SHORT = {"run_seconds": lambda job: 0.01}
ROUTERS = [LeastLoaded, PriorityFirst, ModelAffinity]


def make_task(
    number: int,
    model: str = "plain",
    *,
    at: float = 0.0,
    priority: int = 0,
    tenant: str = "",
    pixels: int = 0,
    not_before: float = 0.0,
    suspect: bool = False,
    excluded: tuple[str, ...] = (),
    queue: str = "cpu-light",
    catalog: Catalog = CATALOG,
) -> Waiting:
    image = PayloadInfo(name="image", size=1, digest="", kind="file", width=pixels, height=1)
    request = TaskRequest(
        id=TaskId(f"{number:032x}"),
        task_type="plugin",
        model=model,
        priority=priority,
        tenant=tenant,
        inputs=(image,) if pixels else (),
    )
    return Waiting(
        request=request,
        checked=catalog.check(request),
        queue=queue,
        rank=at - 60.0 * priority,
        not_before=not_before,
        suspect=suspect,
        excluded=excluded,
    )


def make_worker(
    name: str,
    *,
    models: Sequence[str] = ("plain", "sized", "batching", "either"),
    memory_mb: int = 1000,
    credit: int = 1,
    queue: str = "cpu-light",
) -> WorkerHello:
    return WorkerHello(
        name=name,
        node="node",
        queue=queue,
        device="cpu",
        memory_mb=memory_mb,
        cores=4,
        models=tuple(models),
        credit=credit,
    )


def make_scheduler(router: Router | None = None, *, tenant_window: int = 8) -> Scheduler:
    return Scheduler(router or LeastLoaded(), tenant_window=tenant_window, rng=random.Random(0))


def session(name: str) -> PeerId:
    return PeerId(name.encode())


def join(scheduler: Scheduler, *hellos: WorkerHello, now: float = 0.0) -> None:
    for hello in hellos:
        scheduler.worker_joined(session(hello.name), hello, now=now)


def picks(scheduler: Scheduler, *, now: float = 0.0) -> list[Pick]:
    found: list[Pick] = []
    while (pick := scheduler.next_pick(now=now)) is not None:
        found.append(pick)
        scheduler.check_invariants()
    return found


def numbers(found: Iterable[Pick]) -> list[int]:
    return [int(task_id, 16) for pick in found for task_id in pick.task_ids]


# ---- what is taken, and by whom ------------------------------------------------------------------


@pytest.mark.parametrize("router", ROUTERS)
def test_within_a_level_and_model_tasks_start_in_order_of_arrival(router: type[Router]) -> None:
    """Invariant I13."""
    scheduler = make_scheduler(router())
    for number in (3, 1, 2, 200, 100, *range(4, 90)):
        scheduler.add(make_task(number, at=float(number)), now=300.0)
    join(scheduler, make_worker("w"), now=300.0)

    order: list[int] = []
    while found := picks(scheduler, now=300.0):
        order += numbers(found)
        for pick in found:
            scheduler.released(pick.session, pick.task_ids[0], ran=1.0, now=300.0)

    assert order == sorted(order)
    assert len(order) == 91


def test_a_level_of_priority_outweighs_a_minute_and_no_more() -> None:
    """Invariant I12: bounded overtaking by virtual arrival times."""
    scheduler = make_scheduler()
    scheduler.add(make_task(1, at=0.0), now=0.0)
    scheduler.add(make_task(2, at=59.0, priority=1), now=59.0)
    scheduler.add(make_task(3, at=61.0, priority=1), now=61.0)
    join(scheduler, make_worker("a"), make_worker("b"), make_worker("c"), now=61.0)

    assert numbers(picks(scheduler, now=61.0)) == [2, 1, 3]


def test_a_task_waits_for_the_end_of_its_pause_and_no_longer() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    scheduler.add(make_task(1, not_before=5.0), now=0.0)

    assert picks(scheduler, now=4.9) == []
    assert scheduler.next_wakeup(now=4.9) == 5.0
    assert numbers(picks(scheduler, now=5.0)) == [1]
    assert scheduler.next_wakeup(now=5.0) is None


def test_an_excluded_worker_takes_the_task_only_if_no_other_could() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("bad"), make_worker("good"))
    scheduler.add(make_task(1), now=0.0)
    scheduler.next_pick(now=0.0)
    scheduler.add(make_task(2, excluded=("bad",)), now=0.0)
    scheduler.add(make_task(3, excluded=("good",)), now=0.0)
    found = picks(scheduler)
    assert [pick.session for pick in found] == [session("good")]
    assert numbers(found) == [2]

    scheduler.worker_left(session("good"), now=1.0)
    scheduler.add(make_task(4, excluded=("bad",)), now=1.0)
    scheduler.released(session("bad"), TaskId(f"{1:032x}"), ran=None, now=1.0)

    assert numbers(picks(scheduler, now=1.0)) == [3]
    scheduler.released(session("bad"), TaskId(f"{3:032x}"), ran=None, now=1.0)
    assert numbers(picks(scheduler, now=1.0)) == [4]


def test_an_excluded_worker_is_passed_over_though_it_was_idle_longest() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("bad"), make_worker("good"))
    scheduler.add(make_task(1, excluded=("bad",)), now=0.0)

    assert [pick.session for pick in picks(scheduler)] == [session("good")]


def test_suspects_never_share_a_batch() -> None:
    """Invariant I11."""
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    for number in (1, 2):
        scheduler.add(make_task(number, "batching", suspect=True), now=0.0)

    assert numbers(picks(scheduler)) == [1]


def test_a_suspect_runs_alone_on_an_idle_worker() -> None:
    """Invariant I11."""
    catalog = Catalog([ModelSpec(name="quick", implementation="m:M", run_seconds=lambda job: 0.01)])
    scheduler = make_scheduler()
    join(scheduler, make_worker("w", models=("quick",), credit=3))
    scheduler.model_loaded(
        session("w"), ModelLoaded(model="quick", seconds=0.0, memory_mb=1), now=0.0
    )
    for number, suspect in ((1, False), (2, True), (3, False)):
        task = make_task(number, "quick", at=number, suspect=suspect, catalog=catalog)
        scheduler.add(task, now=0.0)

    assert numbers(picks(scheduler)) == [1, 3]
    for number in (1, 3):
        scheduler.released(session("w"), TaskId(f"{number:032x}"), ran=0.01, now=0.1)
    scheduler.add(make_task(4, "quick", at=4, catalog=catalog), now=0.1)
    assert numbers(picks(scheduler, now=0.1)) == [2]


def test_short_tasks_are_sent_early_to_a_busy_worker_and_long_ones_are_not() -> None:
    catalog = Catalog(
        [
            ModelSpec(name="quick", implementation="m:M", run_seconds=lambda job: 0.01),
            ModelSpec(name="slow", implementation="m:M", run_seconds=lambda job: 5.0),
        ]
    )
    for model, expected in (("quick", 2), ("slow", 1)):
        scheduler = make_scheduler()
        join(scheduler, make_worker("w", models=(model,), credit=2))
        loaded = ModelLoaded(model=model, seconds=0.0, memory_mb=1)
        scheduler.model_loaded(session("w"), loaded, now=0.0)
        for number in range(5):
            scheduler.add(make_task(number, model, catalog=catalog), now=0.0)

        assert len(picks(scheduler)) == expected


def test_tasks_with_equal_keys_share_a_batch_up_to_its_limit() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    for number, pixels in enumerate((10, 10, 20, 10, 10, 10)):
        scheduler.add(make_task(number, "batching", at=number, pixels=pixels), now=0.0)

    found = picks(scheduler)

    assert numbers(found) == [0, 1, 3, 4]
    assert len(found) == 1
    for number in (0, 1, 3):
        scheduler.released(session("w"), TaskId(f"{number:032x}"), ran=1.0, now=1.0)
    assert picks(scheduler, now=1.0) == []
    scheduler.released(session("w"), TaskId(f"{4:032x}"), ran=1.0, now=1.0)
    assert numbers(picks(scheduler, now=1.0)) == [2]


def test_tasks_of_one_model_that_fit_different_workers_do_not_block_each_other() -> None:
    scheduler = make_scheduler()
    for number in range(100):
        scheduler.add(make_task(number, "sized", at=number, pixels=5_000_000), now=0.0)
    scheduler.add(make_task(100, "sized", at=100, pixels=500_000), now=0.0)
    join(scheduler, make_worker("small", memory_mb=1_000))

    assert numbers(picks(scheduler)) == [100]
    join(scheduler, make_worker("large", memory_mb=8_000))
    assert numbers(picks(scheduler)) == [0]


def test_a_draining_worker_gets_nothing_more() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    scheduler.worker_draining(session("w"), now=0.0)
    scheduler.add(make_task(1), now=0.0)

    assert picks(scheduler) == []
    assert "leaving" in scheduler.waiting_for(TaskId(f"{1:032x}"), now=0.0)


def test_a_model_that_failed_to_load_is_tried_elsewhere_and_later_again() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    unloaded = ModelUnloaded(model="plain", error="out of memory")
    scheduler.model_unloaded(session("w"), unloaded, now=0.0)
    scheduler.add(make_task(1), now=0.0)

    assert picks(scheduler, now=1.0) == []
    wakeup = scheduler.next_wakeup(now=1.0)
    assert wakeup is not None
    assert numbers(picks(scheduler, now=wakeup)) == [1]


def test_a_model_on_its_way_counts_as_a_copy() -> None:
    catalog = Catalog([ModelSpec(name="heavy", implementation="m:M", load_seconds=5.0)])
    scheduler = make_scheduler(ModelAffinity())
    join(scheduler, make_worker("a", models=("heavy",)), make_worker("b", models=("heavy",)))
    scheduler.add(make_task(1, "heavy", catalog=catalog), now=0.0)
    first = picks(scheduler)
    scheduler.add(make_task(2, "heavy", catalog=catalog), now=4.5)

    assert len(first) == 1
    assert picks(scheduler, now=4.5) == [], "a second load would take longer than waiting"


# ---- tenants ---------------------------------------------------------------------------------


def test_a_tenant_that_dumps_tasks_leaves_room_for_others() -> None:
    scheduler = make_scheduler(tenant_window=4)
    for number in range(50):
        scheduler.add(make_task(number, at=0.0, tenant="dumper"), now=0.0)
    join(scheduler, make_worker("w"))
    picks(scheduler)
    scheduler.add(make_task(99, at=1.0, tenant="other"), now=1.0)
    order: list[int] = []
    running = TaskId(f"{0:032x}")
    for _ in range(6):
        scheduler.released(session("w"), running, ran=1.0, now=2.0)
        order += numbers(picks(scheduler, now=2.0))
        running = TaskId(f"{order[-1]:032x}")

    assert order == [1, 2, 3, 99, 4, 5], "a window of 4: the one that ran and three more"


def test_no_worker_idles_for_the_sake_of_a_window() -> None:
    scheduler = make_scheduler(tenant_window=2)
    join(scheduler, *(make_worker(f"w{number}") for number in range(5)))
    for number in range(7):
        scheduler.add(make_task(number, at=number, tenant="t"), now=0.0)

    assert numbers(picks(scheduler)) == [0, 1, 2, 3, 4]


def test_a_worker_that_becomes_free_takes_a_parked_task_rather_than_idle() -> None:
    """Invariant I21."""
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("a"), make_worker("b"))
    for number, tenant in ((1, "t"), (2, ""), (3, "t")):
        scheduler.add(make_task(number, at=number, tenant=tenant), now=0.0)
    assert numbers(picks(scheduler)) == [1, 2]

    scheduler.released(session("b"), TaskId(f"{2:032x}"), ran=1.0, now=1.0)
    assert numbers(picks(scheduler, now=1.0)) == [3]


def test_a_task_that_waits_again_while_its_lost_attempt_holds_a_worker_is_let_in_by_its_end() -> (
    None
):
    """The lease was lost, so the task waits; the silent worker may still be at it, and says so."""
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("silent"))
    scheduler.add(make_task(1, tenant="t"), now=0.0)
    assert numbers(picks(scheduler)) == [1]
    scheduler.add(make_task(1, tenant="t"), now=1.0)
    scheduler.add(make_task(2, at=1.0, tenant="t"), now=1.0)

    scheduler.released(session("silent"), TaskId(f"{1:032x}"), ran=None, now=2.0)

    scheduler.check_invariants()
    assert numbers(picks(scheduler, now=2.0)) == [1]


def test_a_better_ranked_task_of_a_tenant_takes_the_place_of_a_worse_one() -> None:
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("w"))
    scheduler.add(make_task(0), now=0.0)
    picks(scheduler)
    scheduler.add(make_task(1, tenant="t"), now=0.0)
    scheduler.add(make_task(2, tenant="t", priority=9), now=0.0)
    scheduler.check_invariants()
    scheduler.released(session("w"), TaskId(f"{0:032x}"), ran=1.0, now=1.0)

    assert numbers(picks(scheduler, now=1.0)) == [2]


# ---- answers -------------------------------------------------------------------------------------


def test_it_says_what_a_task_waits_for() -> None:
    scheduler = make_scheduler()
    scheduler.add(make_task(1, "sized", pixels=5_000_000), now=0.0)
    task_id = TaskId(f"{1:032x}")
    assert scheduler.waiting_for(task_id, now=0.0).endswith("no worker is connected")

    join(scheduler, make_worker("small"))
    assert "small needs 5000 MB memory, has 1000" in scheduler.waiting_for(task_id, now=0.0)
    explanation = scheduler.explain(task_id, now=0.0)
    assert explanation.unblocked_by == "a larger worker to connect"
    assert [verdict.verdict for verdict in explanation.workers] == ["unfit"]

    join(scheduler, make_worker("large", memory_mb=8_000))
    assert scheduler.waiting_for(task_id, now=0.0) == ""
    assert [item.verdict for item in scheduler.explain(task_id, now=0.0).workers] == [
        "idle",
        "unfit",
    ]


def test_expected_work_counts_what_waits_and_what_runs() -> None:
    scheduler = make_scheduler()
    for number in range(3):
        scheduler.add(make_task(number, queue="q"), now=0.0)
    join(scheduler, make_worker("w"))
    found = picks(scheduler)
    assert scheduler.expected_work("q") == pytest.approx(3.0)

    scheduler.released(found[0].session, found[0].task_ids[0], ran=2.0, now=2.0)
    scheduler.remove(TaskId(f"{2:032x}"))
    assert scheduler.expected_work("q") == pytest.approx(1.0)


def test_the_first_queue_wins_unless_another_has_workers_or_less_to_do() -> None:
    scheduler = make_scheduler()
    checked = make_task(1).checked
    assert scheduler.choose_queue(checked, ["a", "b"], now=0.0) == "a"

    join(scheduler, make_worker("w", queue="b"))
    assert scheduler.choose_queue(checked, ["a", "b"], now=0.0) == "b"

    join(scheduler, make_worker("x", queue="a"))
    assert scheduler.choose_queue(checked, ["a", "b"], now=0.0) == "a"
    scheduler.add(make_task(2, queue="a"), now=0.0)
    assert scheduler.choose_queue(checked, ["a", "b"], now=0.0) == "b"


def test_a_task_for_several_devices_goes_where_workers_are_connected() -> None:
    scheduler = Scheduler(
        LeastLoaded(),
        tenant_window=8,
        rng=random.Random(0),
        queue_devices={"gpu": "cuda", "cpu": "cpu"},
    )
    join(scheduler, make_worker("w", queue="elsewhere"))

    assert scheduler.choose_queue(make_task(1, "either").checked, ["gpu", "cpu"], now=0.0) == "cpu"


# ---- routers that misbehave, and changing them -----------------------------------------------


class Raising(Router):
    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        raise RuntimeError("broken")


class Refusing(Router):
    recheck_after = 1.0
    relents_at = 10.0

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        return 1.0 if now >= self.relents_at else None


def test_a_router_that_raises_delays_nobody() -> None:
    scheduler = make_scheduler(Raising())
    scheduler.add(make_task(1), now=0.0)
    join(scheduler, make_worker("w"))

    assert numbers(picks(scheduler)) == [1]
    assert scheduler.faults >= 1
    assert scheduler.last_fault == "RuntimeError: broken"


def test_a_router_that_refused_is_asked_again() -> None:
    scheduler = make_scheduler(Refusing())
    scheduler.add(make_task(1), now=0.0)
    join(scheduler, make_worker("w"))
    now = 0.0
    while not (found := picks(scheduler, now=now)):
        wakeup = scheduler.next_wakeup(now=now)
        assert wakeup is not None
        assert wakeup > now
        now = wakeup

    assert now == 10.0
    assert numbers(found) == [1]


def test_replacing_the_router_loses_no_task_and_follows_its_order() -> None:
    scheduler = make_scheduler(tenant_window=2)
    join(scheduler, make_worker("w"))
    scheduler.add(make_task(0), now=0.0)
    found = picks(scheduler)
    scheduler.add(make_task(1, at=0.0), now=0.0)
    for number in range(2, 6):
        scheduler.add(make_task(number, at=300.0 + number, priority=1, tenant="t"), now=306.0)
    scheduler.replace_router(PriorityFirst(), now=306.0)
    scheduler.check_invariants()

    order: list[int] = []
    while found:
        for pick in found:
            scheduler.released(pick.session, pick.task_ids[0], ran=1.0, now=306.0)
        found = picks(scheduler, now=306.0)
        order += numbers(found)
    assert order == [2, 3, 4, 5, 1]


# ---- whatever happens ------------------------------------------------------------------------


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
        self.draining: set[PeerId] = set()

    @rule(
        model=st.sampled_from(["plain", "sized", "batching", "either"]),
        priority=st.integers(0, 9),
        tenant=st.sampled_from(["", "", "a", "b"]),
        pixels=st.sampled_from([0, 400_000, 1_500_000, 900_000]),
        pause=st.sampled_from([0.0, 0.0, 0.0, 2.0]),
        suspect=st.booleans(),
        excluded=st.sampled_from([(), (), ("w0",), ("w0", "w1")]),
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
        )
        self.scheduler.add(task, now=self.now)
        self.waiting[task.request.id] = task

    @rule(
        number=st.integers(0, 3),
        memory=st.sampled_from([500, 1000, 2000]),
        credit=st.integers(1, 3),
    )
    def join(self, number: int, memory: int, credit: int) -> None:
        peer = session(f"w{number}")
        self._lose(peer)
        self.workers[peer] = make_worker(f"w{number}", memory_mb=memory, credit=credit)
        self.draining.discard(peer)
        self.scheduler.worker_joined(peer, self.workers[peer], now=self.now)

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
            }
            others = {p: h for p, h in fitting.items() if h.name not in task.excluded}
            idle = set(others or fitting) - busy
            assert not idle, f"{task.request.id} waits although {idle} are idle"

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
