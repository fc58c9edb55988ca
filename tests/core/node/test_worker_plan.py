from typing import Any

import pytest

from paintmq.config import DEFAULT_QUEUE_CONFIGS, Config, WorkersConfig
from paintmq.errors import ConfigError
from paintmq.model import ModelSpec
from paintmq.node.capabilities import Capabilities
from paintmq.node.gpus import Gpu
from paintmq.node.worker_plan import WorkerPlan
from paintmq.transport.key_files import KeyPair, PeerKey
from paintmq.transport.key_terms import KeyTerms
from paintmq.worker.agent.agent import AgentSetup
from paintmq.worker.machine.profile import WorkerTimers

SPECS = {
    "both": ModelSpec(name="both", implementation="m:M", devices=("cuda", "cpu")),
    "gpu": ModelSpec(name="gpu", implementation="m:M", devices=("cuda",)),
}


def plan(
    *,
    gpus: int = 0,
    queues: Any = DEFAULT_QUEUE_CONFIGS,
    key: PeerKey | None = None,
    **workers: Any,
) -> list[AgentSetup]:
    found = tuple(
        Gpu(uuid=f"GPU-{index}", name="NVIDIA Test", memory_mb=24_000, free_mb=24_000)
        for index in range(gpus)
    )
    return WorkerPlan(
        config=Config(queues=queues, workers=WorkersConfig(**workers)),
        specs=SPECS,
        capabilities=Capabilities(cores=8, memory_mb=32_000, gpus=found),
        node="node",
        queue_endpoints={name: f"tcp://broker/{name}" for name in queues},
        worker_timers=WorkerTimers(),
        key=key,
    ).setups()


def names(setups: list[AgentSetup]) -> list[str]:
    return [setup.profile.name for setup in setups]


def test_by_default_there_is_one_worker_a_gpu_and_one_for_the_cpu() -> None:
    assert names(plan(gpus=2)) == ["node/cuda-0", "node/cuda-1", "node/cpu-0"]
    assert names(plan()) == ["node/cpu-0"]


def key_for(*queues: str) -> PeerKey:
    return PeerKey("gpu7", "worker", KeyPair("p", "s"), "b", KeyTerms(queues=queues))


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        (("gpu-low",), {"node/cuda-0": "gpu-low"}),
        (("cpu-light", "nightly"), {"node/cpu-0": "cpu-light"}),
        (("serverless", "gpu-low"), {"node/cuda-0": "gpu-low", "node/cpu-0": "serverless"}),
    ],
)
def test_workers_are_at_home_in_queues_that_the_key_is_for_or_are_not_there(
    queues: tuple[str, ...], expected: dict[str, str]
) -> None:
    setups = plan(gpus=1, key=key_for(*queues))

    assert {setup.profile.name: setup.profile.queue for setup in setups} == expected
    assert all(setup.key == key_for(*queues) for setup in setups)


@pytest.mark.parametrize(("queues", "count"), [(("nightly",), None), (("gpu-low",), 2)])
def test_a_key_for_no_queue_of_this_machine_is_refused_in_words(
    queues: tuple[str, ...], count: int | None
) -> None:
    with pytest.raises(ConfigError, match=r"no queue is for cpu workers \(queues that the key is"):
        plan(gpus=1, key=key_for(*queues), count=count)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, []),
        (1, ["node/cuda-0"]),
        (3, ["node/cuda-0", "node/cpu-0", "node/cpu-1"]),
    ],
)
def test_a_count_takes_gpus_first(count: int, expected: list[str]) -> None:
    assert names(plan(gpus=1, count=count)) == expected


def test_a_gpu_worker_sees_its_gpu_alone_and_a_cpu_worker_none() -> None:
    first, second, cpu = plan(gpus=2)

    assert first.environment["CUDA_VISIBLE_DEVICES"] == "GPU-0"
    assert second.environment["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert cpu.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_workers_offer_what_their_device_can_run_and_connect_to_their_queue() -> None:
    gpu, cpu = plan(gpus=1)

    assert (gpu.profile.models, cpu.profile.models) == (("both", "gpu"), ("both",))
    assert gpu.endpoint == "tcp://broker/gpu-medium"
    assert cpu.endpoint == "tcp://broker/cpu-intensive"
    assert [outline.name for outline in gpu.configure.models] == ["both", "gpu"]


def test_cores_and_memory_are_shared_out() -> None:
    first, second = plan(count=2)

    assert first.profile.cores == second.profile.cores == 4
    assert first.environment["OMP_NUM_THREADS"] == "4"
    assert first.profile.memory_mb == 16_000
    assert first.profile.budget_mb == 11_200


def test_settings_go_before_what_was_measured() -> None:
    (setup,) = plan(threads=3, memory_mb=500, prefetch=0, pinned=("both",), idle_exit=9.0)

    assert setup.profile.cores == 3
    assert setup.profile.budget_mb == 500
    assert setup.profile.credit == 1
    assert setup.profile.pinned == ("both",)
    assert setup.profile.idle_exit == 9.0


def test_a_device_without_a_queue_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"no queue is for cpu workers .* add one"):
        plan(queues={"gpu-high": DEFAULT_QUEUE_CONFIGS["gpu-high"]})
