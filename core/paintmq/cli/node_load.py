"""The load of nodes in words: for ``paintmq status`` and ``paintmq top``."""

from typing import Any

COLUMNS = ("cpu", "load", "memory", "GPUs")


def load_cells(node: Any) -> tuple[str, ...]:
    """Return a cell for each of ``COLUMNS``; ``node``: of the statistics' ``nodes``, or None."""
    system = (node or {}).get("system")
    if not system:
        return ("-",) * len(COLUMNS)
    most = system.get("memory_limit_mb") or system["memory_total_mb"]
    used = system.get("memory_in_group_mb") or system["memory_used_mb"]
    cores = f" of {system['cores']}" if system.get("cores") else ""
    return (
        f"{system['cpu']:.0%}{cores}",
        f"{system['load']:.1f}",
        f"{used / 1024:.1f} of {most / 1024:.1f} GB",
        "\n".join(map(_gpu, system["gpus"])) or "-",
    )


def _gpu(gpu: Any) -> str:
    words = [
        f"{gpu['utilisation']:.0%}",
        f"{gpu['memory_used_mb'] / 1024:.1f} of {gpu['memory_total_mb'] / 1024:.1f} GB",
    ]
    if gpu.get("temperature"):
        words.append(f"{gpu['temperature']:.0f} °C")
    if gpu.get("power"):
        words.append(f"{gpu['power']:.0f} W")
    return ", ".join(words)
