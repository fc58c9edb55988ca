"""The gateway beside a broker: ``paintmq up --http`` starts ``paintmq http`` as its own process.

In one process with the broker, pictures that are decoded for pages would hold up its loop.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from paintmq.cli.failures import CommandError, ServiceFailedError, note

STOP_SECONDS = 10.0
"""For requests that are being answered; then it is ended at once."""


def check_extra() -> None:
    """Check that what the gateway needs is installed, before anything else starts.

    Raises:
        CommandError: it is not.
    """
    for name in ("starlette", "uvicorn"):
        if find_spec(name) is None:
            raise CommandError(f"--http needs {name}: pip install 'paintmq[http]'")


class GatewayProcess:
    """Runs while its ``with`` block does; a broker that is killed takes it along."""

    def __init__(self, endpoint: str, config: Path | None) -> None:
        chosen = [] if config is None else ["--config", str(config)]
        self._command = [
            *(sys.executable, "-m", "paintmq", "http", "--connect", endpoint),
            *("--sign-in", "--tethered"),
            *chosen,
        ]

    def __enter__(self) -> Self:
        # A session of its own: Ctrl-C is for us, who stop it before what it hands its tasks to.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, start_new_session=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # its tether
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            note("the gateway does not end in time: it is killed")
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        """Check that it runs.

        Raises:
            ServiceFailedError: it has ended by itself.
        """
        if (status := self._process.poll()) is not None:
            raise ServiceFailedError(
                f"the gateway has ended by itself (exit status {status}); the lines above say why"
            )
