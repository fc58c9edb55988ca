"""The zits model: four TorchScript networks, and the work between them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from paintmq.model import Request
from paintmq_plugins.imaging.erasing import Eraser, Step
from paintmq_plugins.imaging.padding import Padding
from paintmq_plugins.imaging.pasting import Pixels
from paintmq_plugins.torch_erasing import TorchEraser, from_unit_range, to_tensor
from paintmq_plugins.torch_weights import load_torchscript
from paintmq_plugins.zits_structure import (
    GRID,
    drawn_lines,
    edges,
    hole_positions,
    normalised_for_lines,
    resized,
    resized_hole,
)

_WIREFRAME_SIZE = 512
_EDGE_FROM = 0.25
"""An edge is one from this probability on."""


class ZitsInpainting(TorchEraser):
    """Fills a mask by the structure it finds around it."""

    padding = Padding(modulo=32, minimum=256, square=True)
    _wireframe = True

    def build(self, device: torch.device) -> None:
        self._find_lines, self._complete, self._enlarge, self._inpaint = (
            load_torchscript(self.weights, file, device) for file in self.spec.weights
        )

    def erase(self, eraser: Eraser, request: Request, step: Step) -> Pixels:
        self._wireframe = request.options.wireframe
        return super().erase(eraser, request, step)

    def fill(self, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        hole = np.where(mask > 127, np.uint8(255), np.uint8(0))
        positions = hole_positions(hole)
        edge, line = self._structure(image, hole)
        result = self._inpaint(
            to_tensor(image, self.torch_device),
            to_tensor(hole, self.torch_device),
            edge,
            line,
            self._indices(positions.distance),
            self._indices(positions.direction),
        )
        return from_unit_range(result)

    def _structure(
        self, image: NDArray[np.uint8], hole: NDArray[np.uint8]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return edges and lines of the picture, continued into the hole: (1, 1, H, W)."""
        if not self._wireframe:
            none = torch.zeros_like(to_tensor(hole, self.torch_device))
            return none, none
        small = resized(image, GRID)
        small_hole = to_tensor(resized_hole(hole, GRID), self.torch_device)
        edge, line = self._completed(
            to_tensor(small, self.torch_device) * 2 - 1,
            torch.from_numpy(edges(small))[None, None].to(self.torch_device),
            self._lines(image, hole),
            small_hole,
        )
        side = min(hole.shape)
        return self._enlarged(edge, side), self._enlarged(line, side)

    def _lines(self, image: NDArray[np.uint8], hole: NDArray[np.uint8]) -> torch.Tensor:
        picture = to_tensor(resized(image, _WIREFRAME_SIZE), self.torch_device)
        blank = to_tensor(resized_hole(hole, _WIREFRAME_SIZE), self.torch_device)
        found = self._find_lines(normalised_for_lines(picture, blank))
        if not int(found["num_proposals"]):
            drawn = np.zeros((GRID, GRID), np.float32)
        else:
            drawn = drawn_lines(found["lines_pred"].cpu().numpy(), found["lines_score"].tolist())
        return torch.from_numpy(drawn)[None, None].to(self.torch_device)

    def _completed(
        self, picture: torch.Tensor, edge: torch.Tensor, line: torch.Tensor, hole: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keep = 1 - hole
        edge, line = edge * keep, line * keep
        edge_logits, line_logits = self._complete(picture * keep, edge, line, masks=hole)
        edge = edge + torch.sigmoid(edge_logits) * hole
        line = line + torch.sigmoid((line_logits + 0.05) * 4) * hole
        return (edge >= _EDGE_FROM).float(), line.float()

    def _enlarged(self, structure: torch.Tensor, side: int) -> torch.Tensor:
        if side <= GRID:
            return structure
        while structure.shape[2] < side:
            structure = torch.sigmoid((self._enlarge(structure) + 2) * 2)
        return interpolate(structure, size=(side, side), mode="bilinear", align_corners=False)

    def _indices(self, array: NDArray[np.int32]) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.int64))[None].to(self.torch_device)
