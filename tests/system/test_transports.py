"""The whole path over both transports, with and without keys: broker, workers, model hosts."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from paintmq.broker.shell.server import BrokerServer
from paintmq.client.client import Client
from paintmq.client.task import Task
from paintmq.config import (
    BrokerConfig,
    Config,
    PluginsConfig,
    QueueConfig,
    Timers,
    WorkersConfig,
)
from paintmq.errors import ManagerStoppedError, RejectedError
from paintmq.node.capabilities import Capabilities
from paintmq.node.supervisor import NodeSupervisor
from paintmq.plugin.manager import PluginManager
from paintmq.task import TaskType
from paintmq.transport.key_files import LOCAL_ADMIN, add_key, init_keys, revoke_key

pytestmark = pytest.mark.slow

PLUGINS = PluginsConfig(allow=("opencv", "model-affinity"))
AMPLE = 50.0
"""Seconds; nothing waits that long unless it is broken."""


class Installation:
    """A broker and one worker, and the way to reach them."""

    def __init__(self, stack: ExitStack, transport: str, keys: Path | None) -> None:
        self.keys = keys
        self._stack = stack
        config = Config(
            broker=BrokerConfig(port=0, keys=str(keys or "")),
            queues={"cpu": QueueConfig(transport=transport)},  # type: ignore[arg-type]
            workers=WorkersConfig(count=1, prefetch=2),
            timers=Timers(heartbeat=0.5, drain_grace=1.0),
            plugins=PLUGINS,
        )
        plugins = PluginManager.installed(PLUGINS)
        self.broker = BrokerServer(config, plugins)
        self.broker.start()
        stack.callback(self.broker.stop, grace=0.0)
        node = NodeSupervisor(
            config,
            plugins,
            queue_endpoints=self.broker.queue_endpoints,
            name="testnode",
            capabilities=Capabilities(cores=1, memory_mb=4096),
        )
        node.start()
        stack.callback(node.stop, grace=0.0)

    def client(self, key: str = LOCAL_ADMIN) -> Client:
        path = self.keys / f"{key}.key" if self.keys is not None else None
        return self._stack.enter_context(Client(self.broker.client_endpoint, key=path))


@pytest.fixture(params=["router", "pushpull"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["open", "keys"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    if not request.param:
        return None
    init_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def installation(transport: str, keys: Path | None) -> Iterator[Installation]:
    with ExitStack() as stack:
        yield Installation(stack, transport, keys)


def scratched(seed: int, side: int = 48) -> Task:
    """Return a task whose picture nobody else has."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[10:20, 10:30] = 255
    return Task(
        task_type=TaskType.INPAINT,
        config={"model": "opencv", "radius": 3},
        inputs={"image": image, "mask": mask},
    )


def test_every_picture_comes_back_as_its_own(installation: Installation) -> None:
    """I22, I23."""
    client = installation.client()
    tasks = [scratched(seed) for seed in range(40)]

    handles = [client.submit(task) for task in tasks]

    for task, handle in zip(tasks, handles, strict=True):
        image, mask = task.inputs["image"], task.inputs["mask"]
        assert isinstance(image, np.ndarray)
        result = handle.result(timeout=AMPLE).image
        assert np.array_equal(result[mask == 0], image[mask == 0])
        assert not np.array_equal(result[mask == 255], image[mask == 255])


def test_pictures_of_many_bursts_come_back_whole(installation: Installation) -> None:
    client = installation.client()
    tasks = [scratched(seed, side=2_000) for seed in range(2)]

    handles = [client.submit(task) for task in tasks]

    for task, handle in zip(tasks, handles, strict=True):
        image, mask = task.inputs["image"], task.inputs["mask"]
        assert isinstance(image, np.ndarray)
        result = handle.result(timeout=AMPLE).image
        assert np.array_equal(result[mask == 0], image[mask == 0])


def reloaded_keys(installation: Installation) -> object:
    """Let the broker read its keys again; return how many there are."""
    answer = installation.client().ask("reload")
    assert isinstance(answer, dict)
    return answer["keys"]


def test_only_an_admin_may_end_a_broker_that_asks_for_keys(transport: str, tmp_path: Path) -> None:
    init_keys(tmp_path / "keys")
    add_key(tmp_path / "keys", "laptop", "client")
    with ExitStack() as stack:
        installation = Installation(stack, transport, tmp_path / "keys")

        with pytest.raises(RejectedError, match="takes an admin's key"):
            installation.client("laptop").ask("shutdown")

        assert installation.client("laptop").ask("version")
        assert reloaded_keys(installation) == 3


def test_a_revoked_key_is_of_no_use_any_more(transport: str, tmp_path: Path) -> None:
    init_keys(tmp_path / "keys")
    add_key(tmp_path / "keys", "laptop", "client")
    with ExitStack() as stack:
        installation = Installation(stack, transport, tmp_path / "keys")
        laptop = installation.client("laptop")
        laptop.submit(scratched(0)).result(timeout=AMPLE)

        revoke_key(tmp_path / "keys", "laptop")
        assert reloaded_keys(installation) == 2

        with pytest.raises((RejectedError, TimeoutError, ManagerStoppedError)):
            laptop.ask("version", timeout=1.0)
