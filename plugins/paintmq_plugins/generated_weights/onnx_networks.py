"""ONNX networks that stand in for those that cannot be had: same interfaces, no sense.

They find what is bright, so that one can tell beforehand what they will find.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

_STRIDES = (8, 16, 32)
FACE_CELL = 32
"""Side of the squares in which the face stand-in looks."""
_BRIGHT = 230.0
# Of a face of four cells, in cells from the corner of the one it was found in.
_BOX = (0.5, 0.5, 1.386294, 1.386294)  # centre; logarithms of width and height
_LANDMARKS = (-0.5, 0.0, 1.5, 0.0, 0.5, 0.75, -0.25, 1.5, 1.25, 1.5)


def write_mask_stand_in(path: Path, side: int) -> None:
    """Write a network of the U2-Net kind: what is brighter than grey is in front."""
    kernel = _numbers("kernel", (1, 3, 15, 15), [0.1] * 675)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, side, side))
    mask = helper.make_tensor_value_info("mask", TensorProto.FLOAT, (1, 1, side, side))
    blurred = helper.make_node("Conv", ["image", "kernel"], ["level"], pads=(7, 7, 7, 7))
    decided = helper.make_node("Sigmoid", ["level"], ["mask"])
    _write(path, [blurred, decided], [image], [mask], [kernel])


def write_face_stand_in(path: Path) -> None:
    """Write a network of YuNet's kind: a square of 32 pixels that is nearly white is a face.

    It takes BGR from 0 to 255, both sides multiples of 32, and gives for each of three strides
    the two factors of the score, box and landmarks of every cell; only the largest stride finds.
    """
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3, "height", "width"))
    nodes, numbers = [], []
    for stride in _STRIDES:
        finds = stride == FACE_CELL
        cells = f"cells_{stride}"
        nodes.append(
            helper.make_node(
                "AveragePool",
                ["input"],
                [cells],
                kernel_shape=(stride, stride),
                strides=(stride, stride),
            )
        )
        for name, weight, bias in (
            ("cls", 1 / 3 if finds else 0.0, [-_BRIGHT if finds else -100.0]),
            ("obj", 0.0, [100.0]),
            ("bbox", 0.0, _BOX),
            ("kps", 0.0, _LANDMARKS),
        ):
            key, count = f"{name}_{stride}", len(bias)
            numbers += [
                _numbers(f"{key}_weight", (count, 3, 1, 1), [weight] * 3 * count),
                _numbers(f"{key}_bias", (count,), bias),
                helper.make_tensor(f"{key}_shape", TensorProto.INT64, (3,), (1, -1, count)),
            ]
            raw = [cells, f"{key}_weight", f"{key}_bias"]
            nodes.append(helper.make_node("Conv", raw, [f"{key}_raw"]))
            decided = f"{key}_raw"
            if name in ("cls", "obj"):
                decided = f"{key}_score"
                nodes.append(helper.make_node("Sigmoid", [f"{key}_raw"], [decided]))
            nodes += [
                helper.make_node("Transpose", [decided], [f"{key}_last"], perm=(0, 2, 3, 1)),
                helper.make_node("Reshape", [f"{key}_last", f"{key}_shape"], [key]),
            ]
    outputs = [
        helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, (1, "cells", count))
        for name, count in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for stride in _STRIDES
    ]
    _write(path, nodes, [image], outputs, numbers)


def _numbers(name: str, shape: Sequence[int], values: Sequence[float]) -> Any:
    return helper.make_tensor(name, TensorProto.FLOAT, shape, values)


def _write(path: Path, nodes: Any, inputs: Any, outputs: Any, numbers: Any) -> None:
    graph = helper.make_graph(nodes, "stand-in", inputs, outputs, numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
