"""A Redis or Valkey server of a test's own, in a temporary folder, on a free port of loopback."""

import shutil
import signal
import socket
import subprocess
import tempfile
from typing import Any

import redis

from tests.harness.closing import ClosedAtTheEnd

MISSING = "neither redis-server nor valkey-server is installed (Debian: apt-get install redis)"


def binary() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer(ClosedAtTheEnd):
    """Keeps nothing on disk; gone after ``close``."""

    def __init__(self, *options: str) -> None:
        found = binary()
        assert found is not None, MISSING
        self._binary = found
        self._options = options
        self._folder = tempfile.mkdtemp(prefix="pmq-redis-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def client(self, **settings: Any) -> Any:
        return redis.Redis.from_url(self.url, decode_responses=True, **settings)

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        places = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder]
        command = [self._binary, *places, "--save", "", "--appendonly", "no", *self._options]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        assert self._process.stdout is not None
        said = b""
        for line in self._process.stdout:
            said += line
            if b"eady to accept connections" in line:
                return
        raise RuntimeError(said.decode())

    def signal(self, which: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(which)

    def kill(self) -> None:
        """End it at once, with all that it holds."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
