"""Background removal by networks in ONNX: cut-outs, masks, or a new background colour."""

from collections.abc import Callable
from typing import Literal

from attrs import field, frozen, validators

from paintmq.model import InputSpec, Job, ModelSpec, Needs, WeightFile
from paintmq.units import MIB

_RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_SPREAD = (0.229, 0.224, 0.225)


@frozen(kw_only=True)
class BackgroundOptions:
    """What becomes of the background."""

    output: Literal["cutout", "mask"] = field(
        default="cutout",
        metadata={"help": "cutout: the picture, transparent behind; mask: white in front, grey"},
    )
    background: str = field(
        default="",
        validator=validators.matches_re(r"(#[0-9a-fA-F]{6})?"),
        metadata={"help": "colour to lay the cut-out on, such as #ffffff; empty: transparent"},
    )
    alpha_matting: bool = field(
        default=False, metadata={"help": "find soft edges, such as hair; slow"}
    )
    foreground_threshold: int = field(
        default=240,
        validator=[validators.ge(1), validators.le(255)],
        metadata={"help": "for matting: surely in front above this"},
    )
    background_threshold: int = field(
        default=10,
        validator=[validators.ge(0), validators.le(254)],
        metadata={"help": "for matting: surely behind below this"},
    )
    erode: int = field(
        default=10,
        validator=[validators.ge(0), validators.le(100)],
        metadata={"help": "for matting: pixels along the edge that count as unsure"},
    )


@frozen(kw_only=True)
class Preparation:
    """How a network wants its picture."""

    side: int
    mean: tuple[float, float, float]
    spread: tuple[float, float, float]


_ISNET = Preparation(side=1024, mean=(0.5, 0.5, 0.5), spread=(1.0, 1.0, 1.0))
_ISNET_ANIME = Preparation(side=1024, mean=_IMAGENET_MEAN, spread=(1.0, 1.0, 1.0))
_U2NET = Preparation(side=320, mean=_IMAGENET_MEAN, spread=_IMAGENET_SPREAD)


def needs(job: Job) -> Needs:
    options: BackgroundOptions = job.options
    matting = job.pixels * 900 // 2**20 if options.alpha_matting else 0
    picture = job.pixels * 24 // 2**20
    if job.device == "cuda":
        return Needs(gpu_memory_mb=3072, memory_mb=1024 + picture + matting)
    return Needs(memory_mb=1600 + picture + matting, cores=2)


def _spec(
    name: str, summary: str, seconds: float, file: str, md5: str, licence: str = "Apache-2.0"
) -> ModelSpec:
    def run_seconds(job: Job) -> float:
        options: BackgroundOptions = job.options
        matting = 2.0 + job.pixels / MIB * 20 if options.alpha_matting else 0.0
        return (seconds if job.device == "cpu" else seconds / 20) + matting

    return ModelSpec(
        name=name,
        implementation="paintmq_plugins.background_model:BackgroundRemoval",
        task_types=("plugin",),
        summary=summary,
        licence=licence,
        options=BackgroundOptions,
        inputs=(InputSpec(name="image", summary="the picture"),),
        devices=("cuda", "cpu"),
        effort="intensive",
        stall_limit=600.0,  # the first matting compiles its library, for minutes
        needs=needs,
        load_seconds=1.5,
        run_seconds=run_seconds,
        resident_mb=400,
        requires=("onnxruntime",),
        extra="paintmq[rembg]",
        weights=(
            WeightFile(
                name=file,
                url=f"{_RELEASE}/{file}",
                md5=md5,
                licence=licence,
                source="the releases of rembg",
            ),
        ),
    )


PREPARATIONS = {
    "rembg": _ISNET,
    "anime-seg": _ISNET_ANIME,
    "rembg-u2net": _U2NET,
    "rembg-u2netp": _U2NET,
    "rembg-silueta": _U2NET,
}
"""By model."""

SPECS = (
    _spec(
        "rembg",
        "Background removal by IS-Net, for anything",
        2.5,
        "isnet-general-use.onnx",
        "fc16ebd8b0c10d971d3513d564d01e29",
    ),
    _spec(
        "anime-seg",
        "Background removal by IS-Net, trained on drawn figures",
        2.5,
        "isnet-anime.onnx",
        "6f184e756bb3bd901c8849220a83e38e",
    ),
    _spec(
        "rembg-u2net",
        "Background removal by U2-Net, for anything",
        1.0,
        "u2net.onnx",
        "60024c5c889badc19c04ad937298a77b",
    ),
    _spec(
        "rembg-u2netp",
        "Background removal by a small U2-Net, quick",
        0.3,
        "u2netp.onnx",
        "8e83ca70e441ab06c318d82300c84806",
    ),
    _spec(
        "rembg-silueta",
        "Background removal by a U2-Net cut down to 43 MB",
        1.0,
        "silueta.onnx",
        "55e59e0d8062d2f5d013f4725ee84782",
    ),
)


def paintmq_register_models(register: Callable[[ModelSpec], None]) -> None:
    for spec in SPECS:
        register(spec)
