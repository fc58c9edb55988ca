"""Weight files with random numbers in them: every model runs, and none paints anything sensible.

For tests, demonstrations and measurements where the real weights cannot be had. The networks are
the real ones as far as an installed library has them; for ZITS, FcF without iopaint, and the ONNX
models it is a stand-in. Which file is generated is written down beside it, by checksum, so that it
is never taken for a real one.
"""

import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from paintmq.checksums import checksums
from paintmq_plugins.torch_weights import import_spandrel, is_torchscript

RECORD = "generated.json"
"""In the folder: the SHA-256 of every generated file, by its name."""
SETTINGS = "paintmq.toml"
"""In the folder: settings that make PaintMQ use it."""


def generate(folder: Path, models: Mapping[str, Callable[[Path], None]], *, seed: int = 0) -> None:
    """Write the weight files of ``models``, by file name, and leave what is there alone."""
    folder.mkdir(parents=True, exist_ok=True)
    record = read_record(folder)
    for name, write in models.items():
        path = folder / name
        if path.exists():
            continue
        torch.manual_seed(seed)
        write(path)
        record[name] = checksums(_essence(path))[0]
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    trusted = [record[name] for name in record if is_torchscript(folder / name)]
    (folder / SETTINGS).write_text(
        "# Weights with random numbers, to try the way through every model.\n[weights]\n"
        f"folder = {json.dumps(str(folder.resolve()))}\n"
        f"trusted_torchscript = {json.dumps(trusted, indent=2)}\n"
    )


def read_record(folder: Path) -> dict[str, str]:
    """Return the checksums of what was generated into a folder."""
    path = folder / RECORD
    record: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    return record


def is_generated(path: Path) -> bool:
    """Return whether a weight file, or folder, is one that was generated where it lies."""
    known = read_record(path.parent).get(path.name)
    return known is not None and checksums(_essence(path))[0] == known


def _essence(path: Path) -> Path:
    """Return the file whose checksum stands for all of it: of a pipeline, its network."""
    return path / "unet" / "diffusion_pytorch_model.safetensors" if path.is_dir() else path


def _save(network: torch.nn.Module, path: Path) -> None:
    torch.save({name: tensor.clone() for name, tensor in network.state_dict().items()}, path)


def _save_script(network: torch.nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        # PyTorch would have TorchScript replaced by something that nobody publishes weights in.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(network.eval()).save(str(path))


def _lama(path: Path) -> None:
    import_spandrel()
    from spandrel.architectures.LaMa import LaMa

    _save(LaMa(in_nc=4, out_nc=3), path)


def _mat(path: Path) -> None:
    import_spandrel()
    from spandrel_extra_arches.architectures.MAT import MAT

    _save(MAT(), path)


def _fcf(path: Path) -> None:
    if importlib.util.find_spec("iopaint") is not None:
        from paintmq_plugins.fcf_model import iopaint_generator

        _save(iopaint_generator(), path)
        return
    from paintmq_plugins.stand_in_networks import FcfStandIn

    _save_script(FcfStandIn(), path)


def _zits(part: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from paintmq_plugins import stand_in_networks

        _save_script(getattr(stand_in_networks, f"{part}StandIn")(), path)

    return write


def _gfpgan(path: Path) -> None:
    import_spandrel()
    from spandrel.architectures.GFPGAN import GFPGAN

    _save(GFPGAN(), path)


def _rrdb(path: Path) -> None:
    """Write Real-ESRGAN's large network, made small: one block of the 23, eight filters of 64."""
    import_spandrel()
    from spandrel.architectures.ESRGAN import ESRGAN

    _save(ESRGAN(in_nc=3, out_nc=3, num_filters=8, num_blocks=1, scale=4), path)


def _compact(path: Path) -> None:
    import_spandrel()
    from spandrel.architectures.Compact import Compact

    _save(Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=4), path)


def _bright_is_in_front(side: int) -> Callable[[Path], None]:
    """Return what writes an ONNX network that takes what is brighter than its surroundings."""

    def write(path: Path) -> None:
        import onnx
        from onnx import TensorProto, helper

        names = ("image", "kernel", "mask")
        kernel = helper.make_tensor("kernel", TensorProto.FLOAT, (1, 3, 15, 15), [0.1] * 675)
        image, mask = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, channels, side, side))
            for name, channels in (("image", 3), ("mask", 1))
        )
        blurred = helper.make_node("Conv", names[:2], ["level"], pads=(7, 7, 7, 7))
        decided = helper.make_node("Sigmoid", ["level"], names[2:])
        graph = helper.make_graph([blurred, decided], "stand-in", [image], [mask], [kernel])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())

    return write


def _tiny(family: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from paintmq_plugins.tiny_diffusion import save_tiny_pipeline

        save_tiny_pipeline(path, family)

    return write


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "big-lama.pt": _lama,
    "anime-manga-big-lama.pt": _lama,
    "Places_512_FullData_G.pth": _mat,
    "places_512_G.pth": _fcf,
    "zits-wireframe-0717.pt": _zits("Wireframe"),
    "zits-edge-line-0717.pt": _zits("EdgeLine"),
    "zits-structure-upsample-0717.pt": _zits("Upsample"),
    "zits-inpaint-0717.pt": _zits("Inpaint"),
    "GFPGANv1.4.pth": _gfpgan,
    "RealESRGAN_x4plus.pth": _rrdb,
    "RealESRGAN_x4plus_anime_6B.pth": _rrdb,
    "realesr-general-x4v3.pth": _compact,
    "realesr-animevideov3.pth": _compact,
    "isnet-general-use.onnx": _bright_is_in_front(1024),
    "isnet-anime.onnx": _bright_is_in_front(1024),
    "u2net.onnx": _bright_is_in_front(320),
    "u2netp.onnx": _bright_is_in_front(320),
    "silueta.onnx": _bright_is_in_front(320),
    "sd15-inpainting": _tiny("sd15"),
    "sd21-inpainting": _tiny("sd21"),
    "sdxl-inpainting": _tiny("sdxl"),
}
"""What writes each weight file. Only GFPGAN's face detector is not among them: name the faces."""
