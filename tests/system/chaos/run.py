"""Real processes under random faults, then healed, drained and judged.

Usage: python tests/system/chaos/run.py [--seconds 120] [--seed 0] [--transport router]

Starts a broker, nodes and clients that know each other only through proxies, and hurts one of them
every fraction of a second: kill -9, SIGSTOP, black holes, resets, delays. What died is started
again. At the end everything heals, the clients wait for their last results, and ``judge.py``
compares their journals with the broker's log. Only processes started here are ever signalled.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent

CONFIG = """
[broker]
port = {client_port}
durability = "process"
journal = "{folder}/journal"

[queues.cpu-light]
port = {queue_port}
transport = "{transport}"

[queues.gpu-high]
port = 0
[queues.gpu-medium]
port = 0
[queues.gpu-low]
port = 0
[queues.cpu-intensive]
port = 0
[queues.serverless]
port = 0

[workers]
count = 2

[timers]
heartbeat = 0.5
lease = 4.0
dispatch = 2.0
restart_grace = 5.0
cancel_grace = 1.0
drain_grace = 5.0
retry_first = 0.1
retry_most = 2.0

[limits]
crashes = 3
losses = 200
undelivered = 400
"""


class Proxy:
    """Listens on a free port and passes bytes to a target, unless told otherwise."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delay = 0.0
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self._open.set()
        self.cut()
        if self._connections:
            await asyncio.wait(self._connections, timeout=5.0)

    def cut(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def black_hole(self, seconds: float) -> None:
        """Let nothing pass for a while, and tell nobody."""
        self._open.clear()
        await asyncio.sleep(seconds)
        self._open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there[1]}
        await asyncio.gather(self._pass(reader, there[1]), self._pass(there[0], writer))
        self._writers -= {writer, there[1]}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                if self.delay:
                    await asyncio.sleep(random.Random(len(data)).uniform(0.0, self.delay))
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()


class Run:
    def __init__(self, folder: Path, seconds: float, seed: int, transport: str) -> None:
        self.folder, self.seconds = folder, seconds
        self.rng = random.Random(seed)
        self.seed = seed
        self.client_port, self.queue_port = free_ports(2)
        self.config = folder / "paintmq.toml"
        self.config.write_text(
            CONFIG.format(
                client_port=self.client_port,
                queue_port=self.queue_port,
                folder=folder,
                transport=transport,
            )
        )
        self.to_clients, self.to_workers = Proxy(self.client_port), Proxy(self.queue_port)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: dict[str, list[str]] = {}
        self.faults: Counter[str] = Counter()
        self.healed = False

    async def run(self) -> int:
        await self.to_clients.start()
        await self.to_workers.start()
        python = sys.executable
        self.commands = {
            "broker": [python, "-m", "paintmq", "broker", "--config", str(self.config)],
            **{
                name: [
                    python,
                    str(HERE / "node.py"),
                    name,
                    str(self.config),
                    str(self.to_workers.port),
                ]
                for name in ("node-a", "node-b")
            },
            **{
                name: [
                    python,
                    str(HERE / "client.py"),
                    name,
                    str(self.to_clients.port),
                    str(self.folder / f"{name}.journal"),
                    str(self.seed),
                ]
                for name in ("client-a", "client-b")
            },
        }
        try:
            for name in self.commands:
                self.start(name)
            reaper = asyncio.create_task(self.restart_the_dead())
            await self.hurt()
            drained = await self.drain()
            reaper.cancel()
        finally:
            self.stop_all()
            await self.to_clients.stop()
            await self.to_workers.stop()
        what = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        print(
            f"chaos: {sum(self.faults.values())} faults in {self.seconds:g} s ({what})", flush=True
        )
        if not drained:
            print("BROKEN: the clients never got their last results")
        verdict = subprocess.run(
            [sys.executable, str(HERE / "judge.py"), str(self.folder)], check=False
        )
        return verdict.returncode or (0 if drained else 1)

    def start(self, name: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        environ = dict(os.environ, PYTHONPATH=str(HERE / "plugin"))
        self.processes[name] = subprocess.Popen(
            self.commands[name], stdout=log, stderr=log, env=environ, start_new_session=True
        )
        log.close()

    async def restart_the_dead(self) -> None:
        while True:
            for name, process in list(self.processes.items()):
                if process.poll() is not None and not (self.healed and name.startswith("client")):
                    self.start(name)
            await asyncio.sleep(0.1)

    async def hurt(self) -> None:
        faults: list[tuple[Callable[[], None], int]] = [
            (lambda: self.kill("broker"), 2),
            (lambda: self.kill(self.rng.choice(["node-a", "node-b"])), 2),
            (lambda: self.kill(self.rng.choice(["client-a", "client-b"])), 2),
            (self.kill_worker, 4),
            (lambda: self.freeze(self.rng.choice(["node-a", "node-b"]), 9.0), 1),
            (lambda: self.freeze("broker", 3.0), 1),
            (self.freeze_worker, 1),
            (lambda: self.cut(), 2),
            (lambda: self.black_hole(), 2),
            (lambda: self.slow(), 1),
        ]
        end = time.monotonic() + self.seconds
        await asyncio.sleep(3.0)
        while time.monotonic() < end:
            self.rng.choices([fault for fault, _ in faults], [weight for _, weight in faults])[0]()
            await asyncio.sleep(self.rng.uniform(0.2, 1.0))

    def kill(self, name: str) -> None:
        self.faults[f"kills of {name.split('-')[0]}s"] += 1
        with contextlib.suppress(ProcessLookupError):
            self.processes[name].kill()

    def workers(self) -> list[int]:
        """Return the model hosts: children of the nodes that were started here."""
        found = []
        for name in ("node-a", "node-b"):
            path = Path(f"/proc/{self.processes[name].pid}/task")
            for children in path.glob("*/children"):
                with contextlib.suppress(OSError):
                    found += [int(pid) for pid in children.read_text().split()]
        return found

    def signal_worker(self, number: int) -> int | None:
        if not (found := self.workers()):
            return None
        pid = self.rng.choice(found)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    def kill_worker(self) -> None:
        if self.signal_worker(signal.SIGKILL) is not None:
            self.faults["kills of workers"] += 1

    def freeze_worker(self) -> None:
        if self.signal_worker(signal.SIGSTOP) is not None:  # never woken: it must be replaced
            self.faults["freezes"] += 1

    def freeze(self, name: str, most: float) -> None:
        self.faults["freezes"] += 1
        process = self.processes[name]
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGSTOP)

        def wake() -> None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)

        asyncio.get_running_loop().call_later(self.rng.uniform(0.5, most), wake)

    def cut(self) -> None:
        self.faults["resets"] += 1
        self.rng.choice([self.to_clients, self.to_workers]).cut()

    def black_hole(self) -> None:
        self.faults["black holes"] += 1
        proxy = self.rng.choice([self.to_clients, self.to_workers])
        self.hole = asyncio.create_task(proxy.black_hole(self.rng.uniform(0.5, 8.0)))

    def slow(self) -> None:
        self.faults["slow links"] += 1
        proxy = self.rng.choice([self.to_clients, self.to_workers])
        proxy.delay = self.rng.uniform(0.0, 0.2)
        asyncio.get_running_loop().call_later(3.0, lambda: setattr(proxy, "delay", 0.0))

    async def drain(self) -> bool:
        """Heal everything and wait until both clients have their last results."""
        await asyncio.sleep(10.0)  # the longest freeze and hole end by themselves
        self.healed = True
        for name in ("client-a", "client-b"):
            Path(self.folder / f"{name}.journal.stop").touch()
            if self.processes[name].poll() is not None:
                self.start(name)
        deadline = time.monotonic() + 120.0
        while time.monotonic() < deadline:
            if all(self.processes[n].poll() is not None for n in ("client-a", "client-b")):
                return True
            await asyncio.sleep(0.2)
        return False

    def stop_all(self) -> None:
        """Stop in order: clients, nodes, then the broker, whose log is read afterwards."""
        for name in reversed(self.processes):
            process = self.processes[name]
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
            try:
                process.wait(15.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transport", choices=["router", "pushpull"], default="router")
    parser.add_argument(
        "--keep", type=Path, help="folder for logs and journals; else a temporary one"
    )
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = chosen.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        return asyncio.run(Run(folder, chosen.seconds, chosen.seed, chosen.transport).run())


if __name__ == "__main__":
    sys.exit(main())
