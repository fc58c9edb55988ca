"""What every measured system offers, and what several of them need."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Picture: TypeAlias = NDArray[np.uint8]


class SystemMissingError(Exception):
    """What a system needs is not installed."""


@frozen
class System:
    """One way to hand a task to another process and to get its result."""

    echo: Callable[[bytes], Any]
    """Submit a task that returns these bytes; returns what ``result`` takes."""
    invert: Callable[[Picture], Any]
    """Submit a task that returns the inverted picture, HWC, RGB, uint8."""
    result: Callable[[Any], Any]
    """Wait for a task and return what it returned."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def process(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a command until the block ends. What it says of errors goes to this process's stderr."""
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Start a Redis that writes nothing to disk; give its address."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemMissingError("redis-server is not on the PATH")
    port = free_port()
    options: list[str | Path] = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        folder,
    ]
    with process([program, *options]):
        wait_until(lambda: is_listening(port))
        yield f"redis://127.0.0.1:{port}/0"


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    """Raise TimeoutError unless it happens within these seconds."""
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise TimeoutError(f"a system was not ready after {seconds:.0f} s")
        time.sleep(0.05)


def python(*arguments: str | Path) -> list[str | Path]:
    """Return the command that runs this Python with these arguments."""
    return [sys.executable, *arguments]
