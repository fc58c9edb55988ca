"""What a WorkerMachine asks its shell to do: a closed union."""

from typing import TypeAlias

from attrs import frozen

from paintmq.task import Fence, TaskId
from paintmq.wire.messages import FromWorker
from paintmq.worker.channel.messages import ToHost


@frozen
class SendToBroker:
    """Send this message; the shell adds the payloads it keeps for the attempt."""

    message: FromWorker


@frozen
class SendToHost:
    """Send this message to the running model host; the shell adds input payloads."""

    message: ToHost


@frozen
class StartHost:
    """Start a model host; report ``host_exited`` when it is gone."""


@frozen
class StopHost:
    """Let the idle model host leave by itself, and help after a moment; then ``host_exited``."""


@frozen
class KillHost:
    """Kill the model host now; then ``host_exited``."""

    reason: str


@frozen
class Reconnect:
    """Drop the connection, open one under a fresh PeerId, and call ``connected``."""

    reason: str


@frozen
class ReleaseInputs:
    """The attempt's input payloads are no longer needed."""

    task_id: TaskId
    fence: Fence


@frozen
class ReleaseOutputs:
    """The attempt's output payloads are no longer needed."""

    task_id: TaskId
    fence: Fence


@frozen
class Leave:
    """Nothing is left to do: send what is queued, then stop for good."""


Command: TypeAlias = (
    SendToBroker
    | SendToHost
    | StartHost
    | StopHost
    | KillHost
    | Reconnect
    | ReleaseInputs
    | ReleaseOutputs
    | Leave
)
