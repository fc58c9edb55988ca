"""The bytes of a worker's attempts: inputs until the host has answered, outputs until recorded.

The machine decides how long; what belongs to which message is known here.
"""

from collections.abc import Sequence

from attrs import define, field

from paintmq.task import Buffer
from paintmq.wire.messages import Assign, AttemptProgressed, AttemptSucceeded, FromWorker
from paintmq.wire.transfer import Payload
from paintmq.worker.channel.messages import (
    AttemptsEnded,
    BatchProgressed,
    FromHost,
    Key,
    Run,
    ToHost,
)


@define(eq=False)
class HeldPayloads:
    """Payloads by attempt; none is ever copied."""

    _inputs: dict[Key, tuple[Payload, ...]] = field(factory=dict, init=False)
    _outputs: dict[Key, tuple[Buffer, ...]] = field(factory=dict, init=False)
    _preview: tuple[Buffer, ...] = field(default=(), init=False)

    def assigned(self, message: Assign, payloads: Sequence[Payload]) -> None:
        """Keep the inputs that came with these assignments, in their order."""
        rest = iter(payloads)
        for item in message.assignments:
            self._inputs[item.task.id, item.fence] = tuple(next(rest) for _ in item.task.inputs)

    def answered(self, message: FromHost, payloads: Sequence[Buffer]) -> None:
        """Keep what the host sent along: outputs, or the preview that is passed on next."""
        match message:
            case AttemptsEnded(outcomes=outcomes):
                rest = iter(payloads)
                for outcome in outcomes:
                    buffers = tuple(next(rest) for _ in outcome.outputs)
                    if outcome.ending == "succeeded":
                        self._outputs[outcome.task_id, outcome.fence] = buffers
            case BatchProgressed():
                self._preview = tuple(payloads)
            case _:
                pass

    def to_host(self, message: ToHost) -> tuple[Payload, ...]:
        """Return what follows the message to the host."""
        if not isinstance(message, Run):
            return ()
        keys = [(item.task_id, item.fence) for item in message.items]
        return tuple(payload for key in keys for payload in self._inputs[key])

    def to_broker(self, message: FromWorker) -> tuple[Buffer, ...]:
        """Return what follows the message to the broker."""
        match message:
            case AttemptSucceeded(task_id=task_id, fence=fence):
                return self._outputs.get((task_id, fence), ())
            case AttemptProgressed(preview=preview) if preview:
                return self._preview
            case _:
                return ()

    def release_inputs(self, key: Key) -> None:
        self._inputs.pop(key, None)

    def release_outputs(self, key: Key) -> None:
        self._outputs.pop(key, None)

    def clear(self) -> None:
        self._inputs.clear()
        self._outputs.clear()
