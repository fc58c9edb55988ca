"""MAT: fills large holes by a transformer that knows 512 x 512 scenes. Non-commercial."""

from collections.abc import Callable

from attrs import field, frozen, validators

from paintmq.model import Job, ModelSpec, Needs, WeightFile
from paintmq_plugins.erase_options import ERASE_INPUTS, EraseOptions, size_at_once

LICENCE = "non-commercial: research only (MAT's README; NVIDIA Source Code License in its parts)"


@frozen(kw_only=True)
class MatOptions(EraseOptions):
    """MAT was trained on 512 x 512, and computes a square whatever the picture's shape."""

    resize_limit: int = field(
        default=1024,
        validator=[validators.ge(64)],
        metadata={
            "help": "resize where the longer side has more pixels, to so many; so is a crop that"
            " large; memory grows with each 512"
        },
    )


def _squares(job: Job) -> int:
    """Return how many squares of 512 pixels the network computes: it pads to a large square."""
    longer, _ = size_at_once(job)
    side = max(1, -(-longer // 512))
    return side * side


def needs(job: Job) -> Needs:
    """0.23 GiB of weights and 0.99 GiB of activations at 512 x 512, with a quarter on top."""
    activations = 1270 * _squares(job)
    if job.device == "cuda":
        return Needs(gpu_memory_mb=900 + activations, memory_mb=1024)
    return Needs(memory_mb=900 + activations, cores=2)


def run_seconds(job: Job) -> float:
    seconds = 10.0 * _squares(job)
    return seconds if job.device == "cpu" else seconds / 50


SPEC = ModelSpec(
    name="mat",
    implementation="paintmq_plugins.mat_model:MatInpainting",
    summary="Inpainting by MAT: large holes in scenes; non-commercial licence",
    licence=LICENCE,
    options=MatOptions,
    inputs=ERASE_INPUTS,
    devices=("cuda", "cpu"),
    effort="intensive",
    run_limit=3600.0,
    stall_limit=900.0,  # one run of the network on a slow CPU
    needs=needs,
    load_seconds=4.0,
    run_seconds=run_seconds,
    resident_mb=300,
    requires=("torch", "spandrel", "spandrel_extra_arches", "safetensors"),
    extra="paintmq[mat]",
    weights=(
        WeightFile(
            name="Places_512_FullData_G.pth",
            url="https://github.com/Sanster/models/releases/download/add_mat/"
            "Places_512_FullData_G.pth",
            md5="8ca927835fa3f5e21d65ffcb165377ed",
            licence=LICENCE,
            source="MAT's generator trained on Places365",
        ),
    ),
)


def paintmq_register_models(register: Callable[[ModelSpec], None]) -> None:
    register(SPEC)
