"""The realesrgan models: spandrel's networks over tiles, padded as Real-ESRGAN's own code does."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from paintmq.errors import InvalidInputError
from paintmq.model import Device, Model, Outputs, Request, RunContext
from paintmq_plugins.imaging.pasting import Pixels
from paintmq_plugins.imaging.tiling import Tile, tiles_of
from paintmq_plugins.realesrgan import NETWORK_SCALE, UpscaleOptions
from paintmq_plugins.torch_weights import load_by_spandrel, set_up_torch

_EDGE = 10
"""Pixels of mirror image put to the right and below, so that the last ones see enough."""

_Tick: TypeAlias = Callable[[], None]


class RealEsrganUpscaling(Model):
    """Enlarges colour, and alpha as a picture of its own; 16 bits stay 16 bits."""

    _device: torch.device
    _network: torch.nn.Module
    _dtype: torch.dtype

    def load(self, device: Device) -> None:
        self._device = set_up_torch(device)
        descriptor = load_by_spandrel(
            self.weights, self.spec.weights[0], purpose="SR", scale=NETWORK_SCALE
        )
        self._dtype = torch.float16 if device.kind == "cuda" else torch.float32
        self._network = descriptor.model.eval().to(self._device, self._dtype)

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        with torch.inference_mode():
            return [{"image": self._enlarge(request, context)} for request in batch]

    def _enlarge(self, request: Request, context: RunContext) -> Pixels:
        image: Pixels = request.inputs["image"]
        options: UpscaleOptions = request.options
        height, width = image.shape[:2]
        if min(height, width) <= _EDGE:
            raise InvalidInputError(
                f"image: {width} x {height} pixels; enlarging needs more than {_EDGE} a side"
            )
        planes = [image[:, :, :3]]
        if image.shape[2] == 4:
            planes.append(np.repeat(image[:, :, 3:], 3, axis=2))
        total = len(planes) * len(self._tiles(height, width, options))
        done = 0

        def tick() -> None:
            nonlocal done
            context.raise_if_cancelled()
            context.progress(done, total)
            done += 1

        levels = 65535 if image.dtype == np.uint16 else 255
        enlarged = [self._run_tiles(plane, levels, options, tick) for plane in planes]
        context.progress(total, total)
        if len(enlarged) == 2:
            alpha = cv2.cvtColor(enlarged[1], cv2.COLOR_RGB2GRAY)
            enlarged[0] = np.dstack([enlarged[0], alpha])
        result = (enlarged[0] * levels).round().astype(image.dtype)
        if options.scale == NETWORK_SCALE:
            return result
        size = (int(width * options.scale), int(height * options.scale))
        return cv2.resize(result, size, interpolation=cv2.INTER_LANCZOS4).astype(image.dtype)

    def _tiles(self, height: int, width: int, options: UpscaleOptions) -> list[Tile]:
        return tiles_of(height + _EDGE, width + _EDGE, options.tile, options.overlap)

    def _run_tiles(
        self, plane: Pixels, levels: int, options: UpscaleOptions, tick: _Tick
    ) -> NDArray[np.float32]:
        """Return the colours, 0 to 1, four times as wide and as high."""
        height, width = plane.shape[:2]
        numbers = np.ascontiguousarray(plane.transpose(2, 0, 1)).astype(np.float32) / levels
        picture = torch.from_numpy(numbers)[None]
        picture = pad(picture, (0, _EDGE, 0, _EDGE), "reflect").to(self._device, self._dtype)
        result = np.empty(
            (3, (height + _EDGE) * NETWORK_SCALE, (width + _EDGE) * NETWORK_SCALE), np.float32
        )
        for tile in self._tiles(height, width, options):
            tick()
            rows, columns = tile.rows, tile.columns
            seen = picture[:, :, rows.seen_from : rows.seen_to, columns.seen_from : columns.seen_to]
            larger = self._network(seen)[0].float().clamp(0, 1).cpu().numpy()
            top = (rows.kept_from - rows.seen_from) * NETWORK_SCALE
            left = (columns.kept_from - columns.seen_from) * NETWORK_SCALE
            tall = (rows.kept_to - rows.kept_from) * NETWORK_SCALE
            wide = (columns.kept_to - columns.kept_from) * NETWORK_SCALE
            y, x = rows.kept_from * NETWORK_SCALE, columns.kept_from * NETWORK_SCALE
            result[:, y : y + tall, x : x + wide] = larger[:, top : top + tall, left : left + wide]
        inside = result[:, : height * NETWORK_SCALE, : width * NETWORK_SCALE]
        return np.ascontiguousarray(inside.transpose(1, 2, 0))
