"""FcF: fills repeating structures well, region by region at 512 x 512. Non-commercial."""

from collections.abc import Callable

from paintmq.model import Job, ModelSpec, Needs, WeightFile
from paintmq_plugins.erase_options import ERASE_INPUTS, FeatherOptions

LICENCE = "non-commercial: NVIDIA Source Code License in its StyleGAN2 parts, else Apache-2.0"


def needs(job: Job) -> Needs:
    if job.device == "cuda":
        return Needs(gpu_memory_mb=2048, memory_mb=1024 + job.pixels * 30 // 2**20)
    return Needs(memory_mb=1800 + job.pixels * 30 // 2**20, cores=2)


SPEC = ModelSpec(
    name="fcf",
    implementation="paintmq_plugins.fcf_model:FcfInpainting",
    summary="Inpainting by FcF-Inpainting: repeating structures; non-commercial licence",
    licence=LICENCE,
    options=FeatherOptions,
    inputs=ERASE_INPUTS,
    devices=("cuda", "cpu"),
    effort="intensive",
    run_limit=3600.0,
    stall_limit=900.0,  # one run of the network on a slow CPU
    needs=needs,
    load_seconds=4.0,
    run_seconds=lambda job: 8.0 if job.device == "cpu" else 0.2,
    resident_mb=400,
    requires=("torch", "safetensors"),
    extra="paintmq[fcf]",
    weights=(
        WeightFile(
            name="places_512_G.pth",
            url="https://github.com/Sanster/models/releases/download/add_fcf/places_512_G.pth",
            md5="3323152bc01bf1c56fd8aba74435a211",
            licence=LICENCE,
            source="FcF's generator trained on Places2; needs the package iopaint for its"
            " architecture, or name a TorchScript copy in [weights.paths]",
        ),
    ),
)


def paintmq_register_models(register: Callable[[ModelSpec], None]) -> None:
    register(SPEC)
