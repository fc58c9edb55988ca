"""Loads models and runs batches of attempts with them: the work of a model host, without its I/O.

Rule 1: whatever a model raises, every attempt of the batch gets an Outcome.
Rule 2: an attempt's bad input or failure never ends its neighbours: a failing batch is split and
its attempts are tried one by one.
Rule 3: a batch is marked, then touched; the mark is removed when it is over. Where there is no
mark, the batch is announced instead.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field, frozen

from paintmq.config import Limits
from paintmq.errors import Cancelled, ModelError, PluginError, said_by
from paintmq.image import payload_of_array
from paintmq.model import Device, Model, ModelSpec, Outputs, Request
from paintmq.plugin.answers import MOST_MB, whole_number
from paintmq.plugin.options import nearest
from paintmq.process.memory import MemoryGauge, device_memory_used_mb
from paintmq.shared_memory.ranges import place_of
from paintmq.task import Buffer, PayloadInfo
from paintmq.tracing import run_spans
from paintmq.weights import WeightFolder
from paintmq.worker.channel.batch_mark import BatchMark
from paintmq.worker.channel.messages import (
    AttemptsEnded,
    BatchBegun,
    BatchProgressed,
    BatchSplit,
    FromHost,
    HostLoaded,
    HostLoadFailed,
    HostUnloaded,
    Key,
    MarkPlace,
    Outcome,
    Run,
    RunItem,
)
from paintmq.worker.host.failures import free_memory, is_device_broken, is_out_of_memory, task_error
from paintmq.worker.host.model_outputs import are_shared, in_shared_memory, make_outputs
from paintmq.worker.host.original_pixels import Original, wants_cryptographic
from paintmq.worker.host.output_capture import OutputCapture
from paintmq.worker.host.request_payloads import check_unchanged, fills_mask, make_request
from paintmq.worker.host.run_context import CancelFlags, HostRunContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Send: TypeAlias = Callable[[FromHost, Sequence[Buffer]], None]

logger = logging.getLogger(__name__)

MOST_OUTCOMES = 256
MOST_BUFFERS = 1_024
"""Told in one message: tracebacks and names of outputs must stay below its largest size."""


@frozen(kw_only=True)
class HostSetup:
    """What a model host knows before its first model."""

    specs: Mapping[str, ModelSpec]
    device: Device
    weights: WeightFolder
    limits: Limits
    scratch: Path


@frozen
class _Ready:
    """An attempt whose inputs are decoded."""

    item: RunItem
    request: Request
    original: Original
    payloads: Sequence[Buffer] = ()
    """Its inputs: in shared memory they must still be what they were when the model is done."""

    @property
    def key(self) -> Key:
        return self.item.task_id, self.item.fence


@define(eq=False)
class ModelRunner:
    """The models of one host, and their runs, on one thread."""

    _setup: HostSetup
    _send: Send
    flags: CancelFlags = field(factory=CancelFlags)
    _mark: BatchMark = field(factory=lambda: BatchMark.at(MarkPlace()))
    _output: OutputCapture = field(factory=OutputCapture)
    broken: str = field(default="", init=False)
    """Why this process must not be used any more; empty while it may."""
    _models: dict[str, Model] = field(factory=dict[str, Model], init=False)
    _shares: bool = field(default=False, init=False)
    """It has read inputs in memory that is shared, and is not its own to answer for."""
    _memory: MemoryGauge = field(factory=MemoryGauge, init=False)
    _unended: int = field(default=0, init=False)
    """Attempts of the current batch that have no Outcome yet."""

    def load(self, name: str) -> None:
        """Load the model and report it, or report why not."""
        started = time.perf_counter()
        used = device_memory_used_mb()
        try:
            model = self._make(name)
            model.load(self._setup.device)
            memory_mb = max(
                whole_number(model.resident_mb(), "resident_mb()", most=MOST_MB),
                device_memory_used_mb() - used,
            )
        except BaseException as error:  # noqa: BLE001 -- rule 1: a plugin's code
            self._note_damage(error)
            self._send(HostLoadFailed(model=name, error=task_error(error)), ())
            del error
            free_memory()
            return
        self._models[name] = model
        seconds = time.perf_counter() - started
        self._send(HostLoaded(model=name, seconds=seconds, memory_mb=memory_mb), ())

    def _make(self, name: str) -> Model:
        spec = self._setup.specs.get(name)
        if spec is None:
            raise ModelError(
                f"model {name} is not installed here", code="model_unavailable", retryable=True
            )
        try:
            kind = _class_of(spec)
        except ImportError as error:
            remedy = f"; install {spec.extra}" if spec.extra else ""
            raise ModelError(
                f"model {name} cannot be imported: {said_by(error)}{remedy}",
                code="model_unavailable",
                retryable=True,
            ) from error
        model = kind(spec, self._setup.weights.for_model(spec))
        if not isinstance(model, Model):
            raise PluginError(f"{spec.implementation} of model {name} is no paintmq.model.Model")
        return model

    def unload(self, name: str) -> None:
        """Drop the model, release its memory, and report it."""
        model = self._models.pop(name, None)
        if model is not None:
            try:
                model.unload()
            except BaseException as error:  # noqa: BLE001 -- it is dropped all the same
                logger.warning("model %s: unload() raised: %s", name, said_by(error))
            del model
            free_memory()
        self._send(HostUnloaded(name), ())

    def unload_all(self) -> None:
        for name in list(self._models):
            self.unload(name)

    # ---- running -------------------------------------------------------------------------------

    def run(self, order: Run, payloads: Sequence[Buffer]) -> None:
        """Run a batch and report how each attempt ended."""
        self._unended = len(order.items)
        self._output.running = order.items
        if not self._mark.set(order.batch):
            self._send(BatchBegun(order.batch), ())
        spec = self._setup.specs[order.model]
        ready: list[_Ready] = []
        rest = iter(payloads)
        for item in order.items:
            mine = [next(rest) for _ in item.inputs]
            if self.flags.is_set((item.task_id, item.fence)):
                self._end(order, [_cancelled(item)])
                continue
            try:
                request = make_request(spec, item, mine, self._setup.limits)
                original = Original.of(item, request, fills_mask=fills_mask(spec, item))
                ready.append(_Ready(item, request, original, mine))
                self._shares = self._shares or any(place_of(each) for each in mine)
            except BaseException as error:  # noqa: BLE001 -- rule 1: decoders and options classes
                self._end(order, [_failed(item, error)])
        if ready:
            self._run_together(order, ready)

    def _run_together(self, order: Run, batch: list[_Ready]) -> None:
        """Run the batch in one call; if that fails and there are several, one by one."""
        started = time.perf_counter()
        try:
            outputs = self._call(order, batch)
        except Cancelled:
            for each in batch:
                self._end(order, [self._stopped(each)])
        except BaseException as error:  # noqa: BLE001 -- rule 1: a plugin's code
            self._note_damage(error)
            again = len(batch) > 1 and not self.broken
            if not again:
                ran = (time.perf_counter() - started) / len(batch)
                for each in batch:
                    self._end(order, [_failed(each.item, error, ran)])
            if is_out_of_memory(error):
                del error
                free_memory()
            if again:
                self._run_one_by_one(order, batch)
        else:
            ran = (time.perf_counter() - started) / len(batch)
            self._finish(order, batch, outputs, ran)

    def _run_one_by_one(self, order: Run, batch: list[_Ready]) -> None:
        self._send(BatchSplit(order.batch), ())
        for each in batch:
            if self.flags.is_set(each.key):
                self._end(order, [_cancelled(each.item)])
            elif self.broken:
                error = ModelError(self.broken, code="device_error", retryable=True)
                self._end(order, [_failed(each.item, error)])
            else:
                self._output.running = (each.item,)
                self._run_together(order, [each])

    def _call(self, order: Run, batch: list[_Ready]) -> Sequence[Outputs]:
        def report(step: int, total: int, preview: "NDArray[np.uint8] | None") -> None:
            infos: tuple[PayloadInfo, ...] = ()
            buffers: tuple[Buffer, ...] = ()
            if preview is not None:
                old = any(wants_cryptographic(each.item) for each in batch)
                info, buffer = payload_of_array("preview", preview, cryptographic=old)
                infos, buffers = (info,), (buffer,)
            message = BatchProgressed(batch=order.batch, step=step, total=total, preview=infos)
            self._send(message, buffers)

        context = HostRunContext(
            [each.key for each in batch],
            self.flags,
            report,
            self._setup.scratch,
            logging.getLogger(f"paintmq.models.{order.model}"),
        )
        with context, _spans(order.model, batch):
            outputs = self._models[order.model].run([each.request for each in batch], context)
        outputs = list(outputs)
        if len(outputs) != len(batch):
            raise ModelError(f"the model returned {len(outputs)} results for {len(batch)} requests")
        if len(batch) > 1 and are_shared(outputs):
            # Each alone, they come out right: they are sent before the model runs again.
            raise ModelError("the model returned one array for several requests")
        return outputs

    def _finish(
        self, order: Run, batch: list[_Ready], outputs: Sequence[Outputs], ran: float
    ) -> None:
        outcomes: list[Outcome] = []
        buffers: list[Buffer] = []
        for each, output in zip(batch, outputs, strict=True):
            if len(outcomes) >= MOST_OUTCOMES or len(buffers) >= MOST_BUFFERS:
                self._end(order, outcomes, buffers)
                outcomes, buffers = [], []
            try:
                check_unchanged(each.item.inputs, each.payloads)
                payloads = make_outputs(each.original, output, self._setup.limits)
                payloads = in_shared_memory(each.payloads, payloads)
            except BaseException as error:  # noqa: BLE001 -- rule 1: outputs are a plugin's objects
                outcomes.append(_failed(each.item, error, ran))
                continue
            outcomes.append(
                Outcome(
                    task_id=each.item.task_id,
                    fence=each.item.fence,
                    ending="succeeded",
                    outputs=tuple(info for info, _ in payloads),
                    ran=ran,
                )
            )
            buffers += [buffer for _, buffer in payloads]
        self._end(order, outcomes, buffers)

    def _stopped(self, each: _Ready) -> Outcome:
        if self.flags.is_set(each.key):
            return _cancelled(each.item)
        return _failed(each.item, ModelError("the model stopped as if cancelled, but was not"))

    def _end(self, order: Run, outcomes: list[Outcome], buffers: Sequence[Buffer] = ()) -> None:
        for outcome in outcomes:
            self.flags.clear((outcome.task_id, outcome.fence))
        self._unended -= len(outcomes)
        self._output.flush()
        if not self._unended:
            self._mark.clear()
            self._output.running = ()
        memory_mb = self._memory.resident_mb(without_shared=self._shares, now=time.monotonic())
        message = AttemptsEnded(batch=order.batch, outcomes=tuple(outcomes), memory_mb=memory_mb)
        self._send(message, buffers)

    def _note_damage(self, error: BaseException) -> None:
        if is_device_broken(error):
            self.broken = task_error(error).message


def _spans(model: str, batch: list[_Ready]) -> AbstractContextManager[object]:
    """Trace a run, if any of its tasks is traced."""
    for each in batch:
        if each.item.trace:
            break
    else:
        return nullcontext()
    traces = [(each.item.trace, each.item.task_id, each.item.fence.attempt) for each in batch]
    return run_spans(traces, model)


def _class_of(spec: ModelSpec) -> Any:
    """Import what the spec names as its model.

    Raises:
        ModelError: its module has no such class. What importing the module raises comes out.
    """
    name, _, class_name = spec.implementation.partition(":")
    if name == "__main__":
        raise ModelError(
            f"model {spec.name}: its class is in __main__, which a worker's process cannot import:"
            f" put it into a module",
            code="model_unavailable",
        )
    found: Any = import_module(name)
    for part in class_name.split("."):
        if not hasattr(found, part):
            classes = [each for each, kind in vars(found).items() if isinstance(kind, type)]
            raise ModelError(
                f"module {name} has no class {class_name}{nearest(class_name, classes)}",
                code="model_unavailable",
            )
        found = getattr(found, part)
    return found


def _cancelled(item: RunItem) -> Outcome:
    return Outcome(task_id=item.task_id, fence=item.fence, ending="cancelled")


def _failed(item: RunItem, error: BaseException, ran: float = 0.0) -> Outcome:
    return Outcome(
        task_id=item.task_id,
        fence=item.fence,
        ending="failed",
        error=task_error(error),
        ran=ran,
    )
