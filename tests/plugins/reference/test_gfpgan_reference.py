"""GFPGAN on generated weights: its network and its faces against those in IOPaint 1.6.0."""

import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paintmq_plugins.gfpgan import SPEC

pytest.importorskip("torch", reason="needs paintmq[gfpgan]")
if find_spec("spandrel") is None:  # which cannot be imported by itself without torchvision
    pytest.skip("needs paintmq[gfpgan]", allow_module_level=True)
import torch

pytestmark = [
    pytest.mark.reference,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # of the oracle
]

Picture = Callable[..., NDArray[np.uint8]]

# By eye, on the photograph: eyes, nose, corners of the mouth.
ASTRONAUT = (199.0, 113.0, 244.0, 110.0, 221.0, 140.0, 205.0, 162.0, 243.0, 160.0)
SECOND = (380.0, 330.0, 420.0, 335.0, 398.0, 360.0, 382.0, 380.0, 412.0, 384.0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_file

    from paintmq_plugins.torch_weights import import_spandrel

    import_spandrel()
    from spandrel.architectures.GFPGAN import GFPGAN

    torch.manual_seed(0)
    state = GFPGAN().state_dict()
    path = tmp_path_factory.mktemp("gfpgan") / "gfpgan.safetensors"
    save_file({k: v.contiguous().clone() for k, v in state.items()}, path)
    return path


@pytest.fixture
def face_helper(iopaint: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that makes facexlib's helper, without the networks in it."""
    for name in ("", ".models", ".models._utils", ".transforms", ".transforms.functional"):
        module = types.ModuleType(f"torchvision{name}")
        module.__path__ = []
        module.IntermediateLayerGetter = module.normalize = None  # type: ignore[attr-defined]  # stand-ins
        monkeypatch.setitem(sys.modules, f"torchvision{name}", module)
    module = iopaint("plugins.facexlib.utils.face_restoration_helper")
    # Otherwise it would load its networks in its constructor.
    for name in ("init_detection_model", "init_parsing_model"):
        monkeypatch.setattr(module, name, lambda *_, **__: None)
    return lambda: module.FaceRestoreHelper(
        1, face_size=512, crop_ratio=(1, 1), use_parse=False, device="cpu"
    )


@pytest.mark.parametrize("faces", [(ASTRONAUT,), (ASTRONAUT, SECOND)], ids=["one", "two"])
def test_faces_equal_iopaints(
    faces: tuple[tuple[float, ...], ...],
    weights: Path,
    iopaint: Any,
    face_helper: Callable[..., Any],
    loaded: Any,
    photograph: Picture,
) -> None:
    from safetensors.torch import load_file

    network = iopaint("plugins.gfpgan.archs.gfpganv1_clean_arch").GFPGANv1Clean(
        out_size=512,
        num_style_feat=512,
        channel_multiplier=2,
        decoder_load_path=None,
        fix_decoder=False,
        num_mlp=8,
        input_is_latent=True,
        different_w=True,
        narrow=1,
        sft_half=True,
    )
    network.load_state_dict(load_file(weights), strict=True)
    network.eval()
    picture = photograph("astronaut")
    helper = face_helper()
    helper.read_image(picture[:, :, ::-1].copy())
    helper.all_landmarks_5 = [np.array(face).reshape(5, 2) for face in faces]
    helper.align_warp_face()
    torch.manual_seed(0)
    for cropped in helper.cropped_faces:
        rgb = torch.from_numpy(cropped[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / 255)
        with torch.no_grad():
            out = network(rgb[None] * 2 - 1, return_rgb=False)[0][0].clamp(-1, 1)
        face = ((out + 1) / 2 * 255).permute(1, 2, 0).round().numpy().astype(np.uint8)
        helper.add_restored_face(face[:, :, ::-1])
    helper.get_inverse_affine(None)
    theirs = helper.paste_faces_to_input_image()[:, :, ::-1]

    ours = loaded(SPEC, {"GFPGANv1.4.pth": weights})({"faces": list(faces)}, image=picture)

    # Ours are rounded, theirs cut off.
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert not np.array_equal(ours, picture)
    assert np.array_equal(ours[450:, :100], picture[450:, :100])


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    pytest.importorskip("onnx", reason="needs onnx")
    from paintmq_plugins.generated_weights.onnx_networks import write_face_stand_in

    path = tmp_path / "faces.onnx"
    write_face_stand_in(path)
    return path


def test_the_detectors_stand_in_is_the_one_the_quick_tests_have(detector: Path) -> None:
    kept = Path(__file__).parents[2] / "data" / "face-stand-in.onnx"

    assert detector.read_bytes() == kept.read_bytes()


def decoded(path: Path, rgb: NDArray[np.uint8], confidence: float) -> list[NDArray[np.float64]]:
    """YuNet's published decoding of ONNX Runtime's run, without the suppression of overlaps."""
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    height, width = rgb.shape[:2]
    padded = np.zeros((-(-height // 32) * 32, -(-width // 32) * 32, 3), np.float32)
    padded[:height, :width] = rgb[:, :, ::-1]
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = session.run(None, {"input": padded.transpose(2, 0, 1)[None]})
    answer = dict(zip(names, found, strict=True))
    faces = []
    for stride in (8, 16, 32):
        columns = padded.shape[1] // stride
        score = np.sqrt(answer[f"cls_{stride}"] * answer[f"obj_{stride}"])[0, :, 0]
        for cell in np.flatnonzero(score > confidence):
            corner = np.array([cell % columns, cell // columns])
            points = answer[f"kps_{stride}"][0, cell].reshape(5, 2)
            faces.append((score[cell], (points + corner) * stride))
    return [points for _, points in sorted(faces, key=lambda face: -face[0])]


def test_detection_gives_what_onnx_runtime_and_yunets_decoding_give(detector: Path) -> None:
    from paintmq_plugins.imaging.faces import YuNet

    rng = np.random.default_rng(2)
    picture = rng.integers(0, 200, (401, 599, 3), dtype=np.uint8)
    for top, left, level in ((64, 32, 255), (256, 96, 250), (128, 448, 245), (320, 512, 240)):
        picture[top : top + 32, left : left + 32] = level

    ours = YuNet(detector).detect(picture, 0.6)
    theirs = decoded(detector, picture, 0.6)

    assert len(ours) == 4
    assert np.allclose(ours, theirs, atol=0.01)


def test_faces_that_are_found_are_restored_as_those_that_are_named(
    weights: Path, detector: Path, loaded: Any
) -> None:
    files = {"GFPGANv1.4.pth": weights, "face_detection_yunet_2023mar.onnx": detector}
    run, picture = loaded(SPEC, files), np.full((160, 256, 3), 90, np.uint8)
    for left in (32, 160):
        picture[64:96, left : left + 32] = 255
    from paintmq_plugins.imaging.faces import YuNet

    places = [face.ravel().tolist() for face in YuNet(detector).detect(picture, 0.8)]
    found = run(image=picture)
    named = run({"faces": places}, image=picture)

    assert len(places) == 2
    assert np.array_equal(found, named)
    assert not np.array_equal(found, picture)
    assert np.array_equal(run(image=picture * 0 + 90), picture * 0 + 90)
