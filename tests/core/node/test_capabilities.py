import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from paintmq.config import DEFAULT_QUEUE_CONFIGS, QueueConfig
from paintmq.model import API_VERSION, ModelSpec
from paintmq.node.capabilities import detect, home_queue, offer


def make_spec(name: str, **changes: Any) -> ModelSpec:
    return ModelSpec(name=name, implementation="nowhere:Model", **changes)


def only_torch(name: str) -> ModuleSpec | None:
    return ModuleSpec("torch", None) if name == "torch" else None


def test_a_worker_offers_what_its_device_and_its_packages_allow() -> None:
    specs = [
        make_spec("plain"),
        make_spec("gpu", devices=("cuda",)),
        make_spec("torchy", requires=("torch.nn",)),
        make_spec("needy", requires=("onnxruntime", "torch"), extra="paintmq[face]"),
        make_spec("bare", requires=("numba",)),
        make_spec("new", api=99),
    ]

    offered = offer({spec.name: spec for spec in specs}, "cpu", find_module=only_torch)

    assert offered.models == ("plain", "torchy")
    assert offered.unavailable == {
        "gpu": "it runs on cuda, this worker on cpu",
        "needy": "it needs onnxruntime; install paintmq[face]",
        "bare": "it needs numba",
        "new": f"it was written for interface 99 of PaintMQ, this is {API_VERSION}",
    }


def test_looking_for_a_package_does_not_import_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_heavy_package").mkdir()
    (tmp_path / "a_heavy_package" / "__init__.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(str(tmp_path))

    offered = offer({"m": make_spec("m", requires=("a_heavy_package.part",))}, "cpu")

    assert offered.models == ("m",)
    assert "a_heavy_package" not in sys.modules


def test_a_package_that_cannot_even_be_looked_for_is_missing() -> None:
    def fail(name: str) -> None:
        raise ValueError(f"{name}.__spec__ is None")

    assert offer({"m": make_spec("m", requires=("odd",))}, "cpu", find_module=fail).models == ()


@pytest.mark.parametrize(
    ("memory_mb", "queue"),
    [
        (143_000, "gpu-high"),
        (81_920, "gpu-high"),
        (24_000, "gpu-medium"),
        (8_000, "gpu-low"),
        (2_000, "gpu-low"),
    ],
)
def test_a_gpu_is_at_home_in_the_most_demanding_queue_it_satisfies(
    memory_mb: int, queue: str
) -> None:
    home = home_queue(DEFAULT_QUEUE_CONFIGS, "cuda", cores=8, gpu_memory_mb=memory_mb)

    assert home == queue


@pytest.mark.parametrize(("cores", "queue"), [(16, "cpu-intensive"), (2, "cpu-light")])
def test_a_cpu_is_at_home_where_tasks_of_its_strength_wait(cores: int, queue: str) -> None:
    assert home_queue(DEFAULT_QUEUE_CONFIGS, "cpu", cores=cores) == queue


def test_a_device_without_a_queue_has_no_home() -> None:
    assert home_queue({"gpu": QueueConfig(device="cuda")}, "cpu", cores=4) == ""
    assert home_queue({"cpu": QueueConfig()}, "cuda", cores=4) == ""


def test_this_machine_can_be_looked_at() -> None:
    capabilities = detect()

    assert capabilities.cores >= 1
    assert capabilities.memory_mb > 64
    assert capabilities.gpus or capabilities.no_gpus_because
