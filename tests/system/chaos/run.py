"""Real processes under random faults, then healed, drained and judged.

Usage: python tests/system/chaos/run.py [--seconds 120] [--seed 0] [--transport router]

Starts a broker, nodes and clients that know each other only through proxies, and hurts one of them
every fraction of a second: kill -9, SIGSTOP, SIGTERM, black holes, resets, delays. What died is
started again at once, sooner than its peers notice; what is dead is requeued. ``--timers default``
is the installation that people have, ``--gateway`` adds clients by HTTP, ``--keys`` gives every
peer a key, ``--clock`` starts each process at another date or with a clock that stands still,
``--disk`` keeps the journal on a small disk that runs full, ``--durability full`` waits for the
disk with each commit, ``--pause`` bounds the load. It goes on until there were ``--faults``,
and up to twice as long for ``--tasks``, which a machine that is too busy then finishes unhurt. At
the end everything heals, the clients wait for their last results, and ``judge.py`` compares their
journals with the broker's log. Only processes started here are ever signalled.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from proxy import Proxy

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[2]))

from tests.harness.free_ports import free_ports
from tests.harness.small_disk import SmallDisk, small_tmpfs

NODES = ("node-a", "node-b")
CLIENTS = ("client-a", "client-b")
PATIENCE = 2.0
"""So many times its seconds a run goes on with faults to get its tasks together; then without."""

CONFIG = """
[broker]
port = {client_port}
durability = "{durability}"
journal = "{journal}"
keys = "{keys}"

[http]
port = {http_port}
token_file = "{folder}/token"

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

[limits]
crashes = 3
losses = 200
undelivered = 400
"""
QUICK_TIMERS = """
[timers]
heartbeat = 0.5
lease = 4.0
dispatch = 2.0
restart_grace = 5.0
cancel_grace = 1.0
drain_grace = 5.0
retry_first = 0.1
retry_most = 2.0
"""
PACE = {"quick": 1.0, "default": 4.0}
"""How much time lies between two faults: who is patient needs longer to recover."""
DISK_BYTES = 256 * 1024 * 1024
DATES = ("0", "stopped", "3600", "-3600", "129600", "-129600", "259200", "-259200")
"""What the clock of a process's machine may be when it starts: seconds wrong, or standing still."""
HTTP_CLIENT, GATEWAY = "http-a", "gateway"


class Run:
    def __init__(
        self, folder: Path, chosen: argparse.Namespace, disk: SmallDisk | None = None
    ) -> None:
        self.folder, self.chosen, self.disk = folder, chosen, disk
        self.rng = random.Random(chosen.seed)
        self.client_port, self.queue_port, self.http_port = free_ports(3)
        self.keys = folder / "keys" if chosen.keys else None
        self.clients = (*CLIENTS, HTTP_CLIENT) if chosen.gateway else CLIENTS
        self.journal_folder = (folder if disk is None else disk.path) / "journal"
        self.config = folder / "paintmq.toml"
        settings = CONFIG.format(
            client_port=self.client_port,
            queue_port=self.queue_port,
            http_port=self.http_port,
            journal=self.journal_folder,
            keys=self.keys or "",
            folder=folder,
            transport=chosen.transport,
            durability=chosen.durability,
        )
        self.config.write_text(settings + (QUICK_TIMERS if chosen.timers == "quick" else ""))
        self.to_clients, self.to_workers = Proxy(self.client_port), Proxy(self.queue_port)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: dict[str, list[str]] = {}
        self.faults: Counter[str] = Counter()
        self.healed = False
        self.operator: subprocess.Popen[bytes] | None = None

    async def run(self) -> int:
        await self.to_clients.start()
        await self.to_workers.start()
        self.make_keys()
        self.commands = self.all_commands()
        started = time.monotonic()
        try:
            for name in self.commands:
                self.start(name)
            reaper = asyncio.create_task(self.restart_the_dead())
            await self.hurt()
            await self.finish_tasks()
            seconds = time.monotonic() - started
            drained = await self.drain()
            said = await self.settle()
            reaper.cancel()
            (self.folder / "statistics.json").write_bytes(said)
        finally:
            self.stop_all()
            await self.to_clients.stop()
            await self.to_workers.stop()
        if self.disk is not None:
            shutil.copytree(self.journal_folder, self.folder / "journal")
        what = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        print(f"chaos: {self.faults.total()} faults in {seconds:.0f} s ({what})", flush=True)
        if not drained:
            print("BROKEN: the clients never got their last results")
        if not self.has_tasks():
            print(f"too little happened: {self.ended()} tasks")
        verdict = subprocess.run(
            [sys.executable, str(HERE / "judge.py"), str(self.folder)], check=False
        )
        return verdict.returncode or (0 if drained and self.has_tasks() else 1)

    # ---- processes -----------------------------------------------------------------------------

    def all_commands(self) -> dict[str, list[str]]:
        python, config = sys.executable, str(self.config)
        to_workers, to_clients = str(self.to_workers.port), str(self.to_clients.port)
        node, client = str(HERE / "node.py"), str(HERE / "client.py")
        commands = {
            "broker": [python, "-m", "paintmq", "broker", "--config", config],
            **{name: [python, node, name, config, to_workers] for name in NODES},
        }
        for name in CLIENTS:
            arguments = [name, to_clients, self.journal(name), str(self.chosen.seed)]
            arguments.append(str(self.chosen.pause))
            key = [] if self.keys is None else [str(self.keys / f"{name}.key")]
            commands[name] = [python, client, *arguments, *key]
        if self.chosen.gateway:
            endpoint = f"tcp://127.0.0.1:{to_clients}"
            serve = [python, "-m", "paintmq", "http", "--config", config, "--connect", endpoint]
            commands[GATEWAY] = serve
            arguments = [HTTP_CLIENT, str(self.http_port), self.journal(HTTP_CLIENT)]
            arguments += [str(self.folder / "token"), str(self.chosen.pause)]
            commands[HTTP_CLIENT] = [python, str(HERE / "http_client.py"), *arguments]
        return commands

    def make_keys(self) -> None:
        """Make a key for everyone, and write down whose tasks are whose."""
        owners: dict[str, str] = {}
        if self.keys is not None:
            manage = [sys.executable, "-m", "paintmq", "keys"]
            keys = str(self.keys)
            subprocess.run([*manage, "init", keys], check=True, stdout=subprocess.DEVNULL)
            for name in CLIENTS:
                add = [*manage, "add", keys, name]
                subprocess.run(add, check=True, stdout=subprocess.DEVNULL)
                owners[name] = name
            owners[HTTP_CLIENT] = "local-admin"  # what the gateway of this machine shows
        (self.folder / "owners.json").write_text(json.dumps(owners))

    def journal(self, client: str) -> str:
        return str(self.folder / f"{client}.journal")

    def environment(self) -> dict[str, str]:
        path = [str(HERE / "plugin"), os.environ.get("PYTHONPATH", "")]
        return dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, path)))

    def start(self, name: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        environment = self.environment()
        if self.chosen.clock:
            environment["CHAOS_CLOCK"] = self.rng.choice(DATES)
        self.processes[name] = subprocess.Popen(
            self.commands[name],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        log.close()

    def paintmq(self, *arguments: str) -> bytes:
        """Run a command against the broker, past the proxies."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        ).stdout

    def command(self, *arguments: str) -> list[str]:
        where = ["--connect", f"tcp://127.0.0.1:{self.client_port}", "--config", str(self.config)]
        return [sys.executable, "-m", "paintmq", *arguments, *where]

    async def restart_the_dead(self) -> None:
        while True:
            for name, process in list(self.processes.items()):
                if process.poll() is not None and not (self.healed and name in self.clients):
                    self.start(name)
            await asyncio.sleep(0.1)

    def workers(self) -> list[int]:
        """Return the model hosts: children of the nodes that were started here."""
        found = []
        for name in NODES:
            path = Path(f"/proc/{self.processes[name].pid}/task")
            for children in path.glob("*/children"):
                with contextlib.suppress(OSError):
                    found += [int(pid) for pid in children.read_text().split()]
        return found

    # ---- faults --------------------------------------------------------------------------------

    async def hurt(self) -> None:
        faults: list[tuple[Callable[[], None], int]] = [
            (lambda: self.send("broker", signal.SIGKILL, "kills of brokers"), 2),
            (lambda: self.send("broker", signal.SIGTERM, "drains of brokers"), 1),
            (lambda: self.send(self.rng.choice(NODES), signal.SIGKILL, "kills of nodes"), 2),
            (lambda: self.send(self.rng.choice(NODES), signal.SIGTERM, "drains of nodes"), 1),
            (lambda: self.send(self.rng.choice(CLIENTS), signal.SIGKILL, "kills of clients"), 2),
            (lambda: self.freeze(self.rng.choice(NODES), 9.0), 1),
            (lambda: self.freeze(self.rng.choice(CLIENTS), 9.0), 1),
            (lambda: self.freeze("broker", 9.0), 1),
            (lambda: self.signal_worker(signal.SIGKILL, "kills of workers"), 4),
            # Never woken: it must be replaced.
            (lambda: self.signal_worker(signal.SIGSTOP, "freezes of workers"), 1),
            (self.cut, 2),
            (self.black_hole, 2),
            (self.slow, 1),
            (self.requeue_the_dead, 1),
        ]
        if self.chosen.gateway:
            faults += [
                (lambda: self.send(GATEWAY, signal.SIGKILL, "kills of gateways"), 1),
                (lambda: self.freeze(GATEWAY, 9.0), 1),
                (lambda: self.send(HTTP_CLIENT, signal.SIGKILL, "kills of clients"), 1),
            ]
        if self.disk is not None:
            faults.append((self.fill_the_disk, 1))
        kinds, weights = [fault for fault, _ in faults], [weight for _, weight in faults]
        begun = time.monotonic()
        await asyncio.sleep(3.0)
        while not self.is_over(time.monotonic() - begun):
            self.rng.choices(kinds, weights)[0]()
            await asyncio.sleep(PACE[self.chosen.timers] * self.rng.uniform(0.3, 1.2))

    def is_over(self, seconds: float) -> bool:
        if seconds < self.chosen.seconds or self.faults.total() < self.chosen.faults:
            return False
        return self.has_tasks() or seconds > PATIENCE * self.chosen.seconds

    def has_tasks(self) -> bool:
        wanted: int = self.chosen.tasks
        return self.ended() >= wanted

    async def finish_tasks(self) -> None:
        """Wait for the tasks that a busy machine has not managed yet, and hurt it no more."""
        deadline = time.monotonic() + 300.0
        while not self.has_tasks() and time.monotonic() < deadline:
            await asyncio.sleep(1.0)

    def ended(self) -> int:
        """Return how many tasks the clients have seen the end of."""
        journals = [Path(self.journal(name)) for name in self.clients]
        return sum(path.read_text().count("\nend ") for path in journals if path.exists())

    def send(self, name: str, number: int, what: str) -> None:
        self.faults[what] += 1
        with contextlib.suppress(ProcessLookupError):
            self.processes[name].send_signal(number)

    def signal_worker(self, number: int, what: str) -> None:
        if found := self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.rng.choice(found), number)
                self.faults[what] += 1

    def freeze(self, name: str, most: float) -> None:
        self.send(name, signal.SIGSTOP, f"freezes of {name.split('-')[0]}s")
        process = self.processes[name]

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

    def fill_the_disk(self) -> None:
        """Leave the journal's disk little or no room for a while."""
        assert self.disk is not None
        self.faults["full disks"] += 1
        filler = self.disk.fill(leave=self.rng.choice([0, 0, 100_000, 2_000_000]))
        remove = partial(filler.unlink, missing_ok=True)
        asyncio.get_running_loop().call_later(self.rng.uniform(0.5, 6.0), remove)

    def requeue_the_dead(self) -> None:
        """Give poison another chance, which is one more for it to do harm."""
        if self.operator is not None and self.operator.poll() is None:
            return
        self.faults["requeues of the dead"] += 1
        self.operator = subprocess.Popen(
            self.command("dead", "requeue", "--all"),
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    # ---- the end -------------------------------------------------------------------------------

    async def drain(self) -> bool:
        """Heal everything and wait until all clients have their last results."""
        await asyncio.sleep(10.0)  # the longest freeze and hole end by themselves
        self.healed = True
        for name in self.clients:
            Path(f"{self.journal(name)}.stop").touch()
            if self.processes[name].poll() is not None:
                self.start(name)
        deadline = time.monotonic() + 300.0
        while time.monotonic() < deadline:
            if all(self.processes[name].poll() is not None for name in self.clients):
                return True
            await asyncio.sleep(0.2)
        return False

    async def settle(self) -> bytes:
        """Wait for what was requeued from the dead, whose clients have its first ending and wait
        for no other; return what the broker says of itself then.
        """
        deadline = time.monotonic() + 120.0
        while True:
            said = await asyncio.to_thread(self.paintmq, "status", "--json")
            queues = json.loads(said)["statistics"]["queues"].values()
            unfinished = sum(queue["waiting"] + queue["running"] for queue in queues)
            if not unfinished or time.monotonic() > deadline:
                return said
            await asyncio.sleep(0.5)

    def stop_all(self) -> None:
        """Stop in order: clients, nodes, then the broker, whose log is read afterwards."""
        if self.operator is not None:
            self.operator.kill()
            self.operator.wait()
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="at least")
    parser.add_argument("--faults", type=int, default=0, help="at least")
    parser.add_argument("--tasks", type=int, default=0, help="at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transport", choices=["router", "pushpull"], default="router")
    parser.add_argument(
        "--timers", choices=["quick", "default"], default="quick", help="how patient everyone is"
    )
    parser.add_argument("--gateway", action="store_true", help="clients by HTTP, too")
    parser.add_argument("--keys", action="store_true", help="every peer shows a key of its own")
    parser.add_argument("--clock", action="store_true", help="clocks that are wrong or stopped")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two submissions")
    parser.add_argument("--durability", choices=["process", "full"], default="process")
    parser.add_argument("--disk", action="store_true", help="the journal's disk runs full")
    parser.add_argument(
        "--keep", type=Path, help="folder for logs and journals; else a temporary one"
    )
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = chosen.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        disk = None
        if chosen.disk:
            small = small_tmpfs(folder / "disk", size=DISK_BYTES, inodes=50_000)
            try:
                disk = stack.enter_context(small)
            except pytest.skip.Exception as error:
                print(f"the disk stays large: {error}", flush=True)
        return asyncio.run(Run(folder, chosen, disk).run())


if __name__ == "__main__":
    sys.exit(main())
