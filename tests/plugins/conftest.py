"""Weight files that tests of plugins make on the spot."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from numpy.typing import NDArray

WriteCompact: TypeAlias = Callable[..., Path]


@pytest.fixture(scope="session")
def write_compact() -> WriteCompact:
    """Return a function that writes Real-ESRGAN's compact network in ncnn's two files.

    It takes a folder and the weights by PyTorch's names (``body.0.weight``, ``body.0.bias``,
    ``body.1.weight`` of a PReLU, and so on), and returns the ``.param``, which ncnn can run too.
    """
    return _write_compact


def _write_compact(
    folder: Path, weights: Mapping[str, NDArray[Any]], *, scale: int = 4, half: bool = False
) -> Path:
    lines = [
        "Input input 0 1 data",
        "Split split 1 2 data data_for_convolutions data_for_resizing",
    ]
    before, numbers = "data_for_convolutions", b""
    for at in range(1 + max(int(name.split(".")[1]) for name in weights)):
        weight = weights[f"body.{at}.weight"]
        if weight.ndim == 4:
            out, _, side, _ = weight.shape
            lines.append(
                f"Convolution conv_{at} 1 1 {before} {at} 0={out} 1={side} 4={side // 2} 5=1"
                f" 6={weight.size}"
            )
            numbers += _tagged(weight, half=half)
            numbers += weights[f"body.{at}.bias"].astype("<f4").tobytes()
        else:
            lines.append(f"PReLU prelu_{at} 1 1 {before} {at} 0={weight.size}")
            numbers += weight.astype("<f4").tobytes()
        before = str(at)
    lines += [
        f"PixelShuffle shuffle 1 1 {before} shuffled 0={scale}",
        f"Interp resize 1 1 data_for_resizing resized 0=1 1={scale}.0 2={scale}.0",
        "BinaryOp add 2 1 shuffled resized output",
    ]
    wires = len(lines) + 1  # each layer makes one; the split makes two
    param = folder / "network.param"
    param.write_text("\n".join(["7767517", f"{len(lines)} {wires}", *lines]) + "\n")
    param.with_suffix(".bin").write_bytes(numbers)
    return param


def _tagged(weight: NDArray[Any], *, half: bool) -> bytes:
    if not half:
        return struct.pack("<I", 0) + weight.astype("<f4").tobytes()
    data = weight.astype("<f2").tobytes()
    return struct.pack("<I", 0x01306B47) + data + bytes(-len(data) % 4)
