"""LaMa: fills large masks by a network of Fourier convolutions; good at textures and lines."""

from collections.abc import Callable

from paintmq.model import Job, ModelSpec, Needs, WeightFile
from paintmq.units import MIB
from paintmq_plugins.erase_options import ERASE_INPUTS, EraseOptions, size_at_once


def _pixels_at_once(job: Job) -> int:
    longer, shorter = size_at_once(job)
    return longer * shorter


def needs(job: Job) -> Needs:
    """0.19 GiB of weights and 0.67 GiB of activations a megapixel, with a quarter on top."""
    activations = 860 * _pixels_at_once(job) // 2**20
    if job.device == "cuda":
        return Needs(gpu_memory_mb=850 + activations, memory_mb=1024)
    return Needs(memory_mb=700 + activations * 2, cores=2)


def run_seconds(job: Job) -> float:
    """On a CPU 56 CPU-seconds a megapixel were measured; a GPU is taken to be 50 times as fast."""
    seconds = 0.1 + 28 * _pixels_at_once(job) / MIB
    return seconds if job.device == "cpu" else seconds / 50


def spec(name: str, summary: str, weights: WeightFile) -> ModelSpec:
    return ModelSpec(
        name=name,
        implementation="paintmq_plugins.lama_model:LamaInpainting",
        summary=summary,
        licence="Apache-2.0",
        options=EraseOptions,
        inputs=ERASE_INPUTS,
        devices=("cuda", "cpu"),
        effort="intensive",
        run_limit=3600.0,
        stall_limit=900.0,  # one run of the network on a slow CPU
        needs=needs,
        load_seconds=2.0,
        run_seconds=run_seconds,
        resident_mb=250,
        requires=("torch", "spandrel", "safetensors"),
        extra="paintmq[lama]",
        weights=(weights,),
    )


LAMA = spec(
    "lama",
    "Inpainting by LaMa: large masks, textures, lines",
    WeightFile(
        name="big-lama.pt",
        url="https://github.com/Sanster/models/releases/download/add_big_lama/big-lama.pt",
        md5="e3aa4aaa15225a33ec84f9f4bc47e500",
        licence="Apache-2.0",
        source="LaMa's big-lama, as TorchScript by IOPaint's author",
    ),
)
ANIME_LAMA = spec(
    "anime-lama",
    "Inpainting by LaMa, trained on drawings",
    WeightFile(
        name="anime-manga-big-lama.pt",
        url="https://github.com/Sanster/models/releases/download/AnimeMangaInpainting/"
        "anime-manga-big-lama.pt",
        md5="29f284f36a0a510bcacf39ecf4c4d54f",
        licence="Apache-2.0",
        source="LaMa trained on drawings, as TorchScript by IOPaint's author",
    ),
)


def paintmq_register_models(register: Callable[[ModelSpec], None]) -> None:
    register(LAMA)
    register(ANIME_LAMA)
