"""ncnn's files are read as numbers alone, and whatever else they hold is refused in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paintmq_plugins.ncnn_weights import read_ncnn

WriteCompact: TypeAlias = Callable[..., Path]

RNG = np.random.default_rng(5)


def compact(features: int = 4) -> dict[str, NDArray[Any]]:
    weights = {
        "body.0.weight": RNG.normal(size=(features, 3, 3, 3)),
        "body.0.bias": RNG.normal(size=features),
        "body.1.weight": RNG.normal(size=features),
        "body.2.weight": RNG.normal(size=(5, features, 3, 3)),
        "body.2.bias": RNG.normal(size=5),
    }
    return {name: array.astype(np.float32) for name, array in weights.items()}


@pytest.mark.parametrize("half", [False, True])
def test_a_compact_network_is_read_by_its_own_names(
    tmp_path: Path, write_compact: WriteCompact, half: bool
) -> None:
    weights = compact()

    found = read_ncnn(write_compact(tmp_path, weights, half=half))

    assert found.keys() == weights.keys()
    for name, array in weights.items():
        stored = array.astype(np.float16) if half and array.ndim == 4 else array
        assert np.array_equal(found[name], stored.astype(np.float32))


def test_a_network_of_dense_blocks_is_read_by_its_own_names(tmp_path: Path) -> None:
    shapes = [(2, 3)] + [(2, 2)] * 20
    param, numbers = ["7767517", "21 22"], b""
    for at, (out, into) in enumerate(shapes):
        param.append(f"Convolution c{at} 1 1 {at} {at + 1} 0={out} 1=3 4=1 5=1 6={out * into * 9}")
        numbers += bytes(4) + np.full((out, into, 3, 3), at, "<f4").tobytes()
        numbers += np.full(out, -at, "<f4").tobytes()
    (tmp_path / "n.param").write_text("\n".join(param))
    (tmp_path / "n.bin").write_bytes(numbers)

    found = read_ncnn(tmp_path / "n.param")

    assert found["conv_first.weight"].shape == (2, 3, 3, 3)
    assert found["body.0.rdb1.conv1.weight"].max() == 1
    assert found["body.0.rdb3.conv5.bias"].tolist() == [-15, -15]
    assert found["conv_last.weight"].max() == 20


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(["param", "bin"]), place=st.integers(0, 2000), data=st.binary(max_size=9)
)
def test_damaged_files_are_read_or_refused(
    tmp_path: Path, write_compact: WriteCompact, file: str, place: int, data: bytes
) -> None:
    path = write_compact(tmp_path, compact()).with_suffix(f".{file}")
    content = path.read_bytes()
    cut = place % len(content)
    path.write_bytes(content[:cut] + data + content[cut + len(data) // 2 :])

    try:
        found = read_ncnn(tmp_path / "network.param")
    except ValueError:
        return
    assert all(array.dtype == np.float32 for array in found.values())


@pytest.mark.parametrize(
    ("param", "words"),
    [
        ("", "no list of layers"),
        ("7767517\n1 1\nConvolution c", "lacks the number of its inputs"),
        ("7767517\n1 1\nConvolution c 1 1 a b 0=2", "lacks its setting 1"),
        ("7767517\n1 1\nConvolution c 1 1 a b 0=9 1=3 6=999999999", "end too soon"),
        ("7767517\n1 1\n", "4 bytes are left over"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, param: str, words: str) -> None:
    (tmp_path / "n.param").write_text(param)
    (tmp_path / "n.bin").write_bytes(bytes(4))

    with pytest.raises(ValueError, match=words):
        read_ncnn(tmp_path / "n.param")


def test_another_number_of_convolutions_is_no_network_of_real_esrgans(tmp_path: Path) -> None:
    (tmp_path / "n.param").write_text("7767517\n1 1\nConvolution c 1 1 a b 0=1 1=1 6=1")
    (tmp_path / "n.bin").write_bytes(bytes(12))

    with pytest.raises(ValueError, match="1 convolutions are no network"):
        read_ncnn(tmp_path / "n.param")


def test_weights_of_a_precision_that_ncnn_rarely_has_are_refused(tmp_path: Path) -> None:
    (tmp_path / "n.param").write_text("7767517\n1 1\nConvolution c 1 1 a b 0=1 1=1 6=1")
    (tmp_path / "n.bin").write_bytes(b"\x01" * 12)

    with pytest.raises(ValueError, match="precision"):
        read_ncnn(tmp_path / "n.param")
