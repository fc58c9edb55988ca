"""What must not be harmed: a broker, a node and a gateway at work, and honest users of each.

Each *channel* is a way in that odd callers share with honest ones: the same client, the same
gateway. ``Site.probe`` sends an honest task through one and takes its own result, and no other; and
all the while a neighbour of another process's kind works on, whose results are checked too.
"""

import base64
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from paintmq import AsyncClient, Client, PluginManager, QueueManager, Task, TaskType
from paintmq.config import Limits
from paintmq.image import decode_image, encode_image
from paintmq.testing.embedded_manager import embedded_manager
from paintmq_routers import model_affinity
from tests.containment import odd_models
from tests.harness.any_client import AnyClient, LoopThread, call
from tests.harness.command_process import CommandProcess, private_environment
from tests.harness.written_distribution import write_distribution

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

APIS = ("v1", "openai", "a1111", "iopaint", "studio")
ALLOWED = (odd_models.PLUGIN, "words", "realesrgan", "model-affinity", *APIS[1:])
PATIENCE = 12.0
"""Seconds for an honest task, on a busy machine; a good run waits for none of them."""
PAUSE = 0.05
"""Seconds between two tasks of the neighbour, so that it leaves time to what is tried."""


class HarmError(AssertionError):
    """An odd case harmed somebody else, or was not answered."""


def kit_plugins(**hooks: object) -> PluginManager:
    """Return the kit's models, and a plugin with these hooks."""
    manager = PluginManager()
    manager.register(odd_models, odd_models.PLUGIN)
    manager.register(model_affinity, "model-affinity")
    if hooks:
        named = {f"paintmq_{name}": hook for name, hook in hooks.items()}
        manager.register(SimpleNamespace(**named), "odd")
    return manager


class HonestTasks:
    """Makes tasks of which each can be told from all others, and checks their results."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._numbers = itertools.count(1)

    def next(self) -> tuple[Task, "np.ndarray[Any, Any]"]:
        """Return a task and the picture that must come back."""
        salt = next(self._numbers)
        picture = np.frombuffer(self._rng.randbytes(8 * 8 * 3), np.uint8).reshape(8, 8, 3)
        task = Task(TaskType.PLUGIN, {"model": "honest", "salt": salt}, {"image": picture})
        return task, picture ^ (salt & 255)


class Neighbour:
    """Somebody with a client of their own, who works on while others are odd."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="honest neighbour", daemon=True)
        self.done = 0
        self.harm = ""
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)

    def check(self) -> None:
        """Raise HarmError if a result was not its own, or none has come for long."""
        if self.harm:
            raise HarmError(f"the neighbour: {self.harm}")
        if time.monotonic() - self._last > 5 * PATIENCE:
            raise HarmError("the neighbour gets no more results")

    def _work(self) -> None:
        tasks = HonestTasks(seed=1)
        with Client(self._endpoint, name="neighbour") as client:
            while not self._stop.wait(PAUSE):
                task, expected = tasks.next()
                try:
                    handle = client.submit(task, timeout=PATIENCE)
                    image = handle.result(timeout=5 * PATIENCE).image
                except Exception as error:  # noqa: BLE001 -- any of them is what is looked for
                    self.harm = repr(error)
                    return
                if not np.array_equal(image, expected):
                    self.harm = "it got another's picture"
                    return
                self.done += 1
                self._last = time.monotonic()


class Gateway:
    """``paintmq http`` as a user of it sees it."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        headers = {"authorization": f"Bearer {self._token}"}
        if body is not None:
            headers["content-type"] = kind
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def begin(self, path: str) -> tuple[int, bytes]:
        """Return the status and the first bytes of an answer that need not end."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            connection.request("GET", path, headers={"authorization": f"Bearer {self._token}"})
            answer = connection.getresponse()
            length = answer.getheader("content-length")
            return answer.status, b"" if length is None else answer.read(500)
        finally:
            connection.close()

    def socket(self, path: str) -> "ClientConnection":
        """Return a WebSocket there."""
        from websockets.sync.client import connect

        return connect(
            f"ws://127.0.0.1:{self._port}{path}",
            additional_headers={"authorization": f"Bearer {self._token}"},
            open_timeout=PATIENCE,
        )


class Site:
    """The processes, and a way in for each kind of caller. Use it in a ``with`` statement."""

    def __init__(self, folder: Path, *, transport: str = "router") -> None:
        self._folder = folder
        self._transport = transport
        self.honest = HonestTasks(seed=2)
        self._stack = ExitStack()
        self._manager: QueueManager | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            plugins = odd_models.install(self._folder / "plugins")
            words = {"words": "tests.harness.words_model"}
            write_distribution(plugins, "words-model", entry_points=words, files={})
            environment = private_environment(
                self._folder,
                plugins=plugins,
                PAINTMQ_BROKER__PORT="0",
                PAINTMQ_HTTP__PORT="0",
                PAINTMQ_HTTP__APIS=json.dumps(APIS),
                PAINTMQ_WORKERS__COUNT="2",
                PAINTMQ_WORKERS__THREADS="1",
                PAINTMQ_WORKERS__PINNED="honest",
                PAINTMQ_QUEUES__CPU_LIGHT__TRANSPORT=self._transport,
                PAINTMQ_PLUGINS__ALLOW=",".join(ALLOWED),
                PAINTMQ_TIMERS__RETRY_FIRST="0.05",
                PAINTMQ_TIMERS__RETRY_MOST="0.2",
            )
            self._up = stack.enter_context(CommandProcess(["up"], environment))
            self.endpoint = self._up.wait_for_line(r"broker for clients at (\S+)")[1]
            command = CommandProcess(["http", "--connect", self.endpoint], environment)
            self._http = stack.enter_context(command)
            token = self._http.wait_for_line(r"token, kept in \S+: (\S+)")[1]
            port = int(self._http.wait_for_line(r"serving http://127\.0\.0\.1:(\d+)")[1])
            self.gateway = Gateway(port, token)
            self._loop = LoopThread()
            self.clients: Mapping[str, AnyClient] = {
                "client": AnyClient(call, Client(self.endpoint, name="odd")),
                "asyncio": AnyClient(
                    self._loop.call, AsyncClient(self.endpoint, name="odd asyncio")
                ),
            }
            self.neighbour = stack.enter_context(Neighbour(self.endpoint))
            self.probe("client", "asyncio", "http")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        # A client whose thread has died, or loops, must not keep the next site waiting.
        within(PATIENCE, lambda: [client.close() for client in self.clients.values()])
        within(PATIENCE, self._loop.stop)
        self._stack.close()

    def client(self, door: str) -> AnyClient:
        """Return the client that the odd callers of a door share with honest ones."""
        return AnyClient(call, self.manager()) if door == "manager" else self.clients[door]

    def manager(self) -> QueueManager:
        """Return a manager in this program that cases share; started for the first of them."""
        if self._manager is None:
            manager = embedded_manager(plugins=kit_plugins(), workers=1)
            manager.start()
            self._stack.callback(within, PATIENCE, lambda: manager.stop(grace=0.0))
            self._manager = manager
        return self._manager

    def honest_task(self) -> Task:
        return self.honest.next()[0]

    def probe(self, *channels: str) -> None:
        """Have honest tasks done through these channels.

        Raises:
            HarmError: one was not, or with another's result; or a process has ended.
        """
        for name, process in (("broker and node", self._up), ("gateway", self._http)):
            if process.process.poll() is not None:
                raise HarmError(f"the {name} has ended with {process.process.returncode}")
        for channel in channels:
            task, expected = self.honest.next()
            try:
                image = self._through[channel](self, task)
            except HarmError:
                raise
            except Exception as error:
                raise HarmError(f"an honest task through {channel}: {error!r}") from error
            if not np.array_equal(image, expected):
                raise HarmError(f"an honest task through {channel} got another's picture")
        self.neighbour.check()

    def _by_client(self, task: Task) -> Any:
        client = self.clients["client"]
        return client.submit(task, timeout=PATIENCE).result(PATIENCE).image

    def _by_asyncio(self, task: Task) -> Any:
        client = self.clients["asyncio"]
        return client.submit(task, timeout=PATIENCE).result(PATIENCE).image

    def _by_http(self, task: Task) -> Any:
        file = base64.b64encode(encode_image(np.asarray(task.inputs["image"]), ".png")).decode()
        body = {"model": task.model, "options": task.options, "inputs": {"image": file}}
        status, answer = self.gateway.ask("POST", "/v1/tasks", json.dumps(body).encode())
        if status != 202:
            raise HarmError(f"an honest task through http: {status} {answer[:500]!r}")
        path = f"/v1/tasks/{json.loads(answer)['id']}/result?wait=10"
        status, answer = self.gateway.ask("GET", path)
        if status != 200:
            raise HarmError(f"an honest result through http: {status} {answer[:500]!r}")
        return decode_image(answer, Limits()).pixels

    _through: Mapping[str, Callable[["Site", Task], Any]] = {
        "client": _by_client,
        "asyncio": _by_asyncio,
        "http": _by_http,
    }

    def said(self) -> str:
        """Return what broker, node and gateway have logged last."""
        return "".join([*self._up.said, *self._http.said])[-4_000:]


def within(seconds: float, act: Callable[[], object]) -> BaseException | None:
    """Act in a thread; return what it raised.

    Raises:
        HarmError: it does not come back.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 -- whatever an odd value raises
            raised.append(error)

    thread = threading.Thread(target=run, name="odd caller", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise HarmError(f"a call has not come back after {seconds:g} s")
    return raised[0] if raised else None
