"""A broker of a few lines of pyzmq that forwards frames and promises nothing: the limit of it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import zmq

from tests.benchmarks.peer_systems.system import Picture, System

BROKER = """
import zmq
context = zmq.Context()
front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
for socket in (front, back):
    socket.set_hwm(0)
print(*[socket.bind_to_random_port("tcp://127.0.0.1") for socket in (front, back)], flush=True)
poller = zmq.Poller()
poller.register(front, zmq.POLLIN)
poller.register(back, zmq.POLLIN)
while True:
    for socket, _ in poller.poll():
        other = back if socket is front else front
        for _ in range(64):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            other.send_multipart(frames, copy=False)
"""
WORKER = """
import sys, numpy, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.set_hwm(0)
socket.connect(f"tcp://127.0.0.1:{sys.argv[1]}")
while True:
    *route, data = socket.recv_multipart(copy=False)
    if len(data) > 100_000:
        data = numpy.bitwise_not(numpy.frombuffer(data, numpy.uint8))
    socket.send_multipart([*route, data], copy=False)
"""


@contextmanager
def open_system(folder: Path) -> Iterator[System]:
    with ExitStack() as stack:
        broker = subprocess.Popen([sys.executable, "-c", BROKER], stdout=subprocess.PIPE, text=True)
        stack.callback(broker.wait)
        stack.callback(broker.kill)
        assert broker.stdout is not None
        front, back = broker.stdout.readline().split()
        worker = subprocess.Popen([sys.executable, "-c", WORKER, back])
        stack.callback(worker.wait)
        stack.callback(worker.kill)
        context = stack.enter_context(zmq.Context())
        socket = stack.enter_context(context.socket(zmq.DEALER))
        socket.set_hwm(0)
        socket.connect(f"tcp://127.0.0.1:{front}")

        def echo(payload: bytes) -> type[bytes]:
            socket.send(payload)
            return bytes

        def invert(picture: Picture) -> tuple[int, ...]:
            socket.send(picture.data, copy=False)
            return picture.shape

        def result(sent: type[bytes] | tuple[int, ...]) -> object:  # they come back in order
            if isinstance(sent, tuple):
                return np.frombuffer(socket.recv(copy=False).buffer, np.uint8).reshape(sent)
            return socket.recv()

        yield System(echo, invert, result)
