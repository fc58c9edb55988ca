"""Which weights the diffusion models take, folders and single files; how others are refused."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paintmq.config import WeightsConfig
from paintmq.errors import ModelError, WeightsMissingError

pytestmark = [
    pytest.mark.reference,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # of schedulers
]

FAMILIES = ("sd15", "sd21", "sdxl")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing reach for the hub, which libraries do where a file is missing."""
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("a connection to the network was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def copy(pipelines: Mapping[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies a family's pipeline, to be spoilt."""

    def copied(family: str) -> Path:
        return Path(shutil.copytree(pipelines[family], tmp_path / f"{family}-inpainting"))

    return copied


@pytest.fixture
def single_file(pipelines: Mapping[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a family's pipeline as one file, its settings beside it."""
    from diffusers import AutoPipelineForInpainting

    from paintmq_plugins.generated_weights.original_layout import save_single_file

    def written(family: str) -> Path:
        pipe = AutoPipelineForInpainting.from_pretrained(pipelines[family], local_files_only=True)
        settings = tmp_path / "one"
        shutil.copytree(pipelines[family], settings, ignore=shutil.ignore_patterns("*.safetensors"))
        return save_single_file(pipe, tmp_path / "one.safetensors")

    return written


def named(family: str, path: Path) -> WeightsConfig:
    return WeightsConfig(paths={f"{family}-inpainting": str(path)})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_file_paints_bit_for_bit_what_its_folder_paints(
    family: str, single_file: Any, load: Any, paint: Any, paint_with: Any, scene: Any
) -> None:
    wish = {"prompt": "a cat", "negative_prompt": "fur", "steps": 2}
    loaded = load(family, named(family, single_file(family)))

    assert np.array_equal(paint_with(loaded, scene, wish)[0], paint(family, scene, wish)[0])


def test_a_single_file_without_settings_says_what_to_fetch_and_tries_no_network(
    single_file: Any, load: Any
) -> None:
    path = single_file("sd15")
    shutil.rmtree(path.with_suffix(""))

    with pytest.raises(ModelError, match=r"hf download stable-diffusion-v1-5/.* --local-dir one"):
        load("sd15", named("sd15", path))


def test_a_single_file_of_another_family_is_refused(single_file: Any, load: Any) -> None:
    with pytest.raises(ModelError, match=r"given for model sd15.*like sdxl"):
        load("sd15", named("sd15", single_file("sdxl")))


def test_a_file_that_is_no_stable_diffusion_is_refused(load: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(3)}, path)

    with pytest.raises(ModelError, match=r"model\.diffusion_model"):
        load("sd15", named("sd15", path))


def test_a_single_file_that_lacks_a_part_is_refused_at_loading(single_file: Any, load: Any) -> None:
    from safetensors.torch import load_file, save_file

    path = single_file("sd15")
    state = load_file(path)
    save_file(
        {k: v for k, v in state.items() if "ln_final" not in k and "encoder.layers.1" not in k},
        path,
    )

    with pytest.raises(ModelError, match=r"lack a part of text_encoder|cannot be loaded"):
        load("sd15", named("sd15", path))


def test_files_that_may_hold_code_are_refused(load: Any, tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.ckpt"
    checkpoint.write_bytes(b"\x80\x04")

    with pytest.raises(ModelError, match="can hold code") as caught:
        load("sd15", named("sd15", checkpoint))

    assert caught.value.code == "weights_unreadable"


@pytest.mark.parametrize(("model", "given"), [("sd15", "sdxl"), ("sdxl", "sd15"), ("sd21", "sdxl")])
def test_a_folder_of_another_family_is_refused_by_name(
    model: str, given: str, pipelines: Mapping[str, Path], load: Any
) -> None:
    with pytest.raises(ModelError, match=f"given for model {model}.*like sd"):
        load(model, named(model, pipelines[given]))


def test_words_of_another_width_tell_15_and_2_apart(copy: Any, load: Any) -> None:
    folder = copy("sd15")
    settings = folder / "unet" / "config.json"
    settings.write_text(
        json.dumps(json.loads(settings.read_text()) | {"cross_attention_dim": 1024})
    )

    with pytest.raises(ModelError, match="like sd21"):
        load("sd15", named("sd15", folder))


def test_another_kind_of_pipeline_is_refused(copy: Any, load: Any) -> None:
    folder = copy("sd15")
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "FluxPipeline"}))

    with pytest.raises(ModelError, match="FluxPipeline"):
        load("sd15", named("sd15", folder))


def test_a_network_for_other_channels_is_refused(copy: Any, load: Any) -> None:
    folder = copy("sd15")
    settings = folder / "unet" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"in_channels": 8}))

    with pytest.raises(ModelError, match="8 channels"):
        load("sd15", named("sd15", folder))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_folder_that_lacks_weights_says_which(part: str, copy: Any, load: Any) -> None:
    folder = copy("sd15")
    for file in (folder / part).glob("*.safetensors"):
        file.unlink()

    with pytest.raises(ModelError, match=f"lacks the weights of {part}.*models download sd15"):
        load("sd15", named("sd15", folder))


def test_a_folder_that_is_no_pipeline_is_refused(load: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model_index\.json cannot be read"):
        load("sd15", named("sd15", tmp_path))


def test_damaged_weights_are_refused_without_naming_a_place(copy: Any, load: Any) -> None:
    folder = copy("sd15")
    (file,) = (folder / "unet").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:1000])

    with pytest.raises(ModelError, match="sd15-inpainting cannot be loaded") as caught:
        load("sd15", named("sd15", folder))

    assert str(folder.parent) not in str(caught.value)


def test_a_folder_in_half_precision_alone_is_taken(
    copy: Any, load: Any, paint_with: Any, scene: Any
) -> None:
    import torch
    from diffusers import StableDiffusionInpaintPipeline

    folder = copy("sd15")
    pipe = StableDiffusionInpaintPipeline.from_pretrained(folder, local_files_only=True)
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    pipe.to(dtype=torch.float16).save_pretrained(folder, variant="fp16")
    assert all(".fp16" in file.name for file in folder.rglob("*.safetensors"))

    (result,) = paint_with(load("sd15", named("sd15", folder)), scene, {"steps": 1})

    assert not np.array_equal(result, scene.image)


def test_a_safety_checker_is_left_out(copy: Any, load: Any) -> None:
    folder = copy("sd15")
    index = folder / "model_index.json"
    checker = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index.write_text(json.dumps(json.loads(index.read_text()) | {"safety_checker": checker}))

    _, model = load("sd15", named("sd15", folder))

    assert model._pipe.safety_checker is None


def test_missing_weights_name_the_command_that_fetches_them(load: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match="`paintmq models download sd15-inpainting`"):
        load("sd15", WeightsConfig(folder=str(tmp_path)))
