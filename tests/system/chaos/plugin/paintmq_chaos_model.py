"""Answers with the SHA-256 of its input, after a while; or kills its own process.

What is large comes back, too: inputs and outputs of that size travel by shared memory.
"""

import hashlib
import os
import signal
import threading
from collections.abc import Sequence

from paintmq.model import Device, Model, Outputs, Request, RunContext

ECHOED = 1000
"""Inputs of more bytes are given back."""


class ChaosModel(Model):
    def load(self, device: Device) -> None:
        self._never = threading.Event()

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        return [self._answer(request, context) for request in batch]

    def _answer(self, request: Request, context: RunContext) -> Outputs:
        if request.options.poison:
            os.kill(os.getpid(), signal.SIGKILL)
        self._never.wait(request.options.seconds / 2)
        if request.options.stubborn:
            self._never.wait(3.0)
        else:
            context.raise_if_cancelled()
        self._never.wait(request.options.seconds / 2)
        data = request.inputs["data"]
        digest = hashlib.sha256(data).hexdigest().encode()
        return {"digest": digest, "echo": data} if len(data) > ECHOED else {"digest": digest}
