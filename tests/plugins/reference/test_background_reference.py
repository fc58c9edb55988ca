"""Background removal on real IS-Net weights, against rembg 2.0.86."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paintmq.model import ModelSpec
from paintmq_plugins.background import SPECS

pytest.importorskip("onnxruntime", reason="needs paintmq[rembg]")

pytestmark = [
    pytest.mark.reference,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # of the oracle
]

Picture = Callable[..., NDArray[np.uint8]]


@pytest.fixture
def isnet() -> Path:
    path = Path(os.environ.get("PAINTMQ_TEST_ISNET", ""))
    if not path.is_file():
        pytest.skip("set PAINTMQ_TEST_ISNET to IS-Net's weights, isnet-general-use.onnx")
    return path


@pytest.fixture
def rembg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return rembg's ``remove`` with a session on weights of ours; nothing is downloaded."""
    folder = tmp_path / "rembg"
    monkeypatch.setenv("REMBG_HOME", str(folder))
    library = pytest.importorskip("rembg", reason="needs rembg")

    def remove(model: str, weights: Path, image: NDArray[np.uint8], **options: Any) -> Any:
        place = folder / "models" / model / f"{model}.onnx"
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to(weights)
        session = library.new_session(model, providers=["CPUExecutionProvider"])
        return library.remove(image, session=session, **options)

    return remove


@pytest.mark.parametrize(
    ("model", "file", "theirs"),
    [
        ("rembg", "isnet-general-use.onnx", "isnet-general-use"),
        # The drawn figures' own weights cannot be had here: the way to the network is compared.
        ("anime-seg", "isnet-anime.onnx", "isnet-anime"),
    ],
)
def test_masks_equal_rembgs(
    model: str,
    file: str,
    theirs: str,
    isnet: Path,
    rembg: Callable[..., Any],
    loaded: Any,
    photograph: Picture,
) -> None:
    spec = next(spec for spec in SPECS if spec.name == model)
    run = loaded(spec, {file: isnet})

    for name in ("astronaut", "coffee", "chelsea"):
        picture = photograph(name)
        ours = run({"output": "mask"}, image=picture)

        assert np.array_equal(ours, rembg(theirs, isnet, picture, only_mask=True))


@pytest.mark.parametrize("name", ["u2net", "u2netp", "silueta"])
def test_the_u2_nets_equal_rembgs_on_a_stand_in(
    name: str, tmp_path: Path, rembg: Callable[..., Any], loaded: Any, photograph: Picture
) -> None:
    """Their weights cannot be had here: all but the network itself is compared."""
    pytest.importorskip("onnx", reason="needs onnx")
    from paintmq_plugins.generated_weights.onnx_networks import write_mask_stand_in

    weights = tmp_path / f"{name}.onnx"
    write_mask_stand_in(weights, 320)
    spec = next(spec for spec in SPECS if spec.name == f"rembg-{name}")
    run = loaded(spec, {f"{name}.onnx": weights})

    for picture in (photograph("astronaut"), photograph("coffee", (333, 217))):
        mask = run({"output": "mask"}, image=picture)
        cut = run({}, image=picture)

        assert np.array_equal(mask, rembg(name, weights, picture, only_mask=True))
        assert np.array_equal(cut, np.asarray(rembg(name, weights, picture, putalpha=True)))
        assert 0.1 < (mask > 127).mean() < 0.9


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_addresses_and_checksums_are_those_rembg_has(spec: ModelSpec) -> None:
    """A slip in one of ours would refuse every download."""
    sessions = pytest.importorskip("rembg.sessions", reason="needs rembg").sessions
    (file,) = spec.weights

    source = inspect.getsource(sessions[file.name.removesuffix(".onnx")])

    assert file.url in source
    assert file.md5 in source


def test_the_astronaut_is_half_of_her_picture(
    isnet: Path, loaded: Any, photograph: Picture
) -> None:
    run = loaded(SPECS[0], {"isnet-general-use.onnx": isnet})

    cut = run({}, image=photograph("astronaut"))

    assert cut.shape == (512, 512, 4)
    assert 0.5 < (cut[:, :, 3] > 127).mean() < 0.57


def test_matting_equals_rembgs(
    isnet: Path, rembg: Callable[..., Any], loaded: Any, photograph: Picture
) -> None:
    pytest.importorskip("pymatting", reason="needs paintmq[matting]")
    run = loaded(SPECS[0], {"isnet-general-use.onnx": isnet})
    picture = photograph("astronaut", (160, 160))

    ours = run({"alpha_matting": True}, image=picture)
    theirs = rembg("isnet-general-use", isnet, picture, alpha_matting=True)

    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 1
