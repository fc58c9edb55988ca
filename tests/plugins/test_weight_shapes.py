"""What a weight file holds is told without loading it, and nothing in it is run."""

import io
import json
import pickle  # noqa: TID251 -- to write what PyTorch writes; nothing is read by it
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from paintmq_plugins import gfpgan, realesrgan
from paintmq_plugins.weight_shapes import Shapes, family_of, network_problem, scale_of, shapes_of

COMPACT: Shapes = {
    "body.0.weight": (64, 3, 3, 3),
    "body.1.weight": (64,),
    "body.34.weight": (48, 64, 3, 3),
}
RRDB: Shapes = {"conv_first.weight": (64, 3, 3, 3), "conv_last.weight": (3, 64, 3, 3)}


def safetensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    header = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in shapes.items()
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


class Tensor:
    """Pickled as PyTorch pickles its tensors."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape


def save_tensor(pickler: Any, tensor: Tensor) -> None:
    pickler.write(b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\n")
    pickler.write(b"U\x010U\x03cpuK\x01tQK\x00")
    pickler.save(tensor.shape)
    pickler.save((1,) * len(tensor.shape))
    pickler.write(b"\x89ccollections\nOrderedDict\n)RtR")


PYTHONS_OWN: Any = pickle._Pickler  # the one not written in C


class Pickler(PYTHONS_OWN):  # type: ignore[misc]  # its dispatch may be added to
    dispatch: ClassVar[Any] = {**PYTHONS_OWN.dispatch, Tensor: save_tensor}


def torch_file(path: Path, content: Any, *, more: str = "") -> Path:
    pickled = io.BytesIO()
    Pickler(pickled, 2).dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        archive.writestr("archive/data/0", b"")
        if more:
            archive.writestr(more, b"")
    return path


def test_shapes_are_those_of_the_file(tmp_path: Path) -> None:
    tensors = OrderedDict((name, Tensor(*shape)) for name, shape in COMPACT.items())

    for content in (tensors, {"params": tensors}, {"params_ema": tensors, "step": 9}):
        assert shapes_of(torch_file(tmp_path / "a.pth", content)) == COMPACT
    assert shapes_of(safetensors(tmp_path / "a.safetensors", COMPACT)) == COMPACT


@pytest.mark.parametrize(
    ("shapes", "scale"),
    [
        (COMPACT, 4),
        (dict(COMPACT) | {"body.34.weight": (12, 64, 3, 3)}, 2),
        (dict(COMPACT) | {"body.34.weight": (7, 64, 3, 3)}, None),
        (dict(COMPACT) | {"body.34.weight": (64,)}, None),
        (RRDB, 4),
        (dict(RRDB) | {"conv_first.weight": (64, 12, 3, 3)}, 2),
        (dict(RRDB) | {"conv_last.weight": (0, 64, 3, 3)}, None),
        ({"other.weight": (3, 3)}, None),
    ],
)
def test_the_scale_is_told_by_the_last_layer(shapes: Any, scale: int | None) -> None:
    assert scale_of(shapes) == scale


def test_another_scale_or_family_is_told_of_each_model(tmp_path: Path) -> None:
    twice = safetensors(tmp_path / "x2.pth", dict(RRDB) | {"conv_first.weight": (64, 12, 3, 3)})
    faces = safetensors(tmp_path / "faces.pth", {"stylegan_decoder.a.weight": (1, 1)})
    right = safetensors(tmp_path / "x4.pth", RRDB)
    video, face_file = realesrgan.SPECS[3], gfpgan.SPEC.weights[0]

    assert video.weight_problem is not None
    assert video.weight_problem(video.weights[0], twice) == (
        "holds a network that enlarges 2 times, and this model needs one that enlarges 4 times"
    )
    assert video.weight_problem(video.weights[0], faces) == (
        "holds a network that restores faces, and this model needs one that enlarges pictures"
    )
    assert video.weight_problem(video.weights[0], right) == ""
    assert "needs one that restores faces" in gfpgan.weight_problem(face_file, right)
    assert gfpgan.weight_problem(face_file, faces) == ""


def test_what_cannot_be_told_is_left_to_the_loader(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> Any:
            return exec, ("raise SystemExit('it was run')",)

    unknown = safetensors(tmp_path / "a.safetensors", {"x": (1,)})
    assert family_of(shapes_of(unknown) or {}) is None
    for path in (
        unknown,
        torch_file(tmp_path / "code.pth", {"a": Command()}),
        torch_file(tmp_path / "script.pt", {"a": Tensor(1)}, more="archive/code/a.py"),
        torch_file(tmp_path / "list.pth", [1, 2]),
        tmp_path / "missing.pth",
    ):
        assert network_problem(path, family="enlarger", scale=4) == ""
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 and nothing else")
    (tmp_path / "long.pth").write_bytes(struct.pack("<Q", 2**40) + b"{")
    for name in ("cut.pth", "long.pth"):
        assert shapes_of(tmp_path / name) is None
