"""What the diffusion models cost, and how one is laid out in a GPU's memory.

Pure, so that it can be tested without a GPU. Megabytes are 2**20 bytes, in half precision, computed
from the published networks with a quarter on top; seconds are those of a large GPU.
"""

from typing import Literal

from attrs import frozen

from paintmq.errors import InvalidInputError

RESERVE_MB = 600
"""For the CUDA context, workspaces and what the allocator cannot use."""
LEAST_SIDE = 512
"""Of a canvas: smaller ones are below what the models were trained on."""
MOST_PIXELS = 4096 * 4096
"""Of a canvas: on larger ones the models paint the same things side by side, if they ever end."""
TILE_SIDE = 512
"""The image decoder's tiles, where it works tile by tile."""
_MEGAPIXEL = 2**20


def check_canvas(pixels: int) -> None:
    """Check that a canvas of so many pixels is no larger than any model can be expected to paint.

    Raises:
        InvalidInputError: with the options that make it smaller.
    """
    if pixels > MOST_PIXELS:
        raise InvalidInputError(
            f"{pixels / _MEGAPIXEL:.0f} megapixels would be painted on at once, where"
            f" {MOST_PIXELS // _MEGAPIXEL} are allowed: paint on the masked region's surroundings"
            " with crop=true, or on a smaller copy with scale, such as scale=0.25"
        )


@frozen(kw_only=True)
class Size:
    """What a family of models costs."""

    weights_mb: int
    largest_part_mb: int
    """Of the parts that compute by turns: the denoising network."""
    network_mb: int
    """A megapixel of canvas and request: the denoising network's activations."""
    decoder_mb: int
    """A megapixel of canvas: the image decoder's activations. It decodes one picture at a time."""
    decodes_in_full: bool = False
    """The decoder overflows in half precision, and so computes in full."""
    step_seconds: float
    """A megapixel of canvas and step."""
    native_pixels: int
    cpu_factor: float = 120.0
    """How many times as long a step takes on a CPU."""

    @property
    def gpu_decoder_mb(self) -> int:
        """As ``decoder_mb``, in the precision that it has on a GPU."""
        return self.decoder_mb * (2 if self.decodes_in_full else 1)

    def tiled_mb(self, pixels: int) -> int:
        """Return what one request needs on a GPU beside the weights, decoded tile by tile.

        Network and decoder compute one after the other.
        """
        tile = min(pixels, TILE_SIDE**2)
        return max(self.network_mb * pixels, self.gpu_decoder_mb * tile) // _MEGAPIXEL

    def least_mb(self, pixels: int) -> int:
        """Return the GPU memory with which one request can be served at all."""
        return self.largest_part_mb + self.tiled_mb(pixels) + RESERVE_MB

    def cpu_mb(self, pixels: int) -> int:
        """Return the main memory that one request needs, in full precision and in one piece."""
        activations = max(self.network_mb, self.decoder_mb) * pixels // _MEGAPIXEL
        return 2 * (self.weights_mb + activations)


SIZES = {
    "sd15": Size(
        weights_mb=2100,
        largest_part_mb=1700,
        network_mb=670,
        decoder_mb=1950,
        step_seconds=0.09,
        native_pixels=512 * 512,
    ),
    "sd21": Size(
        weights_mb=2500,
        largest_part_mb=1700,
        network_mb=670,
        decoder_mb=1950,
        step_seconds=0.10,
        native_pixels=512 * 512,
    ),
    "sdxl": Size(
        weights_mb=6700,
        largest_part_mb=5000,
        network_mb=400,
        decoder_mb=1950,
        decodes_in_full=True,
        step_seconds=0.12,
        native_pixels=1024 * 1024,
    ),
}


@frozen
class MemoryPlan:
    """Where the weights are, and how much is painted and decoded at once."""

    weights: Literal["full", "offload"]
    """``full``: all stay on the GPU; ``offload``: each part is there while it computes."""
    whole_pixels: int
    """Canvases with more pixels are decoded tile by tile."""
    pixels_at_once: int
    """So many pixels of canvas are painted at once: larger batches are run in parts."""

    def requests_at_once(self, pixels: int) -> int:
        """Return how many requests with canvases of so many pixels share a run: at least one."""
        return max(1, self.pixels_at_once // pixels)

    def __str__(self) -> str:
        where = {
            "full": "all weights stay on the GPU",
            "offload": "each part of the model is on the GPU while it computes",
        }[self.weights]
        return (
            f"{where}; up to {self.whole_pixels / _MEGAPIXEL:.2f} megapixels are decoded in one"
            f" piece, up to {self.pixels_at_once / _MEGAPIXEL:.2f} are painted at once"
        )


def memory_plan(free_mb: int, size: Size) -> MemoryPlan:
    """Return the quickest plan that paints the model's own size of canvas in the free memory.

    Args:
        free_mb: Free GPU memory before the weights are loaded.
        size: What the family of models costs.
    """
    beside_all = free_mb - size.weights_mb - RESERVE_MB
    if beside_all >= size.tiled_mb(size.native_pixels):
        return _with_room("full", beside_all, size)
    return _with_room("offload", free_mb - size.largest_part_mb - RESERVE_MB, size)


def _with_room(weights: Literal["full", "offload"], mb: int, size: Size) -> MemoryPlan:
    room = max(0, mb) * _MEGAPIXEL
    return MemoryPlan(weights, room // size.gpu_decoder_mb, room // size.network_mb)
