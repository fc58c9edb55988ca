"""The paintmq command as a process of its own, with settings and data of its own."""

import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from paintmq.config import DEFAULT_QUEUE_CONFIGS
from tests.harness.written_distribution import python_path

_PATIENCE = 45.0
"""Seconds until a line that never comes fails the test; a busy machine may take some."""


def private_environment(
    folder: Path, *, plugins: Path | None = None, **variables: str
) -> dict[str, str]:
    """Return an environment without settings of the caller's own, and any port that is free.

    ``plugins`` is a folder with installed distributions, as ``write_distribution`` makes them.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PAINTMQ_")}
    ports = {
        f"PAINTMQ_QUEUES__{name.upper().replace('-', '_')}__PORT": "0"
        for name in DEFAULT_QUEUE_CONFIGS
    }
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
    places = dict.fromkeys(names, str(folder))
    path = {"PYTHONPATH": python_path(plugins)} if plugins is not None else {}
    # Nothing listens on port 1: `paintmq run` must not find a broker that happens to run here.
    return kept | ports | places | path | {"PAINTMQ_BROKER__PORT": "1"} | variables


def run_command(
    *arguments: str | Path, environment: Mapping[str, str], cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "paintmq", *(str(each) for each in arguments)],
        env=dict(environment),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )


class CommandProcess:
    """A command that runs on: read what it says, signal it, and wait for its end.

    Use it in a ``with`` statement, which leaves no process behind.
    """

    def __init__(self, arguments: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-m", "paintmq", *(str(each) for each in arguments)]
        self._environment = dict(environment)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.said: list[str] = []
        """What ``wait_for_line`` has read so far."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """Return the first match in a line that was not read yet.

        Raises:
            AssertionError: the process ended or fell silent without such a line.
        """
        while True:
            try:
                line = self._lines.get(timeout=_PATIENCE)
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line like {pattern!r} in:\n" + "".join(self.said))
            self.said.append(line)
            if found := re.search(pattern, line):
                return found

    def wait(self) -> int:
        """Return the exit status once the process has ended."""
        status = self.process.wait(_PATIENCE)
        self._reader.join()
        while (line := self._lines.get()) is not None:
            self.said.append(line)
        return status

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)
