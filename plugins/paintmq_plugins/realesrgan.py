"""Real-ESRGAN: enlarges pictures, tile by tile. Four networks, from the best to the quickest."""

from collections.abc import Callable
from pathlib import Path

from attrs import field, frozen, validators

from paintmq.model import InputSpec, Job, ModelSpec, Needs, WeightFile
from paintmq.units import MIB

_RELEASES = "https://github.com/xinntao/Real-ESRGAN/releases/download"
NETWORK_SCALE = 4
"""How much every one of the networks enlarges; other factors are resized from that."""


@frozen(kw_only=True)
class UpscaleOptions:
    """How much a picture is enlarged, and in which pieces."""

    scale: float = field(
        default=2.0,
        validator=[validators.ge(1.0), validators.le(4.0)],
        metadata={"help": "how many times as wide and as high the result is"},
    )
    tile: int = field(
        default=512,
        validator=[validators.ge(0), validators.le(4096)],
        metadata={"help": "side of the tiles in pixels; 0 takes the picture whole"},
    )
    overlap: int = field(
        default=10,
        validator=[validators.ge(0), validators.le(128)],
        metadata={"help": "pixels around a tile that the network sees too"},
    )


def weight_problem(file: WeightFile, path: Path) -> str:
    """Say whether the file holds a network that does something else, or enlarges otherwise."""
    from paintmq_plugins.weight_shapes import network_problem

    return network_problem(path, family="enlarger", scale=NETWORK_SCALE)


@frozen
class _Cost:
    """Of a network: seconds of a CPU core a megapixel, and GPU memory in megabytes of a tile."""

    core_seconds: float
    memory_mb: float


def _spec(name: str, summary: str, cost: _Cost, weights: WeightFile) -> ModelSpec:
    def needs(job: Job) -> Needs:
        options: UpscaleOptions = job.options
        whole = max(1, job.pixels)
        tile = min(whole, (options.tile + 2 * options.overlap) ** 2) if options.tile else whole
        activations = int(cost.memory_mb * tile / 532**2)
        # The result at four times the size, as floats and as bytes.
        result = whole * NETWORK_SCALE**2 * 3 * 9 // 2**20
        if job.device == "cuda":
            return Needs(gpu_memory_mb=850 + activations, memory_mb=512 + result)
        return Needs(memory_mb=500 + activations * 2 + result, cores=2)

    def run_seconds(job: Job) -> float:
        seconds = 0.05 + cost.core_seconds / 2 * job.pixels / MIB
        return seconds if job.device == "cpu" else seconds / 50

    def result_bytes(job: Job) -> int:
        options: UpscaleOptions = job.options
        return int(job.pixels * options.scale**2) * 3

    return ModelSpec(
        name=name,
        implementation="paintmq_plugins.realesrgan_model:RealEsrganUpscaling",
        task_types=("plugin",),
        summary=summary,
        licence="BSD-3-Clause",
        options=UpscaleOptions,
        inputs=(InputSpec(name="image", summary="the picture; alpha is enlarged with it"),),
        devices=("cuda", "cpu"),
        effort="intensive",
        run_limit=3600.0,
        stall_limit=900.0,  # one tile on a slow CPU
        needs=needs,
        load_seconds=1.0,
        run_seconds=run_seconds,
        result_bytes=result_bytes,
        resident_mb=80,
        requires=("torch", "spandrel", "safetensors"),
        extra="paintmq[realesrgan]",
        weights=(weights,),
        weight_problem=weight_problem,
    )


def _file(name: str, release: str, md5: str = "", size: int = 0) -> WeightFile:
    return WeightFile(
        name=name,
        url=f"{_RELEASES}/{release}/{name}",
        md5=md5,
        size=size,
        licence="BSD-3-Clause",
        source="the releases of Real-ESRGAN",
    )


SPECS = (
    _spec(
        "realesrgan",
        "Enlarging by Real-ESRGAN x4plus: photographs, slow and good",
        _Cost(960, 2160),
        _file("RealESRGAN_x4plus.pth", "v0.1.0", "99ec365d4afad750833258a1a24f44ca"),
    ),
    _spec(
        "realesrgan-anime",
        "Enlarging by Real-ESRGAN x4plus-anime: drawings",
        _Cost(230, 800),
        _file("RealESRGAN_x4plus_anime_6B.pth", "v0.2.2.4", "d58ce384064ec1591c2ea7b79dbf47ba"),
    ),
    _spec(
        "realesrgan-general",
        "Enlarging by Real-ESRGAN general-x4v3: photographs, quick",
        _Cost(32, 140),
        _file("realesr-general-x4v3.pth", "v0.2.5.0", "91a7644643c884ee00737db24e478156"),
    ),
    _spec(
        "realesrgan-video",
        "Enlarging by Real-ESRGAN animevideov3: drawings, the quickest",
        _Cost(34, 140),
        _file("realesr-animevideov3.pth", "v0.2.5.0"),
    ),
)


def paintmq_register_models(register: Callable[[ModelSpec], None]) -> None:
    for spec in SPECS:
        register(spec)
