"""ZITS: finds edges and straight lines first and fills by them; good at buildings and rooms."""

from collections.abc import Callable

from attrs import field, frozen

from paintmq.model import Job, ModelSpec, Needs, WeightFile
from paintmq.units import MIB
from paintmq_plugins.erase_options import ERASE_INPUTS, EraseOptions, size_at_once

_RELEASE = "https://github.com/Sanster/models/releases/download/add_zits"
LICENCE = "not settled: ZITS says nothing of its weights; it is built on LaMa (Apache-2.0)"


@frozen(kw_only=True)
class ZitsOptions(EraseOptions):
    """How ZITS works."""

    wireframe: bool = field(
        default=True, metadata={"help": "find edges and straight lines first, and fill by them"}
    )


def _pixels_at_once(job: Job) -> int:
    """Return the pixels of the square that it pads to."""
    longer, _ = size_at_once(job)
    return longer * longer


def needs(job: Job) -> Needs:
    """A guess: like LaMa, and three small networks; its weights could not be measured."""
    activations = 1000 * _pixels_at_once(job) // 2**20
    if job.device == "cuda":
        return Needs(gpu_memory_mb=1500 + activations, memory_mb=1024)
    return Needs(memory_mb=1500 + activations * 2, cores=2)


def run_seconds(job: Job) -> float:
    seconds = 3.0 + 30 * _pixels_at_once(job) / MIB
    return seconds if job.device == "cpu" else seconds / 30


def _file(part: str, md5: str) -> WeightFile:
    name = f"zits-{part}-0717.pt"
    return WeightFile(
        name=name,
        url=f"{_RELEASE}/{name}",
        md5=md5,
        licence=LICENCE,
        source="ZITS, as TorchScript by IOPaint's author",
    )


SPEC = ModelSpec(
    name="zits",
    implementation="paintmq_plugins.zits_model:ZitsInpainting",
    summary="Inpainting by ZITS: edges and lines first, for buildings and rooms",
    licence=LICENCE,
    options=ZitsOptions,
    inputs=ERASE_INPUTS,
    devices=("cuda", "cpu"),
    effort="intensive",
    run_limit=3600.0,
    stall_limit=900.0,  # one run of the network on a slow CPU
    needs=needs,
    load_seconds=5.0,
    run_seconds=run_seconds,
    resident_mb=1000,
    requires=("torch", "skimage", "safetensors"),
    extra="paintmq[zits]",
    weights=(
        _file("wireframe", "a9727c63a8b48b65c905d351b21ce46b"),
        _file("edge-line", "55e31af21ba96bbf0c80603c76ea8c5f"),
        _file("structure-upsample", "3d88a07211bd41b2ec8cc0d999f29927"),
        _file("inpaint", "9978cc7157dc29699e42308d675b2154"),
    ),
)


def paintmq_register_models(register: Callable[[ModelSpec], None]) -> None:
    register(SPEC)
