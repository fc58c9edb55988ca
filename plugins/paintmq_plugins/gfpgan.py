"""GFPGAN: restores the faces of a picture and leaves the rest of it alone."""

from collections.abc import Callable
from pathlib import Path

from attrs import Attribute, field, frozen, validators

from paintmq.model import InputSpec, Job, ModelSpec, Needs, WeightFile

_RELEASE = "https://github.com/TencentARC/GFPGAN/releases/download/v1.3.0"
_ZOO = "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet"


def _ten_numbers(
    instance: object,
    attribute: "Attribute[tuple[tuple[float, ...], ...]]",
    value: tuple[tuple[float, ...], ...],
) -> None:
    if any(len(face) != 10 for face in value):
        raise ValueError("each face is ten numbers: x and y of eyes, nose and mouth corners")


@frozen(kw_only=True)
class FaceOptions:
    """Which faces are restored, and how much."""

    strength: float = field(
        default=1.0,
        validator=[validators.ge(0.0), validators.le(1.0)],
        metadata={"help": "how much of the restored face is used; 0 changes nothing"},
    )
    confidence: float = field(
        default=0.8,
        validator=[validators.ge(0.0), validators.le(1.0)],
        metadata={"help": "how sure the detector must be of a face"},
    )
    smallest: float = field(
        default=5.0,
        validator=[validators.ge(0.0)],
        metadata={"help": "pixels between the eyes; smaller faces are left alone"},
    )
    seed: int = field(
        default=0,
        validator=[validators.ge(0), validators.lt(2**63)],
        metadata={"help": "of the noise that gives skin its grain"},
    )
    faces: tuple[tuple[float, ...], ...] = field(
        default=(),
        validator=_ten_numbers,
        metadata={
            "help": "where the faces are, if you know: for each, x and y of the eye on the left,"
            " the eye on the right, the nose, the mouth's left and right corner"
        },
    )


def needs(job: Job) -> Needs:
    picture = job.pixels * 60 // 2**20
    if job.device == "cuda":
        return Needs(gpu_memory_mb=2048, memory_mb=1024 + picture)
    return Needs(memory_mb=1500 + picture, cores=2)


def weight_problem(file: WeightFile, path: Path) -> str:
    """Say whether the file holds a network that does something else."""
    from paintmq_plugins.weight_shapes import network_problem

    return network_problem(path, family="faces") if path.suffix != ".onnx" else ""


SPEC = ModelSpec(
    name="gfpgan",
    implementation="paintmq_plugins.gfpgan_model:FaceRestoration",
    task_types=("plugin",),
    summary="Face restoration by GFPGAN: every face found, or those you name",
    licence="Apache-2.0, with third-party StyleGAN2 parts",
    options=FaceOptions,
    inputs=(InputSpec(name="image", summary="the picture; alpha is kept"),),
    devices=("cuda", "cpu"),
    effort="intensive",
    stall_limit=300.0,  # one face on a slow CPU
    needs=needs,
    load_seconds=2.0,
    run_seconds=lambda job: 6.0 if job.device == "cpu" else 0.3,
    resident_mb=360,
    requires=("torch", "spandrel", "safetensors"),
    extra="paintmq[gfpgan]",
    weight_problem=weight_problem,
    weights=(
        WeightFile(
            name="GFPGANv1.4.pth",
            url=f"{_RELEASE}/GFPGANv1.4.pth",
            md5="94d735072630ab734561130a47bc44f8",
            licence="Apache-2.0",
            source="the releases of GFPGAN",
        ),
        WeightFile(
            name="face_detection_yunet_2023mar.onnx",
            url=f"{_ZOO}/face_detection_yunet_2023mar.onnx",
            sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            size=232_589,
            licence="MIT",
            source="OpenCV's model zoo",
        ),
    ),
)


def paintmq_register_models(register: Callable[[ModelSpec], None]) -> None:
    register(SPEC)
