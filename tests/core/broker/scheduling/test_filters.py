"""Whether a worker may run a task at all, and if not, why not."""

from typing import Any

import pytest
from attrs import evolve

from paintmq.broker.scheduling.filters import (
    Profile,
    model_objection,
    needs_objection,
    objection,
    profile_of,
    spread,
)
from paintmq.model import Needs
from paintmq.plugin.catalog import Catalog
from paintmq.testing.example_tasks import make_hello, make_request, make_spec


def make_profile(**changes: Any) -> Profile:
    values: dict[str, Any] = {
        "device": "cpu",
        "gpu_memory_mb": 0,
        "memory_mb": 8000,
        "cores": 4,
        "models": frozenset({"toy"}),
        "unavailable": (),
    }
    return Profile(**(values | changes))


GPU = make_profile(device="cuda", gpu_memory_mb=8000)
QUEUES = ("cpu-light", "cpu-intensive")


@pytest.mark.parametrize(
    ("profile", "needs", "words"),
    [
        (make_profile(), Needs(memory_mb=8000, cores=4), ""),
        (make_profile(), Needs(memory_mb=8001), "needs 8001 MB memory, has 8000"),
        (make_profile(memory_mb=0), Needs(memory_mb=10**6), ""),  # unknown: let it try
        (make_profile(), Needs(cores=5), "needs 5 CPU cores, has 4"),
        (make_profile(), Needs(gpu_memory_mb=9000), ""),  # not what a CPU worker is asked for
        (GPU, Needs(gpu_memory_mb=8000), ""),
        (GPU, Needs(gpu_memory_mb=8001), "needs 8001 MB GPU memory, has 8000"),
    ],
)
def test_an_objection_says_what_is_needed_and_what_there_is(
    profile: Profile, needs: Needs, words: str
) -> None:
    assert needs_objection(profile, needs) == words


def test_a_model_that_is_not_offered_is_named_with_the_reason() -> None:
    assert model_objection(make_profile(), "toy") == ""
    assert model_objection(make_profile(), "lama") == (
        "does not offer lama: no installed plugin provides it there"
    )
    lacking = make_profile(unavailable=(("lama", "torch is not installed"),))
    assert model_objection(lacking, "lama") == "does not offer lama: torch is not installed"


def test_the_device_comes_before_all_else() -> None:
    checked = Catalog([make_spec(devices=("cuda",))]).check(make_request())

    assert objection(make_profile(), checked, QUEUES) == "runs cpu tasks, needs cuda"
    assert objection(GPU, checked, QUEUES) == ""
    assert objection(evolve(GPU, models=frozenset()), checked, QUEUES).startswith(
        "does not offer toy"
    )


@pytest.mark.parametrize(
    ("queues", "words"),
    [
        (None, ""),
        (("cpu-light",), ""),
        (("gpu-low", "serverless"), "has a key for gpu-low and serverless alone"),
    ],
)
def test_a_worker_runs_tasks_of_the_queues_that_its_key_is_for(
    queues: tuple[str, ...] | None, words: str
) -> None:
    checked = Catalog([make_spec()]).check(make_request())

    assert objection(make_profile(queues=queues), checked, QUEUES) == words


@pytest.mark.parametrize(
    ("queues", "fits"),
    [
        (("cpu-light", "cpu-intensive", "more"), True),
        (("cpu-light",), None),
        (("serverless",), False),
    ],
)
def test_of_tasks_from_several_queues_all_none_or_some_are_for_a_worker(
    queues: tuple[str, ...], fits: bool | None
) -> None:
    needs = Needs(memory_mb=10)

    assert spread(make_profile(queues=queues), {"cpu": needs}, {"cpu": needs}, QUEUES) is fits


def test_a_profile_is_what_the_hello_says_of_the_worker() -> None:
    hello = make_hello(unavailable={"b": "2", "a": "1"})

    assert profile_of(hello) == make_profile(memory_mb=8192, unavailable=(("a", "1"), ("b", "2")))
    assert profile_of(hello, ("b", "a")).queues == ("a", "b")


@pytest.mark.parametrize(
    ("lowest", "highest", "fits"),
    [
        (Needs(memory_mb=10), Needs(memory_mb=8000), True),
        (Needs(memory_mb=9000), Needs(memory_mb=9500), False),
        (Needs(memory_mb=10), Needs(memory_mb=9500), None),
    ],
)
def test_of_tasks_between_two_bounds_all_none_or_some_fit(
    lowest: Needs, highest: Needs, fits: bool | None
) -> None:
    assert spread(make_profile(), {"cpu": lowest}, {"cpu": highest}, QUEUES) is fits
    assert spread(GPU, {"cpu": lowest}, {"cpu": highest}, QUEUES) is False
