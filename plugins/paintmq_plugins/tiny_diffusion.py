"""Pipelines of the real architecture, tiny and with random weights: for tests and demonstrations.

They paint noise, but take the whole path: a few MB on disk, a second or so a picture on a CPU.
``save_tiny_pipeline`` writes the folder, ``original_layout.py`` makes a single file of it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import torch

Family = Literal["sd15", "sd21", "sdxl"]

_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
_UNET = {
    "sample_size": 32,
    "out_channels": 4,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}


def save_tiny_pipeline(folder: Path, family: Family, *, seed: int = 0) -> Path:
    """Write a pipeline in diffusers' layout and return its folder.

    ``sd21`` has four input channels and predicts velocities, as 2.1's checkpoints do; the others
    have the nine channels of inpainting models.
    """
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer, words = _tokenizer(Path(scratch))
    pipe = _xl(tokenizer, words) if family == "sdxl" else _sd(tokenizer, words, family)
    pipe.save_pretrained(str(folder), safe_serialization=True)
    return folder


def _sd(tokenizer: Any, words: int, family: Family) -> Any:
    from diffusers import PNDMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel

    velocity = family == "sd21"
    return StableDiffusionInpaintPipeline(
        vae=_decoder(),
        text_encoder=_text_encoder(words, projects=False),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            **_UNET,
            in_channels=4 if velocity else 9,
            attention_head_dim=2,
            cross_attention_dim=32,
        ),
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


def _xl(tokenizer: Any, words: int) -> Any:
    from diffusers import (
        EulerDiscreteScheduler,
        StableDiffusionXLInpaintPipeline,
        UNet2DConditionModel,
    )

    return StableDiffusionXLInpaintPipeline(
        vae=_decoder(),
        text_encoder=_text_encoder(words, projects=False),
        # Of another width than the first, as in XL: in a single file, that tells the two apart.
        text_encoder_2=_text_encoder(words, projects=True, width=64),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=UNet2DConditionModel(
            **_UNET,
            in_channels=9,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=64 + 6 * 8,
            cross_attention_dim=32 + 64,
        ),
        scheduler=EulerDiscreteScheduler(**_SCHEDULE, timestep_spacing="leading"),
        requires_aesthetics_score=False,
    )


def _decoder() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        norm_num_groups=8,
        latent_channels=4,
        layers_per_block=1,
        sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        force_upcast=False,
    )


def _text_encoder(words: int, *, projects: bool, width: int = 32) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    return CLIPTextModelWithProjection(config) if projects else CLIPTextModel(config)


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
