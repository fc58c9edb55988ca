"""How a diffusion model is laid out in memory: pure, so that it can be tested without a GPU."""

from typing import Literal

from attrs import frozen

from paintmq_plugins.diffusion import Size


@frozen
class MemoryPlan:
    """``full``: all weights stay on the GPU; ``offload``: only the part that computes does."""

    weights: Literal["full", "offload"]
    tiled_decoder: bool
    """The image decoder works tile by tile, which bounds what it needs beside the weights."""


RESERVE_MB = 600
"""For the CUDA context, workspaces and what the allocator cannot use."""


def memory_plan(free_mb: int, size: Size, pixels: int) -> MemoryPlan:
    """Return the quickest plan that fits into the free memory.

    Args:
        free_mb: Free GPU memory before the weights are loaded.
        size: What the family of models costs.
        pixels: Of the largest canvas expected, times the requests in a batch.
    """
    activations = size.activations_mb * pixels // 2**20
    # Tiles of half a megapixel or so bound the decoder; the network needs about a third of it all.
    tiled = activations // 3 + size.activations_mb // 4
    if size.weights_mb + activations + RESERVE_MB <= free_mb:
        return MemoryPlan("full", tiled_decoder=False)
    if size.weights_mb + tiled + RESERVE_MB <= free_mb:
        return MemoryPlan("full", tiled_decoder=True)
    return MemoryPlan("offload", tiled_decoder=True)
