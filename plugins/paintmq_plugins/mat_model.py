"""The mat model: the network of spandrel-extra-arches, with its randomness held still.

The architecture's licence is non-commercial: it is imported from that optional package, never
copied here.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from paintmq_plugins.imaging.padding import Padding
from paintmq_plugins.torch_erasing import TorchEraser, from_signed_range, to_tensor
from paintmq_plugins.torch_weights import load_by_spandrel

_SEED = 240
"""Of the latent vector; IOPaint's choice, so that results are the same."""


class MatInpainting(TorchEraser):
    """Fills a mask the same way every time: latent vector and dropout are seeded."""

    padding = Padding(modulo=512, minimum=512, square=True)
    _network: torch.nn.Module
    _latent: torch.Tensor
    _label: torch.Tensor

    def build(self, device: torch.device) -> None:
        descriptor = load_by_spandrel(
            self.weights, self.spec.weights[0], purpose="Inpainting", extra_architectures=True
        )
        # spandrel's wrapper draws a latent vector of its own; the generator inside takes ours.
        network = descriptor.model.eval().to(device).model
        assert isinstance(network, torch.nn.Module)
        self._network = network
        # The old generator, whose numbers are IOPaint's too.
        latent = np.random.RandomState(_SEED).randn(1, 512)
        self._latent = torch.from_numpy(latent).float().to(device)
        self._label = torch.zeros((1, 0), device=device)

    def fill(self, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        # One dropout is on even at inference.
        torch.manual_seed(_SEED)
        keep = (to_tensor(mask, self.torch_device) <= 127 / 255).float()
        result = self._network(
            to_tensor(image, self.torch_device) * 2 - 1,
            keep,
            self._latent,
            self._label,
            truncation_psi=1,
            noise_mode="none",
        )
        return from_signed_range(result)
