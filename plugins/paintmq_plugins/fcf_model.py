"""The fcf model: our own work around a network that may not be copied here.

Its weights are either TorchScript, which holds the network too, or a state dict, for which the
architecture comes from the optional package ``iopaint``, if that is installed.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from paintmq.errors import ModelError
from paintmq.model import Request
from paintmq_plugins.imaging.erasing import Eraser, Step
from paintmq_plugins.imaging.padding import Padding
from paintmq_plugins.imaging.pasting import Pixels
from paintmq_plugins.torch_erasing import TorchEraser, from_signed_range, to_tensor
from paintmq_plugins.torch_weights import is_torchscript, load_state_dict, load_torchscript

_SIZE = 512


class FcfInpainting(TorchEraser):
    """Fills each region of a mask at the size the network was trained at."""

    padding = Padding(modulo=_SIZE, minimum=_SIZE, square=True)
    _network: torch.nn.Module

    def build(self, device: torch.device) -> None:
        file = self.spec.weights[0]
        if is_torchscript(self.weights.path(file.name)):
            self._network = load_torchscript(self.weights, file, device)
            return
        generator = iopaint_generator()
        try:
            generator.load_state_dict(load_state_dict(self.weights, file))
        except RuntimeError as error:
            raise ModelError(
                f"the weights {file.name} do not fit FcF's network", code="weights_unreadable"
            ) from error
        self._network = _Truncated(generator).eval().to(device)

    def erase(self, eraser: Eraser, request: Request, step: Step) -> Pixels:
        image, mask = request.inputs["image"], request.inputs["mask"]
        return eraser.erase_regions(image, mask, _SIZE, request.options.feather, step)

    def fill(self, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        hole = (to_tensor(mask, self.torch_device) > 120 / 255).float()
        erased = (to_tensor(image, self.torch_device) * 2 - 1) * (1 - hole)
        return from_signed_range(self._network(torch.cat([0.5 - hole, erased], dim=1)))


class _Truncated(torch.nn.Module):
    """The generator with its arguments fixed, as the TorchScript copy has them."""

    def __init__(self, generator: torch.nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, erased: torch.Tensor) -> torch.Tensor:
        label = torch.zeros((1, 0), device=erased.device)
        result = self.generator(erased, label, truncation_psi=0.1, noise_mode="none")
        assert isinstance(result, torch.Tensor)
        return result


def iopaint_generator() -> torch.nn.Module:
    """Build the architecture as iopaint has it."""
    network = {
        "channel_base": 32768,
        "channel_max": 512,
        "num_fp16_res": 4,
        "conv_clamp": 256,
    }
    generator = _iopaint_fcf().Generator(
        z_dim=512,
        c_dim=0,
        w_dim=512,
        img_resolution=_SIZE,
        img_channels=3,
        synthesis_kwargs=network,
        encoder_kwargs=network,
        mapping_kwargs={"num_layers": 2},
    )
    assert isinstance(generator, torch.nn.Module)
    return generator


def _iopaint_fcf() -> types.ModuleType:
    """Import one module of iopaint without its packages' own ``__init__``.

    Those import half of iopaint, whose pinned dependencies fit nothing else.
    """
    found = importlib.util.find_spec("iopaint") if "iopaint" not in sys.modules else None
    if found is None and "iopaint" not in sys.modules:
        raise ModelError(
            "these FcF weights need the package iopaint for the network's architecture; install it"
            " without its dependencies, or name a TorchScript copy in [weights.paths]",
            code="model_unavailable",
        )
    if found is not None and found.submodule_search_locations:
        root = Path(found.submodule_search_locations[0])
        for name, folder in (("iopaint", root), ("iopaint.model", root / "model")):
            package = types.ModuleType(name)
            package.__path__ = [str(folder)]
            sys.modules[name] = package
    return importlib.import_module("iopaint.model.fcf")
