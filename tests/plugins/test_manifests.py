"""What the manifests promise: weights with checksums, licences in words, estimates that grow."""

import pytest

from paintmq.model import Job, ModelSpec
from paintmq.task import PayloadInfo
from paintmq_plugins import background, fcf, gfpgan, lama, mat, realesrgan, zits

SPECS = (
    lama.LAMA,
    lama.ANIME_LAMA,
    mat.SPEC,
    fcf.SPEC,
    zits.SPEC,
    gfpgan.SPEC,
    *realesrgan.SPECS,
    *background.SPECS,
)
EVERY = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def job(spec: ModelSpec, side: int, device: str) -> Job:
    info = PayloadInfo(name="image", size=1, digest="", kind="file", width=side, height=side)
    return Job(device=device, options=spec.options(), inputs=(info,))  # type: ignore[arg-type]  # one of two


@EVERY
def test_every_weight_file_says_where_it_comes_from_and_what_its_licence_is(
    spec: ModelSpec,
) -> None:
    assert spec.weights
    for file in spec.weights:
        assert file.url.startswith("https://")
        assert file.licence
        assert file.source


@EVERY
def test_what_is_code_once_loaded_has_a_checksum(spec: ModelSpec) -> None:
    for file in spec.weights:
        if file.name.endswith(".pt"):
            assert file.sha256 or file.md5


@EVERY
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_needs_never_shrink_with_the_picture(spec: ModelSpec, device: str) -> None:
    small, large = (spec.needs(job(spec, side, device)) for side in (256, 4096))

    assert 0 < small.memory_mb <= large.memory_mb
    assert small.gpu_memory_mb <= large.gpu_memory_mb < 65_536
    assert (small.gpu_memory_mb > 0) == (device == "cuda")


@EVERY
def test_a_gpu_is_preferred_and_expected_to_be_quicker(spec: ModelSpec) -> None:
    assert spec.devices == ("cuda", "cpu")
    quick, slow = (spec.run_seconds(job(spec, 512, device)) for device in ("cuda", "cpu"))
    assert 0 < quick < slow


@pytest.mark.parametrize("spec", [mat.SPEC, fcf.SPEC], ids=lambda spec: spec.name)
def test_non_commercial_models_say_so_in_their_summary_and_licence(spec: ModelSpec) -> None:
    assert "non-commercial" in spec.summary
    assert spec.licence.startswith("non-commercial")
    assert all(file.licence.startswith("non-commercial") for file in spec.weights)
