"""The gateway's memory over many pictures, and new work while hundreds of clients wait.

    python -m tests.benchmarks.http_gateway [PICTURES] [WAITING]

A broker, a worker and a gateway on loopback, as processes of their own. Prints lines for the page
``results/http_gateway.md``.
"""

import base64
import http.client
import json
import select
import socket
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types

from paintmq.image import encode_image
from paintmq.testing.example_inputs import make_mask, make_picture
from tests.benchmarks.page import run_with_page
from tests.harness.command_process import CommandProcess, private_environment
from tests.harness.trial_models import write_trial_distribution

TOKEN = "a-token-for-the-benchmark"
SIDE = 512


def main() -> None:
    pictures = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    waiting = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    with tempfile.TemporaryDirectory() as folder:
        environment = private_environment(
            Path(folder),
            plugins=write_trial_distribution(Path(folder) / "plugins"),
            PAINTMQ_BROKER__PORT="0",
            PAINTMQ_HTTP__PORT="0",
            PAINTMQ_HTTP_TOKEN=TOKEN,
            PAINTMQ_BROKER__DURABILITY="memory",
        )
        with CommandProcess(["up"], environment) as up:
            endpoint = up.wait_for_line(r"broker for clients at (\S+)")[1]
            with CommandProcess(["http", "--connect", endpoint], environment) as gateway:
                port = int(gateway.wait_for_line(r"serving http://127\.0\.0\.1:(\d+)")[1])
                print_memory(port, psutil.Process(gateway.process.pid), pictures)
                print_waits(port, waiting)


def body() -> bytes:
    mask = np.repeat(make_mask((SIDE, SIDE), seed=1)[..., None], 3, 2)
    inputs = {"image": make_picture((SIDE, SIDE), seed=1), "mask": mask}
    encoded = {
        name: base64.b64encode(encode_image(pixels, "png")).decode()
        for name, pixels in inputs.items()
    }
    return json.dumps({"model": "opencv", "task_type": "inpaint", "inputs": encoded}).encode()


def ask(connection: http.client.HTTPConnection, method: str, path: str, data: bytes = b"") -> bytes:
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    connection.request(method, path, data or None, headers)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status not in (200, 202):
        raise SystemExit(f"{method} {path}: {answer.status} {said[:200]!r}")
    return said


def print_memory(port: int, process: psutil.Process, pictures: int) -> None:
    """Submit, wait for and fetch pictures one after another."""
    connection, data = http.client.HTTPConnection("127.0.0.1", port, timeout=60), body()
    marks = {max(1, pictures // 10), pictures // 2, pictures}
    print(f"{SIDE} x {SIDE} pixels, {len(data):,} bytes of JSON a task")
    for number in range(1, pictures + 1):
        task = json.loads(ask(connection, "POST", "/v1/tasks", data))
        ask(connection, "GET", f"/v1/tasks/{task['id']}/result?wait=60&format=jpeg")
        if number in marks:
            print(f"after {number:>5} pictures: {process.memory_info().rss / 2**20:.0f} MiB")
    connection.close()


def print_waits(port: int, waiting: int) -> None:
    """Hand in new tasks while others wait for the result of one that runs."""
    connection, data = http.client.HTTPConnection("127.0.0.1", port, timeout=60), body()
    slow = json.loads(data) | {"model": "trial", "options": {"do": "heed", "seconds": 300}}
    task = json.loads(ask(connection, "POST", "/v1/tasks", json.dumps(slow).encode()))
    polls = [long_poll(port, task["id"]) for _ in range(waiting)]
    measured: list[float] = []
    for _ in range(200):
        started = time.perf_counter()
        ask(connection, "POST", "/v1/tasks", data)
        measured.append(time.perf_counter() - started)
    answered = sum(1 for poll in polls if is_readable(poll))
    measured.sort()
    print(
        f"{waiting} clients wait ({answered} were answered meanwhile): POST"
        f" p50 {measured[100] * 1e3:.1f} ms, p99 {measured[197] * 1e3:.1f} ms"
    )
    for poll in polls:
        poll.close()
    connection.close()


def long_poll(port: int, task_id: str) -> socket.socket:
    poll = socket.create_connection(("127.0.0.1", port))
    request = f"GET /v1/tasks/{task_id}/result?wait=60 HTTP/1.1\r\nhost: localhost:{port}\r\n"
    poll.sendall(f"{request}authorization: Bearer {TOKEN}\r\n\r\n".encode())
    return poll


def is_readable(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


if __name__ == "__main__":
    run_with_page(main)
