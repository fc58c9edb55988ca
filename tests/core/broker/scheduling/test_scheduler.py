"""The scheduling engine: what is taken, by whom, and into which queue."""

import random
from collections.abc import Sequence
from itertools import groupby

import pytest
from msgspec.structs import replace
from tests.harness.scheduler_harness import (
    join,
    make_scheduler,
    make_task,
    make_worker,
    numbers,
    picks,
    session,
)

from paintmq.broker.scheduling.scheduler import ALIKE_SECONDS, Scheduler
from paintmq.model import ModelSpec
from paintmq.plugin.catalog import Catalog, CheckedTask
from paintmq.routing import QueueView, Router
from paintmq.task import TaskId
from paintmq.wire.messages import ModelLoaded, ModelUnloaded
from paintmq_routers.least_loaded import LeastLoaded
from paintmq_routers.model_affinity import ModelAffinity
from paintmq_routers.priority_first import PriorityFirst

ROUTERS = [LeastLoaded, PriorityFirst, ModelAffinity]


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


def test_a_suspect_runs_alone_on_an_idle_worker_which_is_kept_free_when_its_turn_comes() -> None:
    """Invariants I11 and I12: a worker that is sent short tasks early would never be idle."""
    catalog = Catalog([ModelSpec(name="quick", implementation="m:M", run_seconds=lambda job: 0.01)])
    scheduler = make_scheduler()
    join(scheduler, make_worker("w", models=("quick",), credit=3))
    scheduler.model_loaded(
        session("w"), ModelLoaded(model="quick", seconds=0.0, memory_mb=1), now=0.0
    )
    for number, suspect in ((1, False), (2, False), (3, True), (4, False)):
        task = make_task(number, "quick", at=number, suspect=suspect, catalog=catalog)
        scheduler.add(task, now=0.0)

    assert numbers(picks(scheduler)) == [1, 2]
    scheduler.released(session("w"), TaskId(f"{1:032x}"), ran=0.01, now=0.1)
    assert numbers(picks(scheduler, now=0.1)) == []
    scheduler.released(session("w"), TaskId(f"{2:032x}"), ran=0.01, now=0.2)
    assert numbers(picks(scheduler, now=0.2)) == [3]
    scheduler.released(session("w"), TaskId(f"{3:032x}"), ran=0.01, now=0.3)
    assert numbers(picks(scheduler, now=0.3)) == [4]


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


# ---- queues --------------------------------------------------------------------------------------


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


def test_of_several_queues_the_heavier_comes_first_and_is_given_its_share_of_the_work() -> None:
    scheduler = Scheduler(
        LeastLoaded(), tenant_window=8, rng=random.Random(0), queue_weights={"b": 2.0}
    )
    checked = make_task(1).checked
    assert scheduler.choose_queue(checked, ["a", "b"], now=0.0) == "b"

    chosen = {"a": 0, "b": 0}
    join(scheduler, make_worker("x", queue="a"))
    join(scheduler, make_worker("y", queue="b"))
    for number in range(30):
        queue = scheduler.choose_queue(checked, ["a", "b"], now=0.0)
        chosen[queue] += 1
        scheduler.add(make_task(number, queue=queue), now=0.0)
    assert chosen == {"a": 10, "b": 20}


class FirstQueue(LeastLoaded):
    """Looks at nothing."""

    def choose_queue(self, queues: Sequence[QueueView], *, now: float) -> str:
        return queues[0].name


def of_two_milliseconds() -> tuple[Scheduler, CheckedTask]:
    """Return an engine with a worker for each of two queues, and a task of which few are work."""
    spec = ModelSpec(name="plain", implementation="m:M", run_seconds=lambda job: 0.002)
    scheduler = Scheduler(LeastLoaded(), tenant_window=8, rng=random.Random(0))
    join(scheduler, make_worker("x", queue="a"))
    join(scheduler, make_worker("y", queue="b"))
    return scheduler, make_task(0, catalog=Catalog([spec])).checked


def chosen_for(scheduler: Scheduler, checked: CheckedTask, number: int, *, now: float) -> str:
    """Return which queue such a task is given, and have it wait there."""
    queue = scheduler.choose_queue(checked, ["a", "b"], now=now)
    scheduler.add(replace(make_task(number, queue=queue), checked=checked), now=now)
    return queue


def test_alike_tasks_of_a_moment_go_to_one_queue_while_they_are_little_work_together() -> None:
    scheduler, checked = of_two_milliseconds()

    chosen = [chosen_for(scheduler, checked, number, now=0.0) for number in range(20)]

    longest = max(len(list(same)) for _, same in groupby(chosen))
    assert longest == 1 + ALIKE_SECONDS // 0.002
    assert abs(chosen.count("a") - chosen.count("b")) <= longest


def test_a_choice_stands_for_its_moment_and_while_nothing_else_changes() -> None:
    scheduler, checked = of_two_milliseconds()
    assert chosen_for(scheduler, checked, 0, now=0.0) == "a"
    assert chosen_for(scheduler, checked, 1, now=1.0) == "b"
    scheduler.set_queues(devices={}, weights={"b": 9.0})
    assert chosen_for(scheduler, checked, 2, now=1.0) == "b"
    scheduler.replace_router(FirstQueue(), now=1.0)
    assert chosen_for(scheduler, checked, 3, now=1.0) == "a"
    assert scheduler.choose_queue(checked, ["b"], now=1.0) == "b"


# ---- what workers say ----------------------------------------------------------------------------


def test_what_a_worker_says_that_is_gone_is_ignored() -> None:
    scheduler = make_scheduler()
    gone, task = session("gone"), make_task(1)

    scheduler.worker_left(gone, now=0.0)
    scheduler.worker_draining(gone, now=0.0)
    scheduler.model_loaded(gone, ModelLoaded(model="plain", memory_mb=1, seconds=1.0), now=0.0)
    scheduler.model_unloaded(gone, ModelUnloaded(model="plain"), now=0.0)
    scheduler.started(gone, task.request.id, loading=False, now=0.0)
    scheduler.claimed(gone, task, now=0.0)
    scheduler.released(gone, task.request.id, ran=1.0, now=0.0)

    assert scheduler.resident_models(gone) == []
    assert not scheduler.is_waiting(task.request.id)
    assert scheduler.expected_work("cpu-light") == 0.0
    scheduler.check_invariants()


def test_a_worker_that_begins_to_load_or_to_run_is_known_to_have_the_model_soon_or_now() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    for number, model in ((1, "plain"), (2, "sized")):
        scheduler.add(make_task(number, model), now=0.0)
    (pick,) = picks(scheduler)
    (task_id,) = pick.task_ids
    worker = scheduler._board.get(pick.session)
    assert worker is not None

    scheduler.started(pick.session, task_id, loading=True, now=1.0)
    assert list(worker.loading) == ["plain"]
    scheduler.started(pick.session, task_id, loading=False, now=2.0)
    assert scheduler.resident_models(pick.session) == ["plain"]
    scheduler.started(pick.session, task_id, loading=False, now=3.0)
    assert worker.holdings[0].started_at == 2.0, "what came twice changes nothing"
    scheduler.started(pick.session, TaskId("not one of its own"), loading=False, now=3.0)
    scheduler.check_invariants()


def test_of_several_batches_only_the_one_with_the_task_has_begun() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("w", credit=3))
    for number in (1, 2):
        scheduler.claimed(session("w"), make_task(number), now=0.0)
    worker = scheduler._board.get(session("w"))
    assert worker is not None
    for holding in worker.holdings:
        holding.started_at = None

    scheduler.started(session("w"), TaskId(f"{2:032x}"), loading=False, now=5.0)

    assert [holding.started_at for holding in worker.holdings] == [None, 5.0]


def test_a_model_that_was_unloaded_is_had_no_more() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    loaded = ModelLoaded(model="plain", memory_mb=300, seconds=1.0)
    scheduler.model_loaded(session("w"), loaded, now=0.0)
    assert scheduler.resident_models(session("w")) == ["plain"]

    scheduler.model_unloaded(session("w"), ModelUnloaded(model="plain"), now=1.0)

    assert scheduler.resident_models(session("w")) == []
    scheduler.check_invariants()


def test_a_task_given_back_twice_is_given_back_once() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    scheduler.add(make_task(1), now=0.0)
    (pick,) = picks(scheduler)
    for _ in range(2):
        scheduler.released(pick.session, pick.task_ids[0], ran=None, now=1.0)

    assert scheduler.expected_work("cpu-light") == 0.0
    scheduler.check_invariants()


def test_a_task_waits_once() -> None:
    scheduler = make_scheduler()
    scheduler.add(make_task(1), now=0.0)

    with pytest.raises(ValueError, match="waits already"):
        scheduler.add(make_task(1), now=0.0)


def test_a_task_that_does_not_wait_is_not_explained() -> None:
    scheduler = make_scheduler()

    assert scheduler.waiting_for(TaskId("1"), now=0.0) == ""
    with pytest.raises(KeyError):
        scheduler.explain(TaskId("1"), now=0.0)


def test_work_is_counted_as_none_where_rounding_would_make_it_less() -> None:
    scheduler = make_scheduler()
    scheduler._line.work["cpu-light"] = -1e-17

    assert scheduler.expected_work("cpu-light") == 0.0


def test_a_task_that_waits_beside_an_idle_worker_is_noticed() -> None:
    """Invariant I21: what simulations ask after every step."""
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    assert scheduler.conserves_work(now=0.0)
    scheduler.add(make_task(1), now=0.0)

    assert not scheduler.conserves_work(now=0.0)
    picks(scheduler)
    assert scheduler.conserves_work(now=0.0)
