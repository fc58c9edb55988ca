"""What network a weight file holds, by the shapes of its tensors; no library is loaded for it.

Safetensors tell shapes in their header. A PyTorch file tells them in a pickle, of which the
opcodes are read here: nothing in it is imported or called.
"""

import json
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from attrs import frozen

from paintmq.weights import kind_of

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Family: TypeAlias = Literal["enlarger", "faces", "inpainting", "diffusion"]

_MOST_BYTES = 32 * 1024 * 1024
"""Of a header or pickle; those of diffusion models have about one million."""
_WRAPPINGS = ("params_ema", "params", "state_dict", "model_state_dict")
_MARKS: tuple[tuple[str, Family], ...] = (
    (r"stylegan_decoder\.", "faces"),
    (r"model\.diffusion_model\.|cond_stage_model\.", "diffusion"),
    (r"(generator\.)?model\.model\.\d+\.|model\.1\.bn_l\.", "inpainting"),
    (r"conv_first\.weight|body\.0\.weight|(model\.)?model\.0\.weight", "enlarger"),
)
_DOES: dict[Family, str] = {
    "enlarger": "enlarges pictures",
    "faces": "restores faces",
    "inpainting": "fills masks",
    "diffusion": "paints from words",
}


def shapes_of(path: Path) -> Shapes | None:
    """Return the shapes of a file's tensors by name; None where they cannot be told."""
    try:
        match kind_of(path):
            case "safetensors":
                return _in_safetensors(path)
            case "zip":
                return _in_pickle(path)
            case "other":
                return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    except (struct.error, zipfile.BadZipFile, RuntimeError):
        return None  # the last: an archive that is locked, or packed in an unknown way


def family_of(shapes: Shapes) -> Family | None:
    """Return what a network is for, by the names of its tensors; None where they do not tell."""
    return next(
        (family for mark, family in _MARKS if any(map(re.compile(mark).match, shapes))), None
    )


def scale_of(shapes: Shapes) -> int | None:
    """Return how many times a network of Real-ESRGAN's kinds enlarges; None for other networks."""
    first, last = shapes.get("conv_first.weight", ()), shapes.get("conv_last.weight", ())
    if len(first) == 4 and len(last) == 4:  # RRDBNet: smaller scales shuffle pixels into channels
        return {1: 4, 4: 2, 16: 1}.get(first[1] // last[0]) if last[0] else None
    bodies = [
        int(found[1]) for name in shapes if (found := re.fullmatch(r"body\.(\d+)\.weight", name))
    ]
    if not bodies or len(shapes.get("body.0.weight", ())) != 4:
        return None
    final, channels = shapes[f"body.{max(bodies)}.weight"], shapes["body.0.weight"][1]
    if len(final) != 4 or not channels:  # SRVGGNetCompact: the last layer has scale² pixels a pixel
        return None
    return {channels * scale * scale: scale for scale in (1, 2, 3, 4, 8)}.get(final[0])


def network_problem(path: Path, *, family: Family, scale: int | None = None) -> str:
    """Return why the network in the file is not the one wanted; empty when it may be.

    The text goes on from the file's name: "holds a network that ...".
    """
    shapes = shapes_of(path)
    if shapes is None:
        return ""
    found = family_of(shapes)
    if found is not None and found != family:
        return f"holds a network that {_DOES[found]}, and this model needs one that {_DOES[family]}"
    enlarges = scale_of(shapes) if scale is not None else None
    if enlarges is not None and enlarges != scale:
        return (
            f"holds a network that enlarges {enlarges} times, and this model needs one that"
            f" enlarges {scale} times"
        )
    return ""


def _in_safetensors(path: Path) -> Shapes:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _MOST_BYTES:
            raise ValueError("too long")
        header = json.loads(file.read(length))
    return {
        name: tuple(map(int, each["shape"]))
        for name, each in header.items()
        if name != "__metadata__"
    }


def _in_pickle(path: Path) -> Shapes | None:
    with zipfile.ZipFile(path) as archive:
        names = [each for each in archive.namelist() if each.endswith("/data.pkl")]
        is_code = any("/code/" in each for each in archive.namelist())  # TorchScript
        if len(names) != 1 or is_code or archive.getinfo(names[0]).file_size > _MOST_BYTES:
            return None
        content = _read_pickle(archive.read(names[0]))
    for name in _WRAPPINGS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    return {
        name: each
        for name, each in content.items()
        if isinstance(name, str) and type(each) is tuple
    }


# ---- pickles, read and not run -----------------------------------------------------------------

_MARK = object()
_TENSOR, _PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"


@frozen
class _Global:
    """A name that the pickle would import."""

    name: str


def _read_pickle(data: bytes) -> Any:
    """Return what a pickle holds, tensors as their shapes and all else that it would make as None.

    The opcodes are gone through one by one and nothing is imported or called.

    Raises:
        ValueError, IndexError, KeyError, TypeError: it is damaged, or no state of a network.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def to_mark() -> list[Any]:
        items = []
        while (item := stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    argument: Any
    for opcode, argument, _ in pickletools.genops(data):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "GLOBAL":
                stack.append(_Global(str(argument)))
            case "BINPERSID":  # the numbers themselves, which are in files of their own
                stack[-1] = None
            case "TUPLE":
                stack.append(tuple(to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_made(function, arguments))
            case "BUILD":
                stack.pop()
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                items = to_mark()
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "APPEND":
                stack[-2].append(stack.pop())
            case "APPENDS":
                items = to_mark()
                stack[-1].extend(items)
            case "BINPUT" | "LONG_BINPUT":
                memo[int(argument)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[int(argument)])
            case other:
                if opcode.stack_before or not isinstance(argument, str | int | float):
                    raise ValueError(f"{other} is no part of the state of a network")
                stack.append(argument)
    raise ValueError("it has no end")


def _made(function: Any, arguments: Any) -> Any:
    match function:
        case _Global(name="collections OrderedDict"):
            return {}
        case _Global(name=name) if name == _TENSOR:
            return tuple(map(int, arguments[2]))
        case _Global(name=name) if name == _PARAMETER:
            return arguments[0]
        case _:
            return None
