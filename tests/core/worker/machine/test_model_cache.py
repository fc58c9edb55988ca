from hypothesis import given
from hypothesis import strategies as st

from paintmq.worker.machine.model_cache import ModelCache


def make_cache(budget_mb: int = 300, **memory_mb: int) -> ModelCache:
    cache = ModelCache(budget_mb)
    for model, size in memory_mb.items():
        cache.will_load(model)
        cache.add(model, size, seconds=1.0)
    return cache


def test_what_is_used_least_goes_first() -> None:
    cache = make_cache(a=100, b=100, c=100)
    for model in "abbbcc":
        cache.touch(model)

    assert cache.victims(50) == ("a",)
    assert cache.victims(150) == ("a", "c")
    assert [item.model for item in cache.resident()] == ["a", "b", "c"]


def test_of_models_used_alike_the_one_that_loads_quickest_goes_first() -> None:
    cache = make_cache(slow=100, quick=100)
    cache.add("slow", 100, seconds=9.0)

    assert cache.victims(150) == ("quick",)


def test_nothing_is_evicted_while_there_is_room() -> None:
    assert make_cache(a=100).victims(200) == ()


def test_without_a_budget_nothing_is_ever_evicted() -> None:
    assert make_cache(0, a=10_000).victims(10_000) == ()


def test_pinned_models_and_models_in_use_stay() -> None:
    cache = make_cache(b=100, c=100)
    cache.add("a", 100, seconds=1.0, pinned=True)

    assert cache.victims(300, in_use=["b"]) == ("c",)


def test_a_model_larger_than_the_budget_gets_all_the_room_there_is() -> None:
    assert make_cache(a=100, b=100).victims(1_000) == ("a", "b")


def test_what_was_measured_counts_not_what_was_expected() -> None:
    cache = make_cache(a=100)
    cache.add("a", 250, seconds=1.0)

    assert cache.used_mb == 250
    assert cache.victims(100) == ("a",)
    assert [(model.model, model.memory_mb) for model in cache.resident()] == [("a", 250)]


def test_a_lost_process_takes_all_its_models() -> None:
    cache = make_cache(a=1, b=1)

    assert cache.clear() == ("a", "b")
    assert "a" not in cache
    assert not cache.remove("a")


@given(
    st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=8),
    st.integers(1, 1000),
    st.integers(1, 1000),
)
def test_evicting_is_enough_or_leaves_only_what_must_stay(
    models: list[tuple[int, bool]], budget_mb: int, needed_mb: int
) -> None:
    cache = ModelCache(budget_mb)
    for number, (memory_mb, pinned) in enumerate(models):
        cache.add(f"m{number}", memory_mb, seconds=1.0, pinned=pinned)

    for model in cache.victims(needed_mb):
        assert cache.remove(model)

    assert cache.used_mb + needed_mb <= budget_mb or not cache.evictable()
