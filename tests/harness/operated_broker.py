"""A broker and the command line of its operator: for tests of the commands that ask a broker."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from paintmq.broker.shell.server import BrokerServer
from paintmq.config import Limits, RouterConfig
from paintmq.task import Json, TaskError, TaskRequest
from paintmq.wire.messages import (
    Accepted,
    Assign,
    AttemptCrashed,
    AttemptFailed,
    AttemptRecorded,
    Submit,
    Welcome,
    WorkerWelcome,
)
from tests.harness.toy_broker import toy_client, toy_config, toy_plugins, toy_task, toy_worker
from tests.harness.wire_peer import WirePeer

if TYPE_CHECKING:
    import pytest


class OperatedBroker:
    """A running broker, a client and workers of it, and the command line of its operator."""

    def __init__(
        self,
        command_line: Callable[[Sequence[str]], int],
        capsys: "pytest.CaptureFixture[str]",
        stack: ExitStack,
        journal: Path | None = None,
    ) -> None:
        """``command_line`` runs a command in this process; what is started ends with the stack."""
        self._command_line = command_line
        self._capsys = capsys
        self._stack = stack
        config = evolve(toy_config(journal), limits=Limits(crashes=1))
        self._settings = config
        self._server = BrokerServer(config, toy_plugins(), reread=lambda: self._settings)
        self._server.start()
        stack.callback(self._server.stop, grace=0.0)
        self._client = stack.enter_context(toy_client(self._server))
        self._client.hear(Welcome)

    def command(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command for this broker; return its exit status, stdout and stderr."""
        status = self._command_line([*arguments, "--connect", self._server.client_endpoint])
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def use_router(self, name: str, **parameters: Json) -> None:
        """Let another router decide, as by changed settings and a reload."""
        self._settings = evolve(
            self._settings, router=RouterConfig(name=name, parameters=parameters)
        )
        assert self.command("reload")[0] == 0

    def submit(self, **changes: Any) -> TaskRequest:
        """Submit a toy task and wait until it is accepted."""
        request = toy_task(**changes)
        self._client.say(Submit(request))
        self._client.hear(Accepted)
        return request

    def start_worker(self, name: str = "node/cpu-0") -> WirePeer:
        worker = self._stack.enter_context(toy_worker(self._server, name=name))
        worker.hear(WorkerWelcome)
        return worker

    def kill_with(self, worker: WirePeer) -> None:
        """Let the task that the worker is given next be its death, and the task's too."""
        (item,) = worker.hear(Assign).assignments
        worker.say(
            AttemptCrashed(
                task_id=item.task.id, fence=item.fence, alone=True, detail="killed by SIGSEGV"
            )
        )
        worker.hear(AttemptRecorded)

    def fail(self, worker: WirePeer) -> None:
        """Let the next attempt of the worker end in an error that may pass."""
        (item,) = worker.hear(Assign).assignments
        error = TaskError(
            code="model_error", message="boom", retryable=True, traceback="Traceback\n  line 1\n"
        )
        worker.say(AttemptFailed(task_id=item.task.id, fence=item.fence, error=error))
        worker.hear(AttemptRecorded)
