"""How long a device idles between two tasks that wait for it, by their length and size.

A broker and a client here, a node of one worker as a process, and a model that sleeps. Prints a
line a case: what a task took beyond its sleep, all of which the device stood idle for.

    python -m tests.benchmarks.device_idle [--tasks 10]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from paintmq.client.task import Task
from tests.benchmarks.page import run_with_page
from tests.harness.trial_installation import AMPLE, TrialInstallation, trial_installation
from tests.harness.written_distribution import write_distribution

MODEL = """
    import time

    from attrs import frozen

    from paintmq.model import InputSpec, Model, ModelSpec


    @frozen(kw_only=True)
    class SleepOptions:
        seconds: float = 0.1


    class Sleeper(Model):
        def load(self, device):
            pass

        def run(self, batch, context):
            time.sleep(batch[0].options.seconds)
            return [{"image": request.inputs["image"]} for request in batch]


    def paintmq_register_models(register):
        register(
            ModelSpec(
                name="sleeper",
                implementation="sleeping:Sleeper",
                options=SleepOptions,
                inputs=(InputSpec(name="image"), InputSpec(name="mask", kind="mask")),
                run_seconds=lambda job: job.options.seconds,
            )
        )
    """


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10)
    count = parser.parse_args().tasks
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugins = write_distribution(
            folder / "plugins",
            "sleeping",
            entry_points={"trial": "sleeping"},  # the one that trial installations allow
            files={"sleeping.py": MODEL},
        )
        sys.path.insert(0, str(plugins))
        os.environ["XDG_RUNTIME_DIR"] = name
        with trial_installation(folder, "router") as trial:
            trial.start_node_process("node")
            for side in (8, 1672):  # 1672: a picture of 8 MiB
                for seconds in (0.1, 0.5, 2.0):
                    idle = measure(trial, side=side, seconds=seconds, count=count)
                    words = f"{side} x {side} pixels, {seconds:g} s a task"
                    print(f"{words}: idle for {idle * 1e3:.1f} ms between two", flush=True)


def measure(trial: TrialInstallation, *, side: int, seconds: float, count: int) -> float:
    image, mask = np.zeros((side, side, 3), np.uint8), np.full((side, side), 255, np.uint8)
    config = {"model": "sleeper", "seconds": seconds}
    tasks = [Task("inpaint", config, {"image": image, "mask": mask}) for _ in range(count + 2)]
    handles = [trial.client.submit(task) for task in tasks]
    handles[1].result(timeout=AMPLE)  # warm
    began = time.perf_counter()
    for handle in handles[2:]:
        handle.result(timeout=AMPLE)
    return (time.perf_counter() - began) / count - seconds


if __name__ == "__main__":
    run_with_page(main)
