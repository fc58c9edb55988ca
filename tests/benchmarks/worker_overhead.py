"""What a worker costs: small tasks a second, and large pictures a second, without a broker.

A scripted broker assigns to one node with one model host, whose model does next to nothing. Prints
one line a case: tasks a second, and processor time a task of node and host together.

    python -m tests.benchmarks.worker_overhead [--seconds 5]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types
from attrs import evolve

from paintmq.config import Config, QueueConfig, WorkersConfig
from paintmq.image import payload_of_array
from paintmq.node.capabilities import Capabilities
from paintmq.node.supervisor import NodeSupervisor
from paintmq.plugin.manager import PluginManager
from paintmq.wire.messages import AttemptSucceeded, WorkerHello
from tests.benchmarks.page import run_with_page
from tests.harness import trial_models
from tests.harness.scripted_broker import Job, ScriptedBroker, make_job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    for title, side, batch, ahead in [
        ("8 x 8 pixels, one by one", 8, 1, 2),
        ("8 x 8 pixels, batches of 8", 8, 8, 2),
        ("2048 x 2048 pixels, one by one", 2048, 1, 2),
    ]:
        measure(title, side=side, batch=batch, ahead=ahead, seconds=seconds)


def measure(title: str, *, side: int, batch: int, ahead: int, seconds: float) -> None:
    plugins = PluginManager()
    plugins.register(trial_models, "trial")
    template = make_picture(side)
    with ScriptedBroker() as broker, tempfile.TemporaryDirectory() as folder:
        node = NodeSupervisor(
            Config(queues={"cpu": QueueConfig()}, workers=WorkersConfig(count=1)),
            plugins,
            queue_endpoints={"cpu": broker.endpoint},
            name=Path(folder).name,
            capabilities=Capabilities(cores=1, memory_mb=8192),
        )
        node.start()
        broker.hear(WorkerHello)
        number, done, started, used = 0, 0, 0.0, 0.0
        for _ in range(ahead):
            broker.assign(*(evolve(template, number=number + each) for each in range(batch)))
            number += batch
        while not started or time.perf_counter() - started < seconds:
            succeeded, _ = broker.hear(AttemptSucceeded)
            broker.heard = [h for h in broker.heard if isinstance(h.message, AttemptSucceeded)]
            broker.record(succeeded)
            done += 1
            if done % batch == 0:
                broker.assign(*(evolve(template, number=number + each) for each in range(batch)))
                number += batch
            if not started and done == 8:  # warm
                done, started, used = 0, time.perf_counter(), processor_seconds()
        rate = done / (time.perf_counter() - started)
        cost = (processor_seconds() - used) / done
        print(f"{title}: {rate:,.0f} tasks/s, {cost * 1e6:,.0f} us of all processors a task")
        node.stop(grace=0.0)


def make_picture(side: int) -> Job:
    job = make_job(1)
    image = np.zeros((side, side, 3), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[: side // 4, : side // 4] = 255
    sent = [payload_of_array("image", image), payload_of_array("mask", mask)]
    infos, payloads = tuple(info for info, _ in sent), tuple(data for _, data in sent)
    return evolve(job, inputs=infos, payloads=payloads)


def processor_seconds() -> float:
    """Return what this process (broker, node) and its hosts have used so far."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


if __name__ == "__main__":
    run_with_page(main)
