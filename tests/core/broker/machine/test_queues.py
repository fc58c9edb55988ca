"""Which tasks a queue may hold."""

from typing import Any

import pytest

from paintmq.broker.machine import queues
from paintmq.broker.machine.queues import (
    FeasibleQueues,
    QueueCounts,
    feasibility,
    unknown_models,
)
from paintmq.config import DEFAULT_QUEUE_CONFIGS, QueueConfig
from paintmq.model import Needs
from paintmq.plugin.catalog import Catalog, CheckedTask
from paintmq.task import TaskId
from paintmq.testing.example_tasks import make_request, make_spec


def check(device: str = "auto", **spec: Any) -> CheckedTask:
    catalog = Catalog([make_spec(**spec)])
    return catalog.check(make_request(device=device))


def test_a_light_cpu_task_belongs_to_the_light_and_the_serverless_queue() -> None:
    assert feasibility(DEFAULT_QUEUE_CONFIGS, check()).queues == ("cpu-light", "serverless")


def test_an_intensive_cpu_task_does_not_belong_to_the_light_queue() -> None:
    found = feasibility(DEFAULT_QUEUE_CONFIGS, check(effort="intensive"))

    assert found.queues == ("cpu-intensive", "serverless")
    assert found.objections["cpu-light"] == "takes light tasks, this one is intensive"


def test_a_gpu_task_belongs_where_its_memory_fits() -> None:
    checked = check(devices=("cuda",), needs=lambda job: Needs(gpu_memory_mb=8192), device="cuda")

    found = feasibility(DEFAULT_QUEUE_CONFIGS, checked)

    assert found.queues == ("gpu-high", "gpu-medium")
    assert found.objections["gpu-low"] == "needs 8192 MB GPU memory, has 4096"
    assert "gpu-low: needs 8192 MB GPU memory, has 4096" in found.reason()


@pytest.mark.parametrize(
    ("queue", "needs", "words"),
    [
        (QueueConfig(memory_mb=100), Needs(memory_mb=200), "needs 200 MB memory, has 100"),
        (QueueConfig(cores=2), Needs(cores=3), "needs 3 CPU cores, has 2"),
        (QueueConfig(device="cuda"), Needs(), "runs cuda tasks, needs cpu"),
    ],
)
def test_an_objection_says_what_is_needed_and_what_there_is(
    queue: QueueConfig, needs: Needs, words: str
) -> None:
    assert feasibility({"q": queue}, check(needs=lambda job: needs)).objections == {"q": words}


@pytest.mark.parametrize("takes", [("toy",), ("to*",), ("lama", "t?y")])
def test_a_queue_takes_the_models_its_names_and_patterns_match(takes: tuple[str, ...]) -> None:
    assert feasibility({"q": QueueConfig(models=takes)}, check()).queues == ("q",)


@pytest.mark.parametrize("takes", [("Toy",), ("to",), ("sd*", "lama")])
def test_a_queue_for_other_models_says_which(takes: tuple[str, ...]) -> None:
    found = feasibility({"q": QueueConfig(models=takes)}, check())

    assert found.objections == {"q": f"takes {' and '.join(takes)} alone, not toy"}


def test_names_and_patterns_that_no_installed_model_has_are_told_with_the_nearest() -> None:
    queues = {"q": QueueConfig(models=("lama", "lamma", "sd*", "re*")), "all": QueueConfig()}

    assert unknown_models(queues, {"lama": 1, "realesrgan": 2}) == [
        "queues.q.models: no installed model is called 'lamma'; did you mean 'lama'?",
        "queues.q.models: no installed model is called 'sd*'",
    ]


def test_text_is_no_list_of_models() -> None:
    with pytest.raises(ValueError, match=r"models = 'lama' must be a list.*\['lama'\]"):
        QueueConfig(models="lama")  # type: ignore[arg-type]  # what a program may well write


def test_the_queues_of_a_task_are_worked_out_again_when_there_are_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remembered, task = FeasibleQueues(), check()
    found = remembered.of(DEFAULT_QUEUE_CONFIGS, task)
    assert remembered.of(dict(DEFAULT_QUEUE_CONFIGS), task) is found
    assert found == feasibility(DEFAULT_QUEUE_CONFIGS, task)

    mine = {"mine": QueueConfig()}
    assert remembered.of(mine, task).queues == ("mine",)
    monkeypatch.setattr(queues, "REMEMBERED", 2)
    for other in [check() for _ in range(5)]:
        assert remembered.of(mine, other).queues == ("mine",)
    assert len(remembered._known) <= 2


def test_the_oldest_wait_is_known_in_whatever_order_tasks_come_and_leave() -> None:
    counts = QueueCounts()
    for name, accepted_at in (("a", 5.0), ("b", 6.0), ("c", 2.0), ("d", 7.0), ("e", 1.0)):
        counts.arrived(TaskId(name), accepted_at)
    oldest = []
    for name in "ecabd":
        oldest.append(counts.oldest_arrival())
        counts.left(TaskId(name))

    assert oldest == [1.0, 2.0, 5.0, 6.0, 7.0]
    assert counts.oldest_arrival() is None
