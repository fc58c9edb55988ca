"""The lama models: spandrel's network, always in single precision."""

import numpy as np
import torch
from numpy.typing import NDArray

from paintmq_plugins.imaging.padding import Padding
from paintmq_plugins.torch_erasing import TorchEraser, from_unit_range, to_tensor
from paintmq_plugins.torch_weights import load_by_spandrel


class LamaInpainting(TorchEraser):
    """Its Fourier transforms know no half precision, so it runs in float32 everywhere."""

    padding = Padding(modulo=8, minimum=16)  # its reflections need two pixels of an eighth
    _network: torch.nn.Module

    def build(self, device: torch.device) -> None:
        descriptor = load_by_spandrel(self.weights, self.spec.weights[0], purpose="Inpainting")
        # spandrel leaves masked models in training mode, in which batch normalisation would learn
        # from every picture it is shown.
        self._network = descriptor.model.eval().to(device)

    def fill(self, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        hole = (to_tensor(mask, self.torch_device) > 0).float()
        return from_unit_range(self._network(to_tensor(image, self.torch_device), hole))
