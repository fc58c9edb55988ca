"""Inpainting by OpenCV: no weights, milliseconds on a CPU, good for scratches and small spots."""

from collections.abc import Callable
from typing import Literal

from attrs import field, frozen, validators

from paintmq.model import InputSpec, Job, ModelSpec, Needs


@frozen(kw_only=True)
class OpenCvOptions:
    """How OpenCV fills the mask."""

    algorithm: Literal["ns", "telea"] = field(
        default="ns",
        metadata={"help": "ns: Navier-Stokes, smoother; telea: fast marching, a little quicker"},
    )
    radius: float = field(
        default=4.0,
        validator=[validators.ge(1.0), validators.le(100.0)],
        metadata={"help": "pixels around each point that count for it"},
    )


def needs(job: Job) -> Needs:
    """Return the memory one image takes, and a core: OpenCV's inpainting uses a single thread."""
    # Input, mask, result, and the float distance maps of the fast marching method.
    return Needs(memory_mb=128 + job.pixels * 48 // 2**20, cores=1)


def run_seconds(job: Job) -> float:
    """Estimate for a tenth of the image masked: 0.15 microseconds a pixel, more by the radius."""
    options: OpenCvOptions = job.options
    return 0.003 + job.pixels * 1.5e-8 * (6.0 + options.radius)


SPEC = ModelSpec(
    name="opencv",
    implementation="paintmq_plugins.opencv_model:OpenCvInpainting",
    task_types=("inpaint",),
    summary="Inpainting by OpenCV: Navier-Stokes or Telea, for scratches and small spots",
    licence="Apache-2.0",
    options=OpenCvOptions,
    inputs=(
        InputSpec(name="image", summary="the picture, 8 or 16 bits, with or without alpha"),
        InputSpec(
            name="mask",
            kind="mask",
            summary="white where the picture is to be filled, but not all of it",
            needs_surroundings=True,
        ),
    ),
    devices=("cpu",),
    effort="light",
    needs=needs,
    load_seconds=0.2,
    run_seconds=run_seconds,
    resident_mb=1,
    run_limit=120.0,
)


def paintmq_register_models(register: Callable[[ModelSpec], None]) -> None:
    register(SPEC)
