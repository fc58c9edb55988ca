"""Reads the machine's load: processor, memory and, where there is a driver, GPUs."""

import logging
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import psutil  # type: ignore[import-untyped]  # it ships no types

from paintmq.process.cgroups import group_memory_mb, usable_cores, usable_memory_mb
from paintmq.statistics import GpuMetrics, SystemMetrics
from paintmq.units import MIB

logger = logging.getLogger(__name__)


class SystemMeter:
    """Call ``read`` from one thread; ``close`` lets go of the GPU driver."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._nvml = _open_nvml()
        psutil.cpu_percent()  # the first call only sets the mark that the next one measures from

    def read(self) -> SystemMetrics:
        memory = psutil.virtual_memory()
        return SystemMetrics(
            cpu=psutil.cpu_percent() / 100,
            load=psutil.getloadavg()[0],
            memory_used_mb=(memory.total - memory.available) // MIB,
            memory_total_mb=memory.total // MIB,
            process_memory_mb=self._process.memory_info().rss // MIB,
            process_threads=self._process.num_threads(),
            gpus=self._read_gpus(),
            cores=usable_cores(),
            memory_limit_mb=usable_memory_mb(),
            memory_in_group_mb=group_memory_mb(),
        )

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None

    def _read_gpus(self) -> tuple[GpuMetrics, ...]:
        nvml = self._nvml
        if nvml is None:
            return ()
        try:
            return tuple(_read_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
        except nvml.NVMLError as error:  # a GPU that fell off the bus must not end the sampling
            logger.warning("the GPUs cannot be read any more: %s", error)
            self.close()
            return ()


def _open_nvml() -> ModuleType | None:
    nvml = import_module("pynvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None  # no driver, no GPU: nothing to measure
    return nvml


def _read_gpu(nvml: ModuleType, index: int) -> GpuMetrics:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)

    def told(read: Callable[[], float]) -> float:
        """Return what not every device tells: a slice of one, say; 0 if it does not."""
        try:
            return float(read())
        except nvml.NVMLError:
            return 0.0

    sensor = nvml.NVML_TEMPERATURE_GPU
    return GpuMetrics(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        memory_used_mb=memory.used // MIB,
        memory_total_mb=memory.total // MIB,
        utilisation=told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
        temperature=told(lambda: nvml.nvmlDeviceGetTemperature(handle, sensor)),
        power=told(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
    )


def _text(name: str | bytes) -> str:
    """Return the name as text: older versions of pynvml give bytes."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name
