"""Weight files with random numbers in them: every model runs, and none paints anything sensible.

For tests, demonstrations and measurements where the real weights cannot be had. The networks are
the real ones as far as an installed library has them, Real-ESRGAN's made small; for ZITS, FcF
without iopaint, and the ONNX models it is a stand-in. Which file is generated is written down
beside it, by checksum, so that it is never taken for a real one.
"""

import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from paintmq.weights.checksums import checksums
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
    else:
        write_fcf_stand_in(path)


def write_fcf_stand_in(path: Path) -> None:
    """Write TorchScript that takes and gives what FcF's generator does, without its licence."""
    from paintmq_plugins.generated_weights.networks import FcfStandIn

    _save_script(FcfStandIn(), path)


def _zits(part: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from paintmq_plugins.generated_weights import networks

        _save_script(getattr(networks, f"{part}StandIn")(), path)

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


def _mask(side: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from paintmq_plugins.generated_weights.onnx_networks import write_mask_stand_in

        write_mask_stand_in(path, side)

    return write


def _faces(path: Path) -> None:
    from paintmq_plugins.generated_weights.onnx_networks import write_face_stand_in

    write_face_stand_in(path)


def _tiny(family: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from paintmq_plugins.generated_weights.pipelines import save_tiny_pipeline

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
    "face_detection_yunet_2023mar.onnx": _faces,
    "RealESRGAN_x4plus.pth": _rrdb,
    "RealESRGAN_x4plus_anime_6B.pth": _rrdb,
    "realesr-general-x4v3.pth": _compact,
    "realesr-animevideov3.pth": _compact,
    "isnet-general-use.onnx": _mask(1024),
    "isnet-anime.onnx": _mask(1024),
    "u2net.onnx": _mask(320),
    "u2netp.onnx": _mask(320),
    "silueta.onnx": _mask(320),
    "sd15-inpainting": _tiny("sd15"),
    "sd21-inpainting": _tiny("sd21"),
    "sdxl-inpainting": _tiny("sdxl"),
}
"""What writes each weight file."""
