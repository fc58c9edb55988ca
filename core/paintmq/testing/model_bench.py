"""One model on the bench: loaded and run in this process, by the code that a worker uses."""

import gc
import hashlib
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import field, frozen

from paintmq.config import Limits
from paintmq.image import array_from_payload, payload_of_array, payload_of_bytes
from paintmq.model import Device, Model, ModelSpec, Outputs, Request, RunContext, WeightFinder
from paintmq.process import allocator
from paintmq.task import Buffer, Fence, Json, PayloadInfo, TaskId
from paintmq.worker.channel.messages import RunItem
from paintmq.worker.host.model_outputs import make_outputs
from paintmq.worker.host.original_pixels import Original
from paintmq.worker.host.request_payloads import make_request


@frozen(kw_only=True)
class ModelBench:
    """A model to try."""

    spec: ModelSpec
    weights: WeightFinder
    device: Device = field(factory=lambda: Device(kind="cpu"))
    limits: Limits = field(factory=Limits)

    def implementation(self) -> Any:
        """Import what the spec names.

        Raises:
            ImportError, AttributeError: there is no such thing.
        """
        module, _, name = self.spec.implementation.partition(":")
        return getattr(import_module(module), name)

    def load(self) -> Model:
        """Import, construct and load the model, as a worker would."""
        model: Model = self.implementation()(self.spec, self.weights)
        model.load(self.device)
        return model

    def item(self, options: Mapping[str, Json], inputs: Mapping[str, Any]) -> RunItem:
        """Return one task as a model host gets it."""
        text = repr((sorted(inputs), sorted(options.items())))
        return RunItem(
            task_id=TaskId(hashlib.sha256(text.encode()).hexdigest()[:32]),
            fence=Fence(1, 1),
            task_type=self.spec.task_types[0],
            options=options,
            inputs=tuple(info for info, _ in _payloads(inputs)),
        )

    def request(self, options: Mapping[str, Json], inputs: Mapping[str, Any]) -> Request:
        """Return what the model gets: decoded and checked, arrays read-only.

        Raises:
            InvalidTaskError: an option or an input cannot be used.
        """
        payloads = [data for _, data in _payloads(inputs)]
        return make_request(self.spec, self.item(options, inputs), payloads, self.limits)

    def run(self, model: Model, request: Request, context: RunContext) -> Outputs:
        """Run the model on one request and return what it gave back, untouched."""
        (outputs,) = model.run([request], context)
        return outputs

    def as_sent(
        self, options: Mapping[str, Json], request: Request, outputs: Outputs
    ) -> dict[str, Any]:
        """Return the outputs as a worker sends them and a client gets them.

        Raises:
            ModelError: they are not what a model may give back.
        """
        payloads = make_outputs(Original.of(self.item(options, {}), request), outputs, self.limits)
        return {
            info.name: bytes(data) if info.kind == "file" else array_from_payload(info, data)
            for info, data in payloads
        }


def empty_folder(root: Path, name: str) -> Path:
    """Return a fresh folder for an attempt."""
    folder = root / name
    folder.mkdir()
    return folder


def memory_in_use(device: Device) -> int:
    """Return the bytes in use after collecting garbage: of the GPU, else of this process."""
    gc.collect()
    if device.kind == "cuda" and "torch" in sys.modules:
        torch = import_module("torch")
        torch.cuda.empty_cache()
        return int(torch.cuda.memory_allocated(device.index))
    allocator.give_back()
    import psutil  # type: ignore[import-untyped]  # it ships no types

    return int(psutil.Process().memory_info().rss)


def _payloads(inputs: Mapping[str, Any]) -> list[tuple[PayloadInfo, Buffer]]:
    return [
        payload_of_bytes(name, value) if isinstance(value, bytes) else payload_of_array(name, value)
        for name, value in inputs.items()
    ]
