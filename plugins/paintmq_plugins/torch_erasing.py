"""What the erasing networks have in common: pictures to tensors and back, requests one by one."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from paintmq.model import Device, Model, Outputs, Request, RunContext
from paintmq_plugins.imaging.erasing import Eraser, Step
from paintmq_plugins.imaging.padding import Padding
from paintmq_plugins.imaging.pasting import Pixels
from paintmq_plugins.torch_weights import set_up_torch


class TorchEraser(Model):
    """A model that fills masks by a PyTorch network. Subclasses build the network and run it."""

    padding: ClassVar[Padding]
    torch_device: torch.device

    @abstractmethod
    def build(self, device: torch.device) -> None:
        """Load the network onto the device."""

    @abstractmethod
    def fill(self, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Run the network on one padded picture; see ``imaging.erasing.Network``."""

    def load(self, device: Device) -> None:
        self.torch_device = set_up_torch(device)
        self.build(self.torch_device)

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        outputs: list[Outputs] = []
        eraser = Eraser(network=self.fill, padding=self.padding)
        steps = 1

        def step(done: int, total: int) -> None:
            nonlocal steps
            steps = total
            context.raise_if_cancelled()
            context.progress(done, total)

        for request in batch:
            with torch.inference_mode():
                outputs.append({"image": self.erase(eraser, request, step)})
        context.progress(steps, steps)
        return outputs

    def erase(self, eraser: Eraser, request: Request, step: Step) -> Pixels:
        return eraser.erase(request.inputs["image"], request.inputs["mask"], request.options, step)


def to_tensor(array: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Return a picture (H, W, 3) or mask (H, W) as float32 (1, C, H, W) from 0 to 1."""
    planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy(planes.astype(np.float32) / 255)[None].to(device)


def from_unit_range(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """Return (1, 3, H, W) from 0 to 1 as a picture, cut down to whole levels."""
    planes = tensor[0].permute(1, 2, 0).float().cpu().numpy()
    picture: NDArray[np.uint8] = np.clip(planes * 255, 0, 255).astype(np.uint8)
    return picture


def from_signed_range(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """Return (1, 3, H, W) from -1 to 1 as a picture, rounded to whole levels."""
    levels = (tensor[0].permute(1, 2, 0).float() * 127.5 + 127.5).round().clamp(0, 255)
    picture: NDArray[np.uint8] = levels.to(torch.uint8).cpu().numpy()
    return picture
