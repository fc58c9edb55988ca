"""Pictures of 2048 x 2048 through ``opencv`` by several workers, beside a bare loop of processes.

    python -m tests.benchmarks.opencv_workers [--workers 4] [--seconds 8] [--durability memory full]

The bare loop is the same function in as many processes, which hold the picture and the mask already
and send nothing anywhere: what a service can reach at best. Both take turns, three times; prints
pictures a second, their ratio, and processor time a picture. A blot of the mask is 64 x 64 pixels.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from multiprocessing.queues import Queue
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray

from paintmq import Client, Task, TaskHandle, TaskType
from paintmq_plugins.opencv import OpenCvOptions
from paintmq_plugins.opencv_model import inpaint
from tests.benchmarks.page import run_with_page
from tests.harness.command_process import CommandProcess, private_environment

SIDE, BLOT = 2048, 64
ROUNDS = 3

Pixels = NDArray[np.uint8]


def picture(blots: int) -> tuple[Pixels, Pixels]:
    """Return noise, and a mask of so many blots all over it."""
    rng = np.random.default_rng(blots)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for left, top in rng.integers(0, SIDE - BLOT, (blots, 2)):
        mask[top : top + BLOT, left : left + BLOT] = 255
    return rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), mask


def bare_worker(blots: int, go: "Queue[float]", done: "Queue[tuple[int, float, float]]") -> None:
    """Fill the same picture over and over until the time that is given."""
    os.setsid()  # as the service's processes: Linux shares processors out by session first
    cv2.setNumThreads(1)
    image, mask = picture(blots)
    inpaint(image, mask, OpenCvOptions())
    done.put((1, 1.0, 0.0))
    while until := go.get():
        began, used, count = time.monotonic(), time.process_time(), 0
        while time.monotonic() < until:
            inpaint(image, mask, OpenCvOptions())
            count += 1
        done.put((count, time.monotonic() - began, time.process_time() - used))


class Bare:
    """The loop of processes; it waits while the service has its turn."""

    def __init__(self, blots: int, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._go, self._done = context.Queue(), context.Queue()
        arguments = (blots, self._go, self._done)
        self._workers = [
            context.Process(target=bare_worker, args=arguments) for _ in range(workers)
        ]
        for worker in self._workers:
            worker.start()
        for _ in self._workers:
            self._done.get()

    def run(self, seconds: float) -> tuple[float, float]:
        """Return pictures a second, and processor seconds each."""
        for _ in self._workers:
            self._go.put(time.monotonic() + seconds)
        done = [self._done.get() for _ in self._workers]
        rate = sum(count / wall for count, wall, _ in done)
        return rate, sum(used for _, _, used in done) / max(1, sum(count for count, _, _ in done))

    def close(self) -> None:
        for _ in self._workers:
            self._go.put(0.0)
        for worker in self._workers:
            worker.join()


class Service:
    """A broker and a node of so many workers, and its client, this process."""

    def __init__(self, stack: ExitStack, *, blots: int, workers: int, durability: str) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = private_environment(
            folder,
            PAINTMQ_BROKER__PORT="0",
            PAINTMQ_BROKER__DURABILITY=durability,
            PAINTMQ_WORKERS__COUNT=str(workers),
        )
        broker = stack.enter_context(CommandProcess(["broker"], environment))
        endpoint = broker.wait_for_line(r"tcp://[0-9.]+:\d+")[0]
        node = stack.enter_context(CommandProcess(["node", "--connect", endpoint], environment))
        self._parts = [psutil.Process(each.process.pid) for each in (broker, node)]
        self._client = stack.enter_context(Client(endpoint))
        self._image, self._mask = picture(blots)
        self._ahead = 2 * workers
        for handle in [self._submit() for _ in range(2 * self._ahead)]:
            handle.result()

    def run(self, seconds: float) -> tuple[float, float]:
        """Return pictures a second, and processor seconds each."""
        began, used, count = time.perf_counter(), self._processor_seconds(), 0
        under_way: deque[TaskHandle] = deque()
        while time.perf_counter() < began + seconds:
            while len(under_way) < self._ahead:
                under_way.append(self._submit())
            under_way.popleft().result()
            count += 1
        while under_way:
            under_way.popleft().result()
            count += 1
        spent = self._processor_seconds() - used
        return count / (time.perf_counter() - began), spent / count

    def _submit(self) -> TaskHandle:
        inputs = {"image": self._image, "mask": self._mask}
        return self._client.submit(Task(TaskType.INPAINT, {"model": "opencv"}, inputs))

    def _processor_seconds(self) -> float:
        tree = [each for top in self._parts for each in (top, *top.children(recursive=True))]
        return time.process_time() + sum(sum(each.cpu_times()[:2]) for each in tree)


def measure(blots: int, *, workers: int, seconds: float, durability: str) -> None:
    with ExitStack() as stack:
        service = Service(stack, blots=blots, workers=workers, durability=durability)
        bare = Bare(blots, workers)
        stack.callback(bare.close)
        rounds = [(bare.run(seconds), service.run(seconds)) for _ in range(ROUNDS)]
    ratio = median(ours[0] / alone[0] for alone, ours in rounds)
    alone, ours = (
        tuple(map(median, zip(*each, strict=True))) for each in zip(*rounds, strict=True)
    )
    print(
        f"{blots} blots, {durability}: bare {alone[0]:.2f}/s, {alone[1] * 1e3:.0f} ms of all"
        f" processors each; service {ours[0]:.2f}/s, {ours[1] * 1e3:.0f} ms; {ratio:.2f} times"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--blots", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--durability", nargs="+", default=["memory"])
    given = parser.parse_args()
    for durability in given.durability:
        for blots in given.blots:
            measure(blots, workers=given.workers, seconds=given.seconds, durability=durability)


if __name__ == "__main__":
    run_with_page(main)
