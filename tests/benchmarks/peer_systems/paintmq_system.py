"""PaintMQ: ``paintmq broker``, ``paintmq node`` of one worker, ``Client`` as the README has it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from paintmq import Client, Task
from tests.benchmarks.peer_systems.system import Picture, System
from tests.harness.command_process import CommandProcess, private_environment
from tests.harness.written_distribution import write_distribution


@contextmanager
def open_system(folder: Path, *, durability: str = "memory") -> Iterator[System]:
    plugins = write_distribution(
        folder / "plugins",
        "peers-models",
        entry_points={"peers": "tests.benchmarks.peer_systems.paintmq_models"},
        files={},
    )
    environment = private_environment(
        folder,
        plugins=plugins,
        PAINTMQ_BROKER__PORT="0",
        PAINTMQ_BROKER__DURABILITY=durability,
        PAINTMQ_WORKERS__COUNT="1",
    )
    with ExitStack() as stack:
        broker = stack.enter_context(CommandProcess(["broker"], environment))
        endpoint = broker.wait_for_line(r"tcp://[0-9.]+:\d+")[0]
        stack.enter_context(CommandProcess(["node", "--connect", endpoint], environment))
        client = stack.enter_context(Client(endpoint, max_tasks=10_000))

        def echo(payload: bytes) -> object:
            task = Task("plugin", {"model": "peers-echo"}, {"payload": payload})
            return client.submit(task, patient=True)

        def invert(picture: Picture) -> object:
            task = Task("plugin", {"model": "peers-invert"}, {"image": picture})
            return client.submit(task, patient=True)

        def result(handle: object) -> object:
            outputs = handle.result(timeout=120).outputs  # type: ignore[attr-defined]
            return next(iter(outputs.values()))

        yield System(echo, invert, result)
