"""The erasing models, pixel by pixel against IOPaint 1.6.0, on generated weights.

Sizes and strategies matter here, the networks do not: see the table in
``plugins/paintmq_plugins/README.md`` for what each comparison proves.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paintmq.model import WeightFile
from paintmq_plugins import fcf, lama, mat, zits

pytest.importorskip("torch", reason="needs paintmq[lama]")
if find_spec("spandrel") is None:  # which cannot be imported by itself without torchvision
    pytest.skip("needs paintmq[lama]", allow_module_level=True)
import torch

from paintmq_plugins.generated_weights import WRITERS, generate

pytestmark = [
    pytest.mark.reference,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # of the oracle and of tracing
]

Picture = Callable[..., NDArray[np.uint8]]

STRATEGIES = [
    ("original", (200, 131), {}),
    ("crop", (300, 200), {"crop_trigger": 150, "crop_margin": 24}),
    ("crop", (300, 200), {"crop_trigger": 800}),
    ("resize", (300, 200), {"resize_limit": 128}),
    ("resize", (120, 90), {"resize_limit": 1280}),
]


def oracle_request(iopaint: Any, strategy: str, options: dict[str, Any], **more: Any) -> Any:
    names = {
        "crop_trigger": "hd_strategy_crop_trigger_size",
        "crop_margin": "hd_strategy_crop_margin",
        "resize_limit": "hd_strategy_resize_limit",
    }
    return iopaint("schema").InpaintRequest(
        hd_strategy=strategy.capitalize(),
        **{names[name]: value for name, value in options.items()},
        **more,
    )


def as_picture(result: NDArray[Any]) -> NDArray[np.uint8]:
    """Return IOPaint's answer, BGR and often float64, as its server sends it."""
    clipped: NDArray[np.uint8] = np.clip(result, 0, 255).astype(np.uint8)[:, :, ::-1]
    return clipped


@pytest.fixture(scope="module")
def lama_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from paintmq_plugins.torch_weights import import_spandrel

    import_spandrel()
    from spandrel.architectures.LaMa import LaMa

    torch.manual_seed(0)
    network = LaMa(in_nc=4, out_nc=3).eval()
    path = tmp_path_factory.mktemp("lama") / "big-lama.pt"
    example = (torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64))
    torch.jit.trace(network, example, check_trace=False).save(str(path))
    return path


@pytest.mark.parametrize(("strategy", "size", "options"), STRATEGIES)
def test_lama_equals_iopaint(
    strategy: str,
    size: tuple[int, int],
    options: dict[str, Any],
    lama_weights: Path,
    iopaint: Any,
    photograph: Picture,
    blots: Picture,
    loaded: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = iopaint("model.lama")
    monkeypatch.setattr(module, "LAMA_MODEL_URL", str(lama_weights))
    oracle = module.LaMa("cpu")
    image, mask = photograph("chelsea", size), blots(*size)

    ours = loaded(lama.LAMA, {"big-lama.pt": lama_weights})(
        {"strategy": strategy, **options}, image=image, mask=mask
    )
    theirs = oracle(image.copy(), mask.copy(), oracle_request(iopaint, strategy, options))

    assert np.array_equal(ours, as_picture(theirs))
    assert not np.array_equal(ours[mask > 0], image[mask > 0])


@pytest.mark.parametrize("size", [(512, 512), (300, 200)])
def test_mat_equals_iopaint(
    size: tuple[int, int],
    tmp_path: Path,
    iopaint: Any,
    photograph: Picture,
    blots: Picture,
    loaded: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from safetensors.torch import save_file

    from paintmq_plugins.torch_weights import import_spandrel

    import_spandrel()
    from spandrel_extra_arches.architectures.MAT import MAT

    torch.manual_seed(0)
    state = MAT().state_dict()
    save_file({k: v.contiguous().clone() for k, v in state.items()}, tmp_path / "m.safetensors")
    theirs_state = {k.removeprefix("model."): v for k, v in state.items()}
    torch.save(theirs_state, tmp_path / "m.pth")
    module = iopaint("model.mat")
    monkeypatch.setattr(module, "MAT_MODEL_URL", str(tmp_path / "m.pth"))
    oracle = module.MAT("cpu")
    image, mask = photograph("astronaut", size), blots(*size)

    ours = loaded(mat.SPEC, {"Places_512_FullData_G.pth": tmp_path / "m.safetensors"})(
        {"strategy": "original"}, image=image, mask=mask
    )
    torch.manual_seed(240)
    theirs = oracle(image.copy(), mask.copy(), oracle_request(iopaint, "original", {}))

    assert np.array_equal(ours, as_picture(theirs))


@pytest.mark.parametrize("traced", [False, True], ids=["state-dict", "torchscript"])
@pytest.mark.parametrize("size", [(512, 512), (700, 460)])
def test_fcf_equals_iopaint(
    traced: bool,
    size: tuple[int, int],
    tmp_path: Path,
    iopaint: Any,
    photograph: Picture,
    blots: Picture,
    loaded: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from paintmq_plugins.fcf_model import _Truncated, iopaint_generator

    module = iopaint("model.fcf")
    torch.manual_seed(0)
    generator = iopaint_generator().eval()
    torch.save(generator.state_dict(), tmp_path / "f.pth")
    ours_path = tmp_path / "f.pth"
    if traced:
        ours_path = tmp_path / "f.pt"
        example = torch.rand(1, 4, 512, 512)
        with torch.no_grad():
            torch.jit.trace(_Truncated(generator), example, check_trace=False).save(str(ours_path))
    monkeypatch.setattr(module, "FCF_MODEL_URL", str(tmp_path / "f.pth"))
    oracle = module.FcF("cpu")
    image, mask = photograph("astronaut", size), blots(*size, count=1)

    ours = loaded(fcf.SPEC, {"places_512_G.pth": ours_path})(image=image, mask=mask)
    theirs = oracle(image.copy(), mask.copy(), oracle_request(iopaint, "original", {}))

    assert np.array_equal(ours, as_picture(theirs))


@pytest.fixture(scope="module")
def zits_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("zits")
    names = [file.name for file in zits.SPEC.weights]
    generate(folder, {name: WRITERS[name] for name in names}, seed=3)
    return {name: folder / name for name in names}


@pytest.mark.parametrize("wireframe", [True, False])
@pytest.mark.parametrize(
    ("strategy", "size", "options"),
    [
        ("original", (200, 131), {}),
        ("original", (610, 407), {}),
        ("crop", (600, 400), {"crop_trigger": 300, "crop_margin": 40}),
        ("resize", (600, 400), {"resize_limit": 300}),
    ],
)
def test_zits_equals_iopaint_on_stand_ins(
    strategy: str,
    size: tuple[int, int],
    options: dict[str, Any],
    wireframe: bool,
    zits_weights: dict[str, Path],
    iopaint: Any,
    photograph: Picture,
    blots: Picture,
    loaded: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("skimage", reason="needs paintmq[zits]")
    module = iopaint("model.zits")
    names = ("WIRE_FRAME", "EDGE_LINE", "STRUCTURE_UPSAMPLE", "INPAINT")
    for name, path in zip(names, zits_weights.values(), strict=True):
        monkeypatch.setattr(module, f"ZITS_{name}_MODEL_URL", str(path))
    oracle = module.ZITS("cpu")
    image, mask = photograph("coffee", size), blots(*size)

    ours = loaded(zits.SPEC, zits_weights)(
        {"strategy": strategy, "wireframe": wireframe, **options}, image=image, mask=mask
    )
    request = oracle_request(iopaint, strategy, options, zits_wireframe=wireframe)
    theirs = oracle(image.copy(), mask.copy(), request)

    assert np.array_equal(ours, as_picture(theirs))
    assert not np.array_equal(ours[mask > 0], image[mask > 0])


@pytest.mark.parametrize(
    ("module", "name", "file"),
    [
        ("lama", "LAMA", lama.LAMA.weights[0]),
        ("lama", "ANIME_LAMA", lama.ANIME_LAMA.weights[0]),
        ("mat", "MAT", mat.SPEC.weights[0]),
        ("fcf", "FCF", fcf.SPEC.weights[0]),
        ("zits", "ZITS_WIRE_FRAME", zits.SPEC.weights[0]),
        ("zits", "ZITS_EDGE_LINE", zits.SPEC.weights[1]),
        ("zits", "ZITS_STRUCTURE_UPSAMPLE", zits.SPEC.weights[2]),
        ("zits", "ZITS_INPAINT", zits.SPEC.weights[3]),
    ],
)
def test_addresses_and_checksums_are_those_iopaint_has(
    module: str, name: str, file: WeightFile, iopaint: Any
) -> None:
    """A slip in one of ours would refuse every download."""
    theirs = iopaint(f"model.{module}")

    assert file.url == getattr(theirs, f"{name}_MODEL_URL")
    assert file.md5 == getattr(theirs, f"{name}_MODEL_MD5")
