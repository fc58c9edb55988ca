"""Restricted loading: numbers are loaded, code is not, and the errors say which file."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from paintmq.config import WeightsConfig
from paintmq.errors import ModelError, WeightsMissingError
from paintmq.model import WeightFile
from paintmq.weights import WeightFolder

pytest.importorskip("torch", reason="needs paintmq[lama]")
if find_spec("safetensors") is None:
    pytest.skip("needs paintmq[lama]", allow_module_level=True)
import torch

from paintmq_plugins.torch_weights import (
    is_torchscript,
    load_state_dict,
    load_torchscript,
)

FILE = WeightFile(name="net.pth")
STATE = {"weight": torch.arange(6.0).reshape(2, 3)}


def folder(path: Path, **settings: tuple[str, ...]) -> WeightFolder:
    return WeightFolder(WeightsConfig(folder=str(path), **settings))  # type: ignore[arg-type]  # settings by name


@pytest.mark.parametrize("wrapping", [None, "params", "params_ema", "state_dict"])
def test_a_pickle_of_tensors_is_loaded_whatever_it_is_wrapped_in(
    tmp_path: Path, wrapping: str | None
) -> None:
    torch.save({wrapping: STATE} if wrapping else STATE, tmp_path / "net.pth")

    assert torch.equal(load_state_dict(folder(tmp_path), FILE)["weight"], STATE["weight"])


def test_safetensors_are_loaded_in_place_of_any_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(STATE, tmp_path / "other.safetensors")
    config = WeightsConfig(paths={"net.pth": str(tmp_path / "other.safetensors")})

    assert torch.equal(load_state_dict(WeightFolder(config), FILE)["weight"], STATE["weight"])


class Malice:
    """What an attacker would put into a pickle."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("was-run"),))


def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": STATE["weight"], "more": Malice()}, tmp_path / "net.pth")

    with pytest.raises(ModelError, match=r"net\.pth cannot be read") as caught:
        load_state_dict(folder(tmp_path), FILE)

    assert caught.value.code == "weights_unreadable"
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no archive", b"\x80\x02 no pickle"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pth").write_bytes(content)

    with pytest.raises(ModelError, match=r"net\.pth"):
        load_state_dict(folder(tmp_path), FILE)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("net.safetensors", b""),
        ("net.safetensors", b"\xff" * 64),  # a header longer than any file
        ("net.safetensors", (2).to_bytes(8, "little") + b"{}garbage"),
        ("net.param", b"7767517\n1 1\nConvolution c 1 1 a b 0=9 1=3 6=99999999999"),
        ("net.param", b"\xff\xfe"),
    ],
)
def test_a_damaged_file_in_anothers_place_is_refused_by_its_name(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "net.bin").write_bytes(b"")
    config = WeightsConfig(paths={"net.pth": str(tmp_path / name)})

    with pytest.raises(ModelError, match=name.replace(".", r"\.")) as caught:
        load_state_dict(WeightFolder(config), FILE)

    assert caught.value.code == "weights_unreadable"


@pytest.mark.parametrize("suffix", [".param", ".bin"])
def test_either_of_ncnns_two_files_may_be_named(
    tmp_path: Path, write_compact: Callable[..., Path], suffix: str
) -> None:
    weight = torch.arange(27.0).reshape(1, 3, 3, 3)
    weights = {
        "body.0.weight": weight,
        "body.0.bias": torch.ones(1),
        "body.1.weight": torch.ones(1),
    }
    written = write_compact(tmp_path, {name: array.numpy() for name, array in weights.items()})
    named = written.with_suffix(suffix)

    found = load_state_dict(WeightFolder(WeightsConfig(paths={"net.pth": str(named)})), FILE)

    assert torch.equal(found["body.0.weight"], weight)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_under_the_name_of_a_safe_kind_is_not_run(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(3, 2)).save(str(tmp_path / "net.safetensors"))
    config = WeightsConfig(paths={"net.pth": str(tmp_path / "net.safetensors")})

    with pytest.raises(ModelError, match="which is code"):
        load_state_dict(WeightFolder(config), FILE)


def test_a_pickle_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "net.pth")

    with pytest.raises(ModelError, match="hold no tensors"):
        load_state_dict(folder(tmp_path), FILE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_runs_only_with_a_known_or_trusted_checksum(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(3, 2)).save(str(tmp_path / "net.pth"))
    sha256 = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    known = WeightFile(name="net.pth", sha256=sha256)
    trusting = folder(tmp_path, trusted_torchscript=(sha256,))

    assert is_torchscript(tmp_path / "net.pth")
    for load in (load_torchscript, load_state_dict):
        with pytest.raises(ModelError, match="which is code"):
            load(folder(tmp_path), FILE)
        load(trusting, FILE)
        load(folder(tmp_path), known)


def test_missing_weights_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match="paintmq models download"):
        load_state_dict(folder(tmp_path), FILE)


BROKEN = """
raise RuntimeError("operator torchvision::nms does not exist")
"""
IMPORT = """
import sys
from collections.abc import Callable
from importlib.util import find_spec
from paintmq_plugins.torch_weights import import_spandrel
import_spandrel()
import spandrel
print("torchvision" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("spandrel") is None, reason="needs paintmq[lama]")
@pytest.mark.parametrize("torchvision", ["missing", "built for another PyTorch"])
def test_spandrel_is_imported_without_a_torchvision_that_works(
    tmp_path: Path, torchvision: str
) -> None:
    """And nobody else takes torchvision to be there."""
    if torchvision == "missing" and find_spec("torchvision") is not None:
        pytest.skip("it is installed")
    if torchvision != "missing":
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").write_text(BROKEN)
    path = os.pathsep.join([str(tmp_path), *sys.path])

    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
