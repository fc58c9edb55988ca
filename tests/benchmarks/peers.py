"""PaintMQ beside task queues and servers that people come from, one after the other in one run.

    pip install "celery[redis]" "dramatiq[redis]" ray mosec aiohttp   # and redis-server on the PATH
    python -m tests.benchmarks.peers [--seconds 5] [--systems paintmq full ray ...]

Each system is used as its own documents show, with this program as client and one worker that does
one task at a time: many tasks of 200 bytes at once, the same one by one, and pictures of 12.6 MB
there and back, each checked. Processor time is that of all processes of a system. What is not
installed is left out, and said so. Prints one table; figures of one run are for comparing.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types

from tests.benchmarks.page import run_with_page
from tests.benchmarks.peer_systems.system import System, SystemMissingError

SYSTEMS = {
    "raw": "raw pyzmq broker, no promises",
    "pool": "ProcessPoolExecutor",
    "mosec": "Mosec (HTTP)",
    "ray": "Ray actor",
    "celery": "Celery, Redis",
    "dramatiq": "Dramatiq, Redis",
    "paintmq": "PaintMQ, in memory",
    "full": "PaintMQ, durable (`full`)",
}
HEAD = (
    "| | small tasks/s | us of processor time | one by one, ms at p50, p99 | pictures/s, one by one"
    " | 4 at once | ms of processor time |"
)
MANY = 256
"""Small tasks under way at once."""
LEAST = 5
"""Results of a case, however long they take."""


def processor_seconds() -> float:
    """Return what this process and all that it started have used."""
    total = 0.0
    for each in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            total += sum(each.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


def run(
    submit: Callable[[Any], Any],
    result: Callable[[Any], Any],
    value: Any,
    check: Callable[[Any], bool],
    *,
    ahead: int,
    seconds: float,
) -> dict[str, float]:
    """Keep so many tasks under way for so long; return rate, waits and processor time."""
    under_way: deque[tuple[float, Any]] = deque()
    waits: list[float] = []
    used, began = processor_seconds(), time.perf_counter()
    while time.perf_counter() < began + seconds or len(waits) < LEAST:
        under_way.append((time.perf_counter(), submit(value)))
        if len(under_way) == ahead:
            submitted, handle = under_way.popleft()
            returned = result(handle)
            waits.append(time.perf_counter() - submitted)
            if not check(returned):
                raise ValueError("a task returned something else than it should")
    lasted, used = time.perf_counter() - began, processor_seconds() - used
    for _, handle in under_way:
        result(handle)
    waits.sort()
    return {
        "rate": len(waits) / lasted,
        "p50": waits[len(waits) // 2] * 1e3,
        "p99": waits[len(waits) * 99 // 100] * 1e3,
        "processor": used / len(waits),
    }


def measure(system: System, seconds: float) -> dict[str, dict[str, float]]:
    payload = bytes(range(200))
    picture = np.arange(2048 * 2048 * 3, dtype=np.uint32).astype(np.uint8).reshape(2048, 2048, 3)
    inverted = np.bitwise_not(picture)

    def same_bytes(returned: Any) -> bool:
        return bytes(returned) == payload

    def same_picture(returned: Any) -> bool:  # a look at every row costs each system the same
        return bool(np.array_equal(returned[:, ::64], inverted[:, ::64]))

    cases: dict[str, tuple[Callable[[Any], Any], Any, Callable[[Any], bool], int]] = {
        "many": (system.echo, payload, same_bytes, MANY),
        "one": (system.echo, payload, same_bytes, 1),
        "picture": (system.invert, picture, same_picture, 1),
        "pictures": (system.invert, picture, same_picture, 4),
    }
    figures = {}
    for name, (submit, value, check, ahead) in cases.items():
        for lasting in (min(1.0, seconds), seconds):  # the first is to warm up
            figures[name] = run(submit, system.result, value, check, ahead=ahead, seconds=lasting)
    return figures


def row(title: str, figures: dict[str, dict[str, float]]) -> str:
    many, one, picture, pictures = (figures[n] for n in ("many", "one", "picture", "pictures"))
    cells = [
        title,
        f"{many['rate']:,.0f}",
        f"{many['processor'] * 1e6:,.0f}",
        f"{one['p50']:.2f}, {one['p99']:.1f}",
        f"{picture['rate']:.0f}",
        f"{pictures['rate']:.0f}",
        f"{picture['processor'] * 1e3:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def measure_one(name: str, seconds: float) -> None:
    """Measure one system in this process; print its figures as JSON."""
    module = importlib.import_module(f"tests.benchmarks.peer_systems.{name}_system")
    with tempfile.TemporaryDirectory() as folder:
        try:
            with module.open_system(Path(folder)) as system:
                figures = measure(system, seconds)
        except SystemMissingError as error:
            print(json.dumps({"missing": str(error)}))
            return
    print(json.dumps(figures))


def measure_all(names: Sequence[str], seconds: float) -> None:
    print(f"{HEAD}\n|{' --- |' * (HEAD.count('|') - 1)}")
    left_out = []
    for name in names:  # a process each: libraries of one must not slow another
        module = [sys.executable, "-m", "tests.benchmarks.peers"]
        done = subprocess.run(
            [*module, "--only", name, "--seconds", str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        figures = json.loads(done.stdout.splitlines()[-1])
        if "missing" in figures:
            left_out.append(f"{SYSTEMS[name]}: left out, as {figures['missing']}.")
        else:
            print(row(SYSTEMS[name], figures), flush=True)
    for line in left_out:
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds for each case")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--only", choices=SYSTEMS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only:
        measure_one(chosen.only, chosen.seconds)
    else:
        measure_all(chosen.systems, chosen.seconds)


if __name__ == "__main__":
    run_with_page(main)
