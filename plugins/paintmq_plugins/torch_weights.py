"""Loading networks without running what a weight file might carry.

Safetensors files hold numbers alone. Pickles go through PyTorch's restricted unpickler
(``weights_only``). TorchScript is code: it is loaded only with a known or trusted checksum,
which its table of contents tells, not its name.
"""

import enum
import importlib.machinery
import importlib.util
import sys
import types
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from paintmq.errors import ModelError
from paintmq.model import Device, WeightFile, WeightFinder
from paintmq.weights import check_runnable_weights, kind_of
from paintmq_plugins.ncnn_weights import read_ncnn
from paintmq_plugins.network_checks import Purpose, check_network

if TYPE_CHECKING:
    from spandrel import ModelDescriptor

_WRAPPINGS = ("params_ema", "params", "state_dict", "model_state_dict")
"""Keys under which training code hides the weights proper."""


def set_up_torch(device: Device) -> torch.device:
    """Give PyTorch the worker's share of the machine, and return the device to put models on."""
    torch.set_num_threads(max(1, device.threads))
    return torch.device(device.torch_name)


def load_state_dict(weights: WeightFinder, file: WeightFile) -> dict[str, torch.Tensor]:
    """Return the tensors of a weight file of any kind: also of ncnn, for Real-ESRGAN.

    Raises:
        WeightsMissingError: it is not on this machine.
        ModelError: it is damaged, no weight file, or code that nobody vouched for.
    """
    path = weights.path(file.name)
    if is_torchscript(path):
        return {k: v.detach() for k, v in load_torchscript(weights, file).state_dict().items()}
    try:
        # By its bytes too: many are named .pth or .ckpt.
        if path.suffix == ".safetensors" or kind_of(path) == "safetensors":
            from safetensors.torch import load_file

            tensors: dict[str, torch.Tensor] = load_file(path)
            return tensors
        layers = path.with_suffix(".param")
        if path.suffix in {".param", ".bin"} and layers.is_file():  # either of ncnn's two files
            return {name: torch.from_numpy(array) for name, array in read_ncnn(layers).items()}
        content = torch.load(path, map_location="cpu", weights_only=True)
    # Each library has its own errors for a damaged file, without a common base.
    except Exception as error:
        raise ModelError(
            f"the weights {path.name} cannot be read: the file is damaged, or holds more than"
            " numbers",
            code="weights_unreadable",
        ) from error
    return _unwrapped(content, path)


def load_torchscript(
    weights: WeightFinder, file: WeightFile, device: torch.device | str = "cpu"
) -> torch.jit.ScriptModule:
    """Load a TorchScript file, if its checksum is its model's or one the operator trusts.

    Raises:
        WeightsMissingError: it is not on this machine.
        ModelError: it is not trusted, or damaged.
    """
    path = weights.path(file.name)
    check_runnable_weights(path, file, weights.trusts)
    try:
        with warnings.catch_warnings():
            # PyTorch would have TorchScript replaced by something nobody publishes weights in.
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location=device).eval()
    except RuntimeError as error:
        raise ModelError(
            f"the weights {path.name} are no TorchScript file", code="weights_unreadable"
        ) from error


def load_by_spandrel(
    weights: WeightFinder,
    file: WeightFile,
    *,
    purpose: Purpose,
    scale: int | None = None,
    extra_architectures: bool = False,
) -> "ModelDescriptor[torch.nn.Module]":
    """Let spandrel tell the architecture from a weight file's tensors, and build it.

    Raises:
        WeightsMissingError: the file is not on this machine.
        ModelError: it cannot be used, or holds a network for another purpose or scale.
    """
    import_spandrel()
    from spandrel import ModelLoader, UnsupportedModelError, canonicalize_state_dict

    if extra_architectures:
        import spandrel_extra_arches

        spandrel_extra_arches.install(ignore_duplicates=True)
    state = canonicalize_state_dict(load_state_dict(weights, file))
    try:
        network = ModelLoader(device="cpu").load_from_state_dict(state)
    except UnsupportedModelError as error:
        raise ModelError(
            f"the weights {file.name} are of no architecture that spandrel knows",
            code="weights_unreadable",
        ) from error
    check_network(network, weights.path(file.name).name, purpose=purpose, scale=scale)
    return network


def import_spandrel() -> None:
    """Import spandrel, with or without torchvision.

    spandrel needs three names of torchvision, two of them for code our models never run. Where
    torchvision is not installed, or is built for another PyTorch and cannot be imported, stand-ins
    take its place while spandrel is imported, and are gone afterwards, so that nobody else takes
    torchvision to be there.
    """
    if "spandrel" in sys.modules or _torchvision_works():
        return
    stand_ins = _torchvision_stand_ins()
    sys.modules.update(stand_ins)
    try:
        importlib.import_module("spandrel")
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)


def _torchvision_works() -> bool:
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    # Where it misses the operators of the PyTorch it was built for, it raises RuntimeError.
    except (ImportError, RuntimeError, OSError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        return False
    return True


class _InterpolationMode(enum.Enum):
    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


def _normalize(
    tensor: torch.Tensor, mean: list[float], std: list[float], *_: object
) -> torch.Tensor:
    like = {"dtype": tensor.dtype, "device": tensor.device}
    middle = torch.as_tensor(mean, **like).view(-1, 1, 1)
    spread = torch.as_tensor(std, **like).view(-1, 1, 1)
    return (tensor - middle) / spread


def _rotate(*arguments: object, **options: object) -> torch.Tensor:
    raise ModelError("this network rotates pictures: install torchvision")


def _torchvision_stand_ins() -> dict[str, types.ModuleType]:
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    modules = {name: types.ModuleType(name) for name in names}
    for name, module in modules.items():
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    vars(modules[names[-1]]).update(
        InterpolationMode=_InterpolationMode, rotate=_rotate, normalize=_normalize
    )
    return modules


def is_torchscript(path: Path) -> bool:
    """Return whether a file is TorchScript, by its table of contents."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(
            "/code/" in name or name.endswith("constants.pkl") for name in archive.namelist()
        )


def _unwrapped(content: object, path: Path) -> dict[str, torch.Tensor]:
    for key in _WRAPPINGS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise ModelError(f"the weights {path.name} hold no tensors", code="weights_unreadable")
    return {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
