from typing import Any

import pytest
from attrs import define, field, frozen

from paintmq.node import gpus
from paintmq.node.gpus import Gpu, find_gpus

MIB = 2**20


class FakeNvmlError(Exception):
    pass


@frozen
class Memory:
    total: int
    free: int


@define
class FakeDevice:
    uuid: str
    memory_mb: int = 80_000
    slices: "list[FakeDevice] | None" = None
    """None: it cannot be cut; empty: it could be."""


@define
class FakeLibrary:
    """The part of pynvml that is used, over invented devices."""

    devices: list[FakeDevice] = field(factory=list)
    broken: str = ""
    is_open: bool = False
    NVMLError: Any = FakeNvmlError

    def _call(self, name: str) -> None:
        if self.broken == name:
            raise FakeNvmlError("Driver Not Loaded")

    def nvmlInit(self) -> None:  # noqa: N802 -- NVIDIA's names
        self._call("init")
        self.is_open = True

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._call("count")
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeDevice:  # noqa: N802
        return self.devices[index]

    def nvmlDeviceGetMigMode(self, device: FakeDevice) -> tuple[int, int]:  # noqa: N802
        if device.slices is None:
            raise FakeNvmlError("Not Supported")
        return int(bool(device.slices)), 1

    def nvmlDeviceGetMaxMigDeviceCount(self, device: FakeDevice) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(  # noqa: N802
        self, device: FakeDevice, index: int
    ) -> FakeDevice:
        if device.slices is None or index >= len(device.slices):
            raise FakeNvmlError("Not Found")
        return device.slices[index]

    def nvmlDeviceGetMemoryInfo(self, device: FakeDevice) -> Memory:  # noqa: N802
        return Memory(device.memory_mb * MIB, device.memory_mb * MIB // 2)

    def nvmlDeviceGetUUID(self, device: FakeDevice) -> bytes:  # noqa: N802
        return device.uuid.encode()

    def nvmlDeviceGetName(self, device: FakeDevice) -> str:  # noqa: N802
        return "NVIDIA Test"


def uuids(library: FakeLibrary, **environ: str) -> list[str]:
    return [gpu.uuid for gpu in find_gpus(environ, library=library).gpus]


def test_a_gpu_is_described_and_the_driver_let_go() -> None:
    library = FakeLibrary([FakeDevice("GPU-a")])

    found = find_gpus({}, library=library)

    assert found.gpus == (Gpu(uuid="GPU-a", name="NVIDIA Test", memory_mb=80_000, free_mb=40_000),)
    assert found.reason == ""
    assert not library.is_open


def test_a_gpu_that_is_cut_counts_as_its_slices() -> None:
    cut = FakeDevice("GPU-a", slices=[FakeDevice("MIG-1", 10_000), FakeDevice("MIG-2", 20_000)])

    assert uuids(FakeLibrary([cut, FakeDevice("GPU-b", slices=[])])) == ["MIG-1", "MIG-2", "GPU-b"]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", ["GPU-bb"]),
        ("1,0", ["GPU-bb", "GPU-aa"]),
        ("GPU-b", ["GPU-bb"]),
        ("0,7,1", ["GPU-aa"]),
        ("0,0", ["GPU-aa"]),
        ("", []),
        ("-1", []),
    ],
)
def test_cuda_visible_devices_is_obeyed(visible: str, expected: list[str]) -> None:
    library = FakeLibrary([FakeDevice("GPU-aa"), FakeDevice("GPU-bb")])

    assert uuids(library, CUDA_VISIBLE_DEVICES=visible) == expected


def test_hidden_gpus_are_told_apart_from_none() -> None:
    library = FakeLibrary([FakeDevice("GPU-aa")])

    assert find_gpus({"CUDA_VISIBLE_DEVICES": ""}, library=library).reason == (
        "CUDA_VISIBLE_DEVICES='' hides 1"
    )
    assert find_gpus({}, library=FakeLibrary()).reason == "the driver sees no GPU"


@pytest.mark.parametrize(
    ("broken", "words"), [("init", "no NVIDIA driver"), ("count", "the NVIDIA driver failed")]
)
def test_a_missing_or_broken_driver_means_no_gpu_and_says_why(broken: str, words: str) -> None:
    library = FakeLibrary(broken=broken)

    found = find_gpus({}, library=library)

    assert found.gpus == ()
    assert words in found.reason
    assert not library.is_open


def test_a_missing_library_means_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError("No module named 'pynvml'")

    monkeypatch.setattr(gpus, "import_module", fail)

    assert "pynvml cannot be imported" in find_gpus({}).reason
