"""How much memory a client needs to map many large images: it must not grow with their number.

python -m tests.benchmarks.map_memory [TASKS] [MEGAPIXELS]

A broker and one worker run beside it, in processes of their own, so that what is measured is the
client. Prints one line of JSON: tasks a second, and the client's memory after the first tenth of
the tasks and at its highest, in MB.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types

from paintmq import Client, Task, TaskType
from tests.benchmarks.page import run_with_page

SERVICE = """
import sys
from paintmq.testing.embedded_manager import embedded_manager

with embedded_manager() as manager:
    print(manager.ask("endpoints")["client"], flush=True)
    sys.stdin.read()
"""


def tasks(count: int, side: int) -> Iterator[Task]:
    """Yield tasks that each have an image of their own, made when it is asked for."""
    mask = np.zeros((side, side), np.uint8)
    mask[10:20, 10:20] = 255
    for number in range(count):
        image = np.full((side, side, 3), number % 256, np.uint8)
        yield Task(TaskType.INPAINT, {"model": "opencv"}, {"image": image, "mask": mask})


def measure(count: int, megapixels: float) -> dict[str, float]:
    """Map the tasks through a client with a window of 64 MiB, and measure."""
    side = int((megapixels * 1e6) ** 0.5)
    process = psutil.Process()
    early = highest = 0
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        assert service.stdin is not None
        endpoint = service.stdout.readline().strip()
        started = time.perf_counter()
        with Client(endpoint, max_bytes=64 * 1024 * 1024) as client:
            for number, result in enumerate(client.map(tasks(count, side), ahead=16)):
                assert int(result.image[15, 15, 0]) == number % 256, "another task's result"
                memory = process.memory_info().rss >> 20
                highest = max(highest, memory)
                if number == count // 10:
                    early = highest
        seconds = time.perf_counter() - started
        service.stdin.close()
    return {
        "tasks": count,
        "megapixels": megapixels,
        "tasks_a_second": round(count / seconds, 1),
        "memory_mb_after_a_tenth": early,
        "memory_mb_at_most": highest,
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    megapixels = float(sys.argv[2]) if len(sys.argv) > 2 else 4.0
    print(json.dumps(measure(count, megapixels)))


if __name__ == "__main__":
    run_with_page(main)
