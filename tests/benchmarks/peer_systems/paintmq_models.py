"""The two tasks as models of PaintMQ, found as a third party's are."""

from collections.abc import Sequence

import numpy as np

from paintmq.hookspecs import RegisterModel
from paintmq.model import Device, InputSpec, Model, ModelSpec, Outputs, Request, RunContext


class Echo(Model):
    """Returns the bytes it was given."""

    def load(self, device: Device) -> None:
        """Nothing to load."""

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        return [{"payload": bytes(request.inputs["payload"])} for request in batch]


class Invert(Model):
    """Returns the inverted picture."""

    def load(self, device: Device) -> None:
        """Nothing to load."""

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        return [{"image": np.bitwise_not(request.inputs["image"])} for request in batch]


def paintmq_register_models(register: RegisterModel) -> None:
    register(
        ModelSpec(
            name="peers-echo",
            implementation=f"{__name__}:Echo",
            task_types=("plugin",),
            inputs=(InputSpec(name="payload", kind="data"),),
            max_batch=16,
            batch_key=lambda job: "all",
            run_seconds=lambda job: 0.0001,
            load_seconds=0.01,
            api=2,
        )
    )
    register(
        ModelSpec(
            name="peers-invert",
            implementation=f"{__name__}:Invert",
            task_types=("plugin",),
            inputs=(InputSpec(name="image"),),
            run_seconds=lambda job: 0.01,
            load_seconds=0.01,
            api=2,
        )
    )
