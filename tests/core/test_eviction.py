"""Which models leave a worker's memory first, and that its broker knows beforehand."""

import random

import pytest
from tests.harness.scheduler_harness import make_scheduler, make_task, make_worker, session
from tests.harness.worker_bench import Bench, key_of, make_bench, make_spec

from paintmq.eviction import HALVED_AFTER, EvictionPolicy
from paintmq.plugin.catalog import Catalog
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import AttemptRecorded, ModelLoaded, ModelUnloaded, ResidentModel
from paintmq.worker.channel.messages import HostLoaded, HostReady, Load

SECONDS = {"alpha": 1.0, "beta": 8.0, "gamma": 2.0, "delta": 4.0}


def resident(**memory_mb: int) -> dict[str, ResidentModel]:
    return {name: ResidentModel(model=name, memory_mb=memory) for name, memory in memory_mb.items()}


def leaving(worth: EvictionPolicy, **memory_mb: int) -> list[str]:
    return worth.leaving(resident(**memory_mb))


def test_a_model_that_is_used_often_outstays_one_that_was_used_last() -> None:
    worth = EvictionPolicy()
    for model in ("often", "often", "often", "last"):
        worth.used(model)

    assert leaving(worth, often=100, last=100) == ["last", "often"]


def test_of_models_used_alike_the_quickest_to_load_for_its_size_leaves_first() -> None:
    worth = EvictionPolicy()
    for model, seconds in (("slow", 8.0), ("large", 8.0), ("quick", 1.0)):
        worth.used(model)
        worth.took(model, seconds)

    assert leaving(worth, slow=100, large=400, quick=100) == ["quick", "large", "slow"]


def test_what_was_used_long_ago_counts_less() -> None:
    worth = EvictionPolicy()
    worth.used("old")
    for _ in range(HALVED_AFTER):
        worth.used("other")
    worth.used("new")

    assert worth.of("old", 100) == pytest.approx(worth.of("new", 100) / 2, rel=0.01)


def test_among_models_worth_the_same_the_order_they_come_in_stays() -> None:
    assert leaving(EvictionPolicy(), b=100, a=100) == ["b", "a"]


def test_a_load_that_was_not_measured_counts_as_a_second_a_gigabyte() -> None:
    worth = EvictionPolicy()
    worth.used("unknown")
    worth.used("known")
    worth.took("known", 0.5)

    assert leaving(worth, known=1000, unknown=1000) == ["known", "unknown"]
    assert leaving(worth, unknown=1000, known=100) == ["unknown", "known"]


def test_a_model_that_fills_nothing_measurable_has_a_worth_all_the_same() -> None:
    worth = EvictionPolicy()
    worth.used("tiny")
    worth.took("tiny", 1.0)

    assert worth.of("tiny", 0) > 0


def test_counts_stay_finite_and_models_long_unused_are_forgotten() -> None:
    worth = EvictionPolicy()
    worth.used("once")
    for number in range(100 * HALVED_AFTER):
        worth.used("ab"[number % 2])

    assert worth.of("once", 100) == 0
    assert worth.of("a", 100) == pytest.approx(worth.of("b", 100), rel=0.01)
    assert worth.of("a", 100) < 2.0**50


@pytest.mark.parametrize("seed", range(5))
def test_the_broker_knows_beforehand_what_a_worker_will_evict(seed: int) -> None:
    """Or its router would plan by models that are gone, and spare those that are not."""
    rng = random.Random(seed)
    catalog = Catalog(make_spec(model) for model in SECONDS)
    bench = make_bench(models=tuple(SECONDS), budget_mb=256)
    scheduler = make_scheduler(PlainRouter())
    hello = make_worker("w", models=tuple(SECONDS), memory_mb=256)
    scheduler.worker_joined(session("w"), hello, now=0.0)
    bench.welcome()

    evictions = 0
    for number in range(60):
        # Not all alike, or the least recently used one would be the one worth least.
        model = rng.choices(list(SECONDS), (8, 2, 1, 1))[0]
        scheduler.add(make_task(number, model, catalog=catalog), now=0.0)
        assert scheduler.next_pick(now=0.0) is not None
        expected = set(scheduler.resident_models(session("w"))) | {model}
        gone = run_one(bench, number, model)
        for message in bench.said():
            if isinstance(message, ModelUnloaded):
                scheduler.model_unloaded(session("w"), message, now=0.0)
            elif isinstance(message, ModelLoaded):
                scheduler.model_loaded(session("w"), message, now=0.0)
        scheduler.released(session("w"), key_of(number)[0], ran=1.0, now=0.0)
        bench.commands.clear()

        assert set(scheduler.resident_models(session("w"))) == expected
        evictions += gone
    assert evictions > 10


def run_one(bench: Bench, number: int, model: str) -> int:
    """Let the worker run a task, loading what that takes; return how many models left for it."""
    bench.assign(number, model=model)
    if number == 0:
        bench.host(HostReady())
    if Load(model) in bench.orders():
        bench.host(HostLoaded(model=model, seconds=SECONDS[model], memory_mb=100))
    bench.end(number, batch=number + 1)
    bench.hear(AttemptRecorded(*key_of(number)))
    return len(bench.said_of(ModelUnloaded))
