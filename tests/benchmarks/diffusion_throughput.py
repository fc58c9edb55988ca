"""Pictures a second of sd15 and sdxl through the whole system, beside the bare pipeline in a loop.

    python -m tests.benchmarks.diffusion_throughput [--tiny] [--families sd15 sdxl] [--steps 20]
                                                    [--pictures 8] [--rounds 3] [--threads N]

Weights are random and of full size (``--tiny``: tiny, for a CPU), pictures 512 x 512 for sd15 and
1024 x 1024 for sdxl, arrays in and arrays out, embedded broker, one worker process. The pipeline
runs in a process of its own, with the same weights, precision, options and threads. The rounds take
turns, so that whatever else the machine does meets all of them alike:

bare       the pipeline, one picture a call, in a loop
one by one tasks that may not share a run, all submitted at once
batched    the same number of tasks that may

Printed a family and way: pictures a second over all rounds, its ratio to bare, processor seconds a
picture (of all processes that take part), and the memory that the process with the model in it came
to hold: resident on a CPU, else of the GPU. Needs ``paintmq[diffusion]``. A GPU is used if there is
one, and has to hold the weights twice.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types
from attrs import asdict, define, field, frozen
from numpy.typing import NDArray

from tests.benchmarks.page import run_with_page

SIDES = {"sd15": 512, "sd21": 512, "sdxl": 1024}
PROMPTS = ("a cat on a sofa", "a red car", "grass", "the sea at night")
LIBRARIES = ("torch", "diffusers", "transformers", "numpy")


@frozen(kw_only=True)
class Case:
    """What is measured."""

    family: str
    weights: Path
    steps: int
    pictures: int
    cuda: bool
    threads: int

    @property
    def side(self) -> int:
        return SIDES[self.family]

    def options(self, number: int) -> dict[str, Any]:
        return {"prompt": PROMPTS[number % len(PROMPTS)], "seed": number, "steps": self.steps}


@frozen
class Round:
    """One way's share of a round."""

    seconds: float
    processor_seconds: float


@define
class Way:
    """One way of painting, over all rounds."""

    name: str
    run: Callable[[], Round]
    memory_mb: Callable[[], int]
    rounds: list[Round] = field(factory=list[Round])

    def rate(self, pictures: int) -> float:
        return pictures * len(self.rounds) / sum(each.seconds for each in self.rounds)

    def cost(self, pictures: int) -> float:
        used = sum(each.processor_seconds for each in self.rounds)
        return used / (pictures * len(self.rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="tiny networks, for a CPU")
    parser.add_argument("--families", nargs="+", choices=SIDES, default=["sd15", "sdxl"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=8, help="a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        values = json.loads(arguments.bare)
        serve_bare(Case(**values | {"weights": Path(values["weights"])}))
        return
    cuda = describe_machine()
    for family in arguments.families:
        with tempfile.TemporaryDirectory() as folder:
            case = Case(
                family=family,
                weights=make_weights(Path(folder), family, tiny=arguments.tiny, cuda=cuda),
                steps=arguments.steps,
                pictures=arguments.pictures,
                cuda=cuda,
                threads=arguments.threads,
            )
            measure(case, arguments.rounds)


def describe_machine() -> bool:
    """Print what is measured on; return whether a GPU is used."""
    import torch

    cuda = bool(torch.cuda.is_available())
    device = torch.cuda.get_device_name() if cuda else f"{platform.machine()} CPU"
    print(f"{device}, {os.cpu_count()} cores, Python {platform.python_version()}, ", end="")
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    return cuda


def make_weights(root: Path, family: Any, *, tiny: bool, cuda: bool) -> Path:
    import torch

    from paintmq_plugins.generated_weights.pipelines import save_full_pipeline, save_tiny_pipeline

    folder = root / f"{family}-inpainting"
    if tiny:
        return save_tiny_pipeline(folder, family)
    with torch.device("cuda" if cuda else "cpu"):
        save_full_pipeline(folder, family)
    if cuda:
        torch.cuda.empty_cache()
    return folder


def measure(case: Case, rounds: int) -> None:
    print(f"{case.family}, {case.side} x {case.side}, {case.steps} steps, ", end="")
    print(f"{rounds} rounds of {case.pictures} pictures")
    with bare_pipeline(case) as bare, whole_system(case) as ways:
        everything = [bare, *ways]
        for way in everything:
            way.run()  # what is loaded, compiled or allocated once is not counted
        for _ in range(rounds):
            for way in everything:
                way.rounds.append(way.run())
        for way in everything:
            rate, cost = way.rate(case.pictures), way.cost(case.pictures)
            ratio = rate / bare.rate(case.pictures)
            print(
                f"  {way.name:10}  {rate:7.3f} pictures/s  {ratio:5.2f} x bare"
                f"  {cost:7.2f} processor s a picture  {way.memory_mb():6} MB",
                flush=True,
            )


def scene(side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : side // 2, side // 4 : side // 2] = 255
    return image, mask


# ---- the bare pipeline, in a process of its own ------------------------------------------------


@contextmanager
def bare_pipeline(case: Case) -> Iterator[Way]:
    order = json.dumps(asdict(case), default=str)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.diffusion_throughput", "--bare", order],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    commands, answers = process.stdin, process.stdout
    memory = 0

    def run() -> Round:
        nonlocal memory
        commands.write("run\n")
        commands.flush()
        answer = json.loads(answers.readline())
        memory = answer.pop("memory_mb")
        return Round(**answer)

    try:
        yield Way("bare", run, lambda: memory)
    finally:
        commands.close()
        process.wait()


def serve_bare(case: Case) -> None:
    """Paint a round for each line on standard input, as a script without PaintMQ would."""
    import torch
    from diffusers import AutoPipelineForInpainting, UniPCMultistepScheduler
    from PIL import Image

    torch.set_num_threads(case.threads)
    dtype = torch.float16 if case.cuda else torch.float32
    pipe = AutoPipelineForInpainting.from_pretrained(
        str(case.weights), dtype=dtype, local_files_only=True, safety_checker=None
    ) if case.family != "sdxl" else AutoPipelineForInpainting.from_pretrained(
        str(case.weights), dtype=dtype, local_files_only=True
    )  # fmt: skip
    pipe.to("cuda" if case.cuda else "cpu")
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    image, mask = scene(case.side)
    for _ in sys.stdin:
        started, used = time.perf_counter(), time.process_time()
        for number in range(case.pictures):
            options = case.options(number)
            with torch.inference_mode():
                painted = pipe(
                    prompt=options["prompt"],
                    negative_prompt="",
                    image=Image.fromarray(image),
                    mask_image=Image.fromarray(mask),
                    height=case.side,
                    width=case.side,
                    num_inference_steps=case.steps,
                    guidance_scale=7.5,
                    strength=0.999 if case.family == "sdxl" else 1.0,
                    generator=torch.Generator("cpu").manual_seed(options["seed"]),
                    output_type="np",
                ).images[0]
            np.rint(painted * 255).astype(np.uint8)
        answer = {
            "seconds": time.perf_counter() - started,
            "processor_seconds": time.process_time() - used,
            "memory_mb": memory_of(os.getpid(), cuda=case.cuda),
        }
        print(json.dumps(answer), flush=True)


# ---- the whole system --------------------------------------------------------------------------


@contextmanager
def whole_system(case: Case) -> Iterator[list[Way]]:
    from paintmq.client.task import Task
    from paintmq.config import WeightsConfig, WorkersConfig
    from paintmq.queue_manager import QueueManager
    from paintmq.testing.embedded_manager import config_on_free_ports

    image, mask = scene(case.side)
    device = "cuda" if case.cuda else "cpu"
    settings = config_on_free_ports(
        weights=WeightsConfig(folder=str(case.weights.parent)),
        workers=WorkersConfig(count=1, threads=case.threads),
    )
    with QueueManager(settings) as manager, Peak(cuda=case.cuda) as peak:

        def run(*, apart: bool) -> Round:
            started, used = time.perf_counter(), processor_seconds()
            handles = []
            for number in range(case.pictures):
                options = case.options(number)
                if apart:  # guidance that differs by nothing to speak of keeps tasks apart
                    options["guidance_scale"] = 7.5 + number / 1000
                config = {"model": case.family, "device": device, **options}
                task = Task("inpaint", config, {"image": image, "mask": mask})
                handles.append(manager.send_task(manager.route_task(task), task))
            for handle in handles:
                assert handle.result(timeout=3600).image.shape == image.shape
            return Round(time.perf_counter() - started, processor_seconds() - used)

        def memory() -> int:
            return peak.mb

        yield [
            Way("one by one", lambda: run(apart=True), memory),
            Way("batched", lambda: run(apart=False), memory),
        ]


def hosts() -> list[Any]:
    """Return the worker processes of this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "paintmq.worker.host" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def processor_seconds() -> float:
    """Return what this process (client, broker, node) and its workers have used so far."""
    processes = [psutil.Process(), *hosts()]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


class Peak:
    """Watches the memory of the worker."""

    def __init__(self, *, cuda: bool) -> None:
        self.mb = 0
        self._cuda = cuda
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            for process in hosts():
                self.mb = max(self.mb, memory_of(process.pid, cuda=self._cuda))


def memory_of(pid: int, *, cuda: bool) -> int:
    """Return the megabytes that a process holds: of the GPU, else resident."""
    if not cuda:
        try:
            return int(psutil.Process(pid).memory_info().rss // 2**20)
        except psutil.Error:
            return 0
    import pynvml  # type: ignore[import-untyped]  # it ships no types

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return sum(int(each.usedGpuMemory or 0) // 2**20 for each in running if each.pid == pid)


if __name__ == "__main__":
    run_with_page(main)
