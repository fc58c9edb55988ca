"""The NVIDIA GPUs this process may use. A GPU that is cut into MIG slices counts as its slices."""

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from attrs import frozen

from paintmq.units import MIB


@frozen(kw_only=True)
class Gpu:
    """One GPU, or one MIG slice of one."""

    uuid: str
    """What CUDA_VISIBLE_DEVICES takes: ``GPU-...`` or ``MIG-...``."""
    name: str
    memory_mb: int
    free_mb: int
    """When it was looked at: others may use it too."""


@frozen(kw_only=True)
class FoundGpus:
    """What there is, and if there is nothing, why."""

    gpus: tuple[Gpu, ...] = ()
    reason: str = ""


def find_gpus(environ: Mapping[str, str] = os.environ, *, library: Any = None) -> FoundGpus:
    """Return the GPUs that CUDA_VISIBLE_DEVICES allows. Never raises: no driver means no GPU.

    ``library`` is pynvml or something like it, for tests.
    """
    if library is None:
        try:
            library = import_module("pynvml")
        except ImportError as error:
            return FoundGpus(reason=f"pynvml cannot be imported: {error}")
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        return FoundGpus(reason=f"no NVIDIA driver: {error}")
    try:
        devices = [
            device
            for index in range(library.nvmlDeviceGetCount())
            for device in _slices(library, library.nvmlDeviceGetHandleByIndex(index))
        ]
    except library.NVMLError as error:
        return FoundGpus(reason=f"the NVIDIA driver failed: {error}")
    finally:
        library.nvmlShutdown()
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    chosen = devices if visible is None else _chosen(devices, visible)
    if devices and not chosen:
        return FoundGpus(reason=f"CUDA_VISIBLE_DEVICES={visible!r} hides {len(devices)}")
    return FoundGpus(gpus=tuple(chosen), reason="" if chosen else "the driver sees no GPU")


def _slices(library: Any, handle: Any) -> list[Gpu]:
    """Return the MIG slices of a GPU, or the GPU itself if it is whole."""
    try:
        current, _ = library.nvmlDeviceGetMigMode(handle)
    except library.NVMLError:  # this kind of GPU cannot be cut
        current = 0
    if not current:
        return [_describe(library, handle)]
    found = []
    for index in range(library.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            slice_handle = library.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except library.NVMLError:  # a place for a slice that was not made
            continue
        found.append(_describe(library, slice_handle))
    return found


def _describe(library: Any, handle: Any) -> Gpu:
    memory = library.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        uuid=_text(library.nvmlDeviceGetUUID(handle)),
        name=_text(library.nvmlDeviceGetName(handle)),
        memory_mb=int(memory.total) // MIB,
        free_mb=int(memory.free) // MIB,
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _chosen(devices: list[Gpu], visible: str) -> list[Gpu]:
    """Return what the variable names, by number or start of a UUID; CUDA stops at a bad entry."""
    chosen: list[Gpu] = []
    for entry in visible.split(","):
        name = entry.strip()
        if name.isdigit() and int(name) < len(devices):
            chosen.append(devices[int(name)])
        elif matching := [gpu for gpu in devices if name and gpu.uuid.startswith(name)]:
            chosen.append(matching[0])
        else:
            break
    return list(dict.fromkeys(chosen))
