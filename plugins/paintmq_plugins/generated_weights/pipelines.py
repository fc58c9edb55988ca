"""Pipelines of the real architecture with random weights: for tests, demonstrations, measurements.

They paint noise, but take the whole path. Tiny ones are a few MB on disk and take a second or so a
picture on a CPU; those of full size cost what the published models cost.
``original_layout.py`` makes a single file of one.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import frozen

Family = Literal["sd15", "sd21", "sdxl"]


@frozen(kw_only=True)
class _Shape:
    """Arguments of the networks' classes."""

    unet: Mapping[str, Any]
    decoder: Mapping[str, Any]
    texts: tuple[Mapping[str, Any], ...]
    """Of one text encoder, or of XL's two."""
    words: int | None = None
    """Size of the vocabulary; None: of the tiny tokenizer."""


_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
_XL_INPUTS = {"addition_embed_type": "text_time", "use_linear_projection": True}


def _tiny(texts: tuple[int, ...], **unet: Any) -> _Shape:
    return _Shape(
        unet={
            "sample_size": 32,
            "block_out_channels": (16, 32),
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": 2,
            "cross_attention_dim": sum(texts),
            **unet,
        },
        decoder={
            "block_out_channels": (8, 16, 16, 16),
            "norm_num_groups": 8,
            "layers_per_block": 1,
            "sample_size": 64,
            "force_upcast": False,
        },
        texts=tuple(
            {
                "hidden_size": width,
                "intermediate_size": 37,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "projection_dim": width,
            }
            for width in texts
        ),
    )


_TINY: Mapping[Family, _Shape] = {
    "sd15": _tiny((32,)),
    "sd21": _tiny((32,)),
    # Two widths, as in XL: in a single file, that tells the text encoders apart.
    "sdxl": _tiny(
        (32, 64),
        **_XL_INPUTS,
        attention_head_dim=(2, 4),
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=64 + 6 * 8,
    ),
}

# As the published models' settings have it.
_FULL_DECODER: Mapping[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "sample_size": 512,
}
_FULL_UNET: Mapping[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
}
_CLIP_L: Mapping[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
_CLIP_H: Mapping[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "projection_dim": 512,
    "hidden_act": "gelu",
}
_CLIP_BIG_G: Mapping[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
_WORDS = 49408

_FULL: Mapping[Family, _Shape] = {
    "sd15": _Shape(
        unet={**_FULL_UNET, "attention_head_dim": 8, "cross_attention_dim": 768},
        decoder=_FULL_DECODER,
        texts=(_CLIP_L,),
        words=_WORDS,
    ),
    "sd21": _Shape(
        unet={
            **_FULL_UNET,
            "attention_head_dim": (5, 10, 20, 20),
            "cross_attention_dim": 1024,
            "use_linear_projection": True,
        },
        decoder=_FULL_DECODER,
        texts=(_CLIP_H,),
        words=_WORDS,
    ),
    "sdxl": _Shape(
        unet={
            **_XL_INPUTS,
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
            "up_block_types": (*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "transformer_layers_per_block": (1, 2, 10),
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        decoder={**_FULL_DECODER, "sample_size": 1024, "scaling_factor": 0.13025},
        texts=(_CLIP_L, _CLIP_BIG_G),
        words=_WORDS,
    ),
}


def save_tiny_pipeline(folder: Path, family: Family, *, seed: int = 0) -> Path:
    """Write a tiny pipeline in diffusers' layout and return its folder.

    ``sd21`` has four input channels and predicts velocities, as 2.1's checkpoints do; the others
    have the nine channels of inpainting models.
    """
    return _save(folder, family, _TINY[family], seed, torch.float32)


def save_full_pipeline(
    folder: Path, family: Family, *, seed: int = 0, dtype: torch.dtype = torch.float16
) -> Path:
    """Write a pipeline of the published model's size, 2 to 7 GB in half precision.

    Made on the device that is PyTorch's default: minutes on a CPU, seconds on a GPU.
    """
    return _save(folder, family, _FULL[family], seed, dtype)


def _save(folder: Path, family: Family, shape: _Shape, seed: int, dtype: torch.dtype) -> Path:
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer, words = _tokenizer(Path(scratch))
    pipe = (
        _xl(shape, tokenizer, words) if family == "sdxl" else _sd(shape, tokenizer, words, family)
    )
    if dtype != torch.float32:
        pipe.to(dtype=dtype)
    pipe.save_pretrained(str(folder), safe_serialization=True)
    return folder


def _sd(shape: _Shape, tokenizer: Any, words: int, family: Family) -> Any:
    from diffusers import PNDMScheduler, StableDiffusionInpaintPipeline

    velocity = family == "sd21"
    return StableDiffusionInpaintPipeline(
        vae=_decoder(shape),
        text_encoder=_text_encoder(shape, 0, words),
        tokenizer=tokenizer,
        unet=_unet(shape, channels=4 if velocity else 9),
        scheduler=PNDMScheduler(
            **_SCHEDULE,
            skip_prk_steps=True,
            set_alpha_to_one=False,
            prediction_type="v_prediction" if velocity else "epsilon",
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _xl(shape: _Shape, tokenizer: Any, words: int) -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLInpaintPipeline

    return StableDiffusionXLInpaintPipeline(
        vae=_decoder(shape),
        text_encoder=_text_encoder(shape, 0, words),
        text_encoder_2=_text_encoder(shape, 1, words),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=_unet(shape, channels=9),
        scheduler=EulerDiscreteScheduler(**_SCHEDULE, timestep_spacing="leading"),
        requires_aesthetics_score=False,
    )


def _unet(shape: _Shape, *, channels: int) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(in_channels=channels, out_channels=4, **shape.unet)


def _decoder(shape: _Shape) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        **shape.decoder,
    )


def _text_encoder(shape: _Shape, number: int, words: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=shape.words or words,
        max_position_embeddings=77,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
        **shape.texts[number],
    )
    return CLIPTextModelWithProjection(config) if number else CLIPTextModel(config)


def _tokenizer(folder: Path) -> tuple[Any, int]:
    """Write a tokenizer that knows single bytes, and return it and the size of its vocabulary."""
    from transformers import CLIPTokenizer

    # CLIP writes each byte as a printable character: itself, or one from 256 upwards.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(others))]
    words = [
        *letters,
        *(letter + "</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
    )
    return tokenizer, len(words)
