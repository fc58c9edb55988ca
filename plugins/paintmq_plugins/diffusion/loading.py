"""Finding out what the weights of a diffusion model are, and making a pipeline of them.

A folder in diffusers' layout, or one ``.safetensors`` file in the original layout with its settings
and tokenizer in a folder of the same name beside it. Rule 1: nothing comes from the network. Rule
2: nothing that may hold code is read. Rule 3: the wrong weights are refused in words that say what
they are.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline
from safetensors import safe_open

from paintmq.errors import ModelError
from paintmq.model import ModelSpec

logger = logging.getLogger("paintmq.models.diffusion")

_XL = "StableDiffusionXL"
_PIPELINES = ("Pipeline", "InpaintPipeline", "Img2ImgPipeline")
_MODEL_OF_WIDTH = {768: "sd15", 1024: "sd21", 2048: "sdxl"}
"""By how wide the words are that the network attends to."""
_CHANNELS = (4, 9)
"""What the network takes: a picture; or a picture, a masked picture and a mask."""
_OPTIONAL = ("safety_checker", "feature_extractor", "image_encoder")
_NETWORK = "model.diffusion_model."
_XL_TEXT = "conditioner.embedders.1."


def load_pipeline(path: Path, spec: ModelSpec, dtype: torch.dtype) -> Any:
    """Load the weights as an inpainting pipeline, in main memory.

    Raises:
        ModelError: they are damaged, of another kind, or not whole.
    """
    try:
        pipe = _from_folder(path, spec, dtype) if path.is_dir() else _from_file(path, spec, dtype)
    except (ModelError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the libraries beneath raise kinds of their own
        logger.warning("%s cannot be loaded", path, exc_info=True)
        reason = " ".join(str(error).replace(str(path), path.name).split())[:200]
        raise _unreadable(f"the weights {path.name} cannot be loaded: {reason}") from error
    _check_whole(pipe, path)
    return pipe


def _from_folder(path: Path, spec: ModelSpec, dtype: torch.dtype) -> Any:
    index = _check_settings(path, spec)
    parts = _parts(index)
    missing = [part for part in parts if not (path / part).is_dir()]
    networks = [part for part in parts if part in ("unet", "vae") or "text_encoder" in part]
    plain = {part: _weights_in(path / part, fp16=False) for part in networks}
    missing += [
        part
        for part in networks
        if part not in missing and not plain[part] and not _weights_in(path / part, fp16=True)
    ]
    if missing:
        raise _unreadable(
            f"the folder {path.name} lacks the weights of {', '.join(missing)} as .safetensors;"
            f" {_remedy(spec)}"
        )
    # Some fetch the files in half precision alone.
    variant = None if all(plain.values()) else "fp16"
    return _pipeline_class(spec).from_pretrained(
        path,
        dtype=dtype,
        variant=variant,
        local_files_only=True,
        use_safetensors=True,
        **_without_checker(index),
    )


def _from_file(path: Path, spec: ModelSpec, dtype: torch.dtype) -> Any:
    if path.suffix != ".safetensors":
        raise _unreadable(
            f"the weights {path.name} are neither a folder nor a .safetensors file; other formats"
            " can hold code"
        )
    with safe_open(path, framework="pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    if not any(name.startswith(_NETWORK) for name in shapes):
        raise _unreadable(
            f"the weights {path.name} are no Stable Diffusion in its original layout:"
            f" nothing in them is named {_NETWORK}…"
        )
    words = next((s for name, s in shapes.items() if name.endswith("attn2.to_k.weight")), (0, 0))
    _check_kind(path, spec, xl=any(n.startswith(_XL_TEXT) for n in shapes), width=words[1])
    settings = path.with_suffix("")
    if not settings.is_dir():
        raise _unreadable(
            f"beside {path.name} there must be a folder {settings.name} with its settings and"
            f" tokenizer: run `hf download {spec.weights[0].repository} --include '*.json' '*.txt'"
            f" --local-dir {settings.name}` there"
        )
    index = _check_settings(settings, spec)
    return _pipeline_class(spec).from_single_file(
        str(path), config=str(settings), dtype=dtype, local_files_only=True,
        **_without_checker(index),
    )  # fmt: skip


def _check_settings(folder: Path, spec: ModelSpec) -> Mapping[str, Any]:
    """Return what ``model_index.json`` says, once it and the network's settings fit the model."""
    index = _json(folder / "model_index.json")
    name = str(index.get("_class_name", ""))
    is_xl = name.startswith(_XL)
    if name.removeprefix(_XL if is_xl else "StableDiffusion") not in _PIPELINES:
        raise _wrong_kind(folder, spec, f"a {name or 'folder of an unknown kind'}")
    network = _json(folder / "unet" / "config.json")
    _check_kind(folder, spec, xl=is_xl, width=int(network.get("cross_attention_dim") or 0))
    channels = network.get("in_channels")
    if channels not in _CHANNELS:
        raise _wrong_kind(
            folder, spec, f"for {channels} channels, where 4 or 9 can be painted with"
        )
    return index


def _check_kind(path: Path, spec: ModelSpec, *, xl: bool, width: int) -> None:
    known = _MODEL_OF_WIDTH.get(width)
    other = xl != (spec.name == "sdxl") or (known is not None and known != spec.name)
    if other:
        suited = known or ("sdxl" if xl else "sd15 or sd21")
        raise _wrong_kind(path, spec, f"those of a model like {suited}: use that one with them")


def _json(path: Path) -> Mapping[str, Any]:
    try:
        loaded: Mapping[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _unreadable(
            f"{path.parent.name}/{path.name} cannot be read, so that the folder is none in"
            " diffusers' layout, or not whole"
        ) from error
    return loaded


def _parts(index: Mapping[str, Any]) -> list[str]:
    """Return the folders that there must be."""
    return [
        name
        for name, value in index.items()
        if isinstance(value, list) and value[0] is not None and name not in _OPTIONAL
    ]


def _weights_in(folder: Path, *, fp16: bool) -> bool:
    names = [file.name for file in folder.glob("*.safetensors")]
    return any((".fp16" in name) == fp16 for name in names)


def _without_checker(index: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the safety checker out where a pipeline has one.

    What to do with what it finds is for whoever publishes the pictures to decide.
    """
    if "safety_checker" not in index:
        return {}
    return {"safety_checker": None, "requires_safety_checker": False}


def _pipeline_class(spec: ModelSpec) -> Any:
    return (
        StableDiffusionXLInpaintPipeline if spec.name == "sdxl" else StableDiffusionInpaintPipeline
    )


def _check_whole(pipe: Any, path: Path) -> None:
    """Refuse what a library left unset for want of weights: it would fail at the first picture."""
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module) and any(p.is_meta for p in part.parameters()):
            raise _unreadable(f"the weights {path.name} lack a part of {name}; fetch them again")


def _remedy(spec: ModelSpec) -> str:
    return f"remove it and run `paintmq models download {spec.name}`"


def _unreadable(text: str) -> ModelError:
    return ModelError(text, code="weights_unreadable")


def _wrong_kind(path: Path, spec: ModelSpec, what: str) -> ModelError:
    return _unreadable(f"the weights {path.name}, given for model {spec.name}, are {what}")
