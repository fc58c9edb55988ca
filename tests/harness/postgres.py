"""A PostgreSQL server of a test's own, in a temporary folder; Debian's package is enough."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.harness.closing import ClosedAtTheEnd

MISSING = "PostgreSQL is not installed (Debian: apt-get install postgresql)"


def binaries() -> Path | None:
    """Return the folder with ``initdb`` and ``postgres``; None where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    return next((each for each in folders if (each / "postgres").exists()), None)


class PostgresServer(ClosedAtTheEnd):
    """Listens on a free port of 127.0.0.1 and asks for no password; gone after ``close``."""

    def __init__(self, *, fsync: bool = False) -> None:
        found = binaries()
        assert found is not None, MISSING
        self._binaries = found
        self._folder = Path(tempfile.mkdtemp(prefix="pmq-pg-", dir="/tmp"))
        self._user = _other_user()
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._data = self._folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._options = ["-c", f"fsync={'on' if fsync else 'off'}", "-c", "max_connections=200"]
        self._process: subprocess.Popen[bytes] | None = None
        make = ["initdb", "-D", str(self._data), "-U", "paintmq", "-A", "trust", "--no-sync"]
        self._run([*make, "-E", "UTF8", "--locale=C"])
        self.start()

    @property
    def address(self) -> str:
        return f"postgresql://paintmq@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        places = ["-c", "listen_addresses=127.0.0.1", "-k", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *places, *self._options],
                stdout=log,
                stderr=log,
                user=self._user,
                start_new_session=True,
                cwd="/",
            )
        ready = ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]
        ready[0] = str(self._binaries / ready[0])
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None:
                raise RuntimeError((self._folder / "log").read_text("utf-8"))

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends sessions first, SIGQUIT is a crash that leaves a recovery."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            [str(self._binaries / command[0]), *command[1:]],
            capture_output=True,
            user=self._user,
            check=False,
            cwd="/",
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode())


def _other_user() -> str | None:
    """Return as whom to run it, as it refuses to be root."""
    if os.geteuid() != 0:
        return None
    names = {each.pw_name for each in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
