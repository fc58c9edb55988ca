"""The load of a machine: GPUs by NVML, played by a fake of its own structures and errors."""

from types import ModuleType
from typing import Any

import pynvml  # type: ignore[import-untyped]  # it ships no types
import pytest
from attrs import define, field

from paintmq.monitoring.system_meter import SystemMeter
from paintmq.units import MIB

NOT_SUPPORTED, GONE = pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_GPU_IS_LOST


@define
class FakeGpu:
    name: str | bytes = "NVIDIA H200"
    errors: dict[str, int] = field(factory=dict[str, int])
    """By the function that fails."""


class FakeNvml(ModuleType):
    """The functions that are used, with pynvml's own structures, units and errors."""

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def __init__(self, *gpus: FakeGpu) -> None:
        super().__init__("pynvml")
        self.gpus = gpus
        self.opened = 0

    def nvmlInit(self) -> None:  # noqa: N802 -- NVIDIA's names
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        return self.gpus[index]

    def _ask(self, gpu: FakeGpu, what: str) -> None:
        assert self.opened, "the library was not initialised"
        if what in gpu.errors:
            raise pynvml.NVMLError(gpu.errors[what])

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> Any:  # noqa: N802
        self._ask(gpu, "name")
        return gpu.name

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> Any:  # noqa: N802
        self._ask(gpu, "memory")
        return pynvml.c_nvmlMemory_t(total=1000 * MIB, used=250 * MIB, free=750 * MIB)

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:  # noqa: N802
        self._ask(gpu, "utilisation")
        return pynvml.c_nvmlUtilization_t(gpu=45, memory=10)

    def nvmlDeviceGetTemperature(self, gpu: FakeGpu, sensor: int) -> int:  # noqa: N802
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        self._ask(gpu, "temperature")
        return 61

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802
        self._ask(gpu, "power")
        return 312_500  # milliwatts


def meter_with(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml) -> SystemMeter:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml)
    return SystemMeter()


def test_a_gpu_is_told_with_its_load_heat_and_power(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(FakeGpu(), FakeGpu(name=b"of older versions"))
    meter = meter_with(monkeypatch, nvml)

    first, second = meter.read().gpus
    meter.close()

    assert (first.name, first.memory_used_mb, first.memory_total_mb) == ("NVIDIA H200", 250, 1000)
    assert (first.utilisation, first.temperature, first.power) == (0.45, 61.0, 312.5)
    assert second.name == "of older versions"
    assert nvml.opened == 0


def test_what_a_device_does_not_tell_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    slice_of_one = FakeGpu(
        errors=dict.fromkeys(("utilisation", "temperature", "power"), NOT_SUPPORTED)
    )

    (gpu,) = meter_with(monkeypatch, FakeNvml(slice_of_one)).read().gpus

    assert (gpu.utilisation, gpu.temperature, gpu.power, gpu.memory_used_mb) == (0, 0, 0, 250)


def test_a_gpu_that_is_lost_ends_no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(FakeGpu(errors={"memory": GONE}))
    meter = meter_with(monkeypatch, nvml)

    assert meter.read().gpus == ()
    assert meter.read().memory_total_mb > 0
    assert nvml.opened == 0


def test_the_machine_is_told_within_what_may_be_used_of_it() -> None:
    metrics = SystemMeter().read()

    assert metrics.cores >= 1
    assert 0 < metrics.memory_limit_mb <= metrics.memory_total_mb
    assert 0 <= metrics.memory_in_group_mb <= metrics.memory_total_mb
