"""Writes a pipeline as one file, in the layout in which Stable Diffusion was first published.

The names are those of CompVis' latent-diffusion for the network and the image decoder, of
transformers' CLIP for the text encoder of 1.x and the first one of XL, and of OpenCLIP for that of
2.x and the second one of XL. diffusers reads this layout and does not write it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

State = Mapping[str, torch.Tensor]
Named = Iterator[tuple[str, torch.Tensor]]

_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_DECODER_PARTS = {
    "conv_norm_out": "norm_out",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_OPEN_CLIP_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def save_single_file(pipe: Any, path: Path) -> Path:
    """Write all weights of a Stable Diffusion pipeline into one file and return its path.

    Settings and tokenizer are not in it: whoever loads it needs them beside it.
    """
    from safetensors.torch import save_file

    unet = _unet(pipe.unet.state_dict(), int(pipe.unet.config.layers_per_block))
    named = dict(_prefixed("model.diffusion_model.", unet))
    levels = len(pipe.vae.config.block_out_channels)
    named.update(_prefixed("first_stage_model.", _decoder(pipe.vae.state_dict(), levels)))
    named.update(_text_encoders(pipe))
    save_file({name: tensor.contiguous().clone() for name, tensor in named.items()}, path)
    return path


def _text_encoders(pipe: Any) -> Named:
    first = pipe.text_encoder.state_dict()
    if getattr(pipe, "text_encoder_2", None) is not None:
        yield from _prefixed("conditioner.embedders.0.transformer.text_model.", _bare(first))
        second = _open_clip(pipe.text_encoder_2.state_dict())
        yield from _prefixed("conditioner.embedders.1.model.", second)
    elif pipe.scheduler.config.prediction_type == "v_prediction":  # 2.x
        yield from _prefixed("cond_stage_model.model.", _open_clip(first))
    else:
        yield from _prefixed("cond_stage_model.transformer.text_model.", _bare(first))


def _unet(state: State, layers: int) -> Named:
    for name, tensor in state.items():
        end = next((end for end in _UNET_ENDS if name.startswith(f"{end}.")), None)
        if end is not None:
            new = name.replace(end, _UNET_ENDS[end], 1)
        else:
            kind, level, what, number, rest = name.split(".", 4)
            attends = any(each.startswith(f"{kind}.{level}.attentions.") for each in state)
            place = _place(kind, int(level), what, int(number), layers=layers, attends=attends)
            # One of the two convolutions that change the size has a name of its own.
            new = f"{place}.{rest.replace('conv', 'op') if what == 'downsamplers' else rest}"
        yield _replaced(new, _UNET_RESNET) if ".resnets." in name else new, tensor


def _place(kind: str, level: int, what: str, number: int, *, layers: int, attends: bool) -> str:
    """Return which block a part is, where the blocks of all levels are counted through."""
    first = level * (layers + 1)
    match kind, what:
        case "down_blocks", "downsamplers":
            return f"input_blocks.{first + layers + 1}.0"
        case "down_blocks", _:
            return f"input_blocks.{first + 1 + number}.{0 if what == 'resnets' else 1}"
        case _, "upsamplers":
            return f"output_blocks.{first + layers}.{2 if attends else 1}"
        case _:
            return f"output_blocks.{first + number}.{0 if what == 'resnets' else 1}"


def _decoder(state: State, levels: int) -> Named:
    for name, tensor in state.items():
        new = name
        if "down_blocks." in name or "up_blocks." in name:
            side, kind, level, what, number, rest = name.split(".", 5)
            # Upwards, levels are counted from the other end.
            turned = int(level) if kind == "down_blocks" else levels - 1 - int(level)
            way = kind.removesuffix("_blocks")
            block = f"block.{number}" if what == "resnets" else f"{way}sample"
            new = f"{side}.{way}.{turned}.{block}.{rest}"
        new = _replaced(new, _DECODER_PARTS)
        # There, attention is written as a convolution of one pixel.
        is_attention = ".attn_1." in new and tensor.ndim == 2
        yield new, tensor[:, :, None, None] if is_attention else tensor


def _bare(state: State) -> Named:
    """Give the names of a CLIP text model without the wrapper that some versions have."""
    for name, tensor in state.items():
        yield name.removeprefix("text_model."), tensor


def _open_clip(state: State) -> Named:
    bare = dict(_bare(state))
    for name, tensor in bare.items():
        match name.split("."):
            case ["embeddings", "token_embedding", _]:
                yield "token_embedding.weight", tensor
            case ["embeddings", "position_embedding", _]:
                yield "positional_embedding", tensor
            case ["final_layer_norm", kind]:
                yield f"ln_final.{kind}", tensor
            case ["text_projection", _]:
                yield "text_projection", tensor.T
            case ["encoder", "layers", number, "self_attn", "q_proj", kind]:
                joined = [bare[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
                yield f"transformer.resblocks.{number}.attn.in_proj_{kind}", torch.cat(joined)
            case ["encoder", "layers", _, "self_attn", "k_proj" | "v_proj", _]:
                pass
            case [_, _, number, *rest]:
                new = _replaced(".".join(rest), _OPEN_CLIP_PARTS)
                yield f"transformer.resblocks.{number}.{new}", tensor
            case _:
                raise ValueError(f"{name} is no part of CLIP's text model")


def _prefixed(prefix: str, named: Named) -> Named:
    for name, tensor in named:
        yield prefix + name, tensor


def _replaced(name: str, parts: Mapping[str, str]) -> str:
    for old, new in parts.items():
        name = name.replace(f"{old}.", f"{new}.")
    return name
