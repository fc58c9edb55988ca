"""Which models are installed, and whether a task is valid for its model.

Pure: the broker's machine asks it about every task, and a client may ask before it submits.
"""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

import msgspec
from attrs import frozen

from paintmq.errors import (
    InvalidInputError,
    InvalidOptionError,
    InvalidTaskError,
    PluginStuck,
    UnknownModelError,
)
from paintmq.model import InputSpec, Job, ModelSpec, Needs
from paintmq.plugin.answers import estimate
from paintmq.plugin.options import nearest, parse_options
from paintmq.plugin.watched_inputs import Looks, undigested, watched
from paintmq.task import MAX_PRIORITY, MIN_PRIORITY, DeviceKind, TaskRequest, TaskType

REMEMBERED = 1_000
"""Checked tasks that are kept for others that are equal to them: most come in large numbers."""
MOST_STUCK = 3
"""Times that a model's functions may not return: each time the whole broker waits for them."""


@frozen(kw_only=True)
class CheckedTask:
    """What the broker knows of a task once it was checked against its model."""

    spec: ModelSpec
    options: Any
    """An instance of the spec's options class."""
    jobs: Mapping[DeviceKind, Job]
    """The job on each device it may run on, preferred device first; never empty."""
    needs: Mapping[DeviceKind, Needs]
    """What it needs there; the same keys."""
    run_seconds: Mapping[DeviceKind, float]
    """How long the plugin expects it to run there; the same keys."""
    batch_keys: Mapping[DeviceKind, str | None]
    """With equal keys it may share a batch there; None: it runs alone."""
    run_limit: float
    """Seconds one attempt may take."""
    result_bytes: int = 0
    """Of its largest output; 0 when unknown."""
    looks_at_digests: bool = False
    """Whether the plugin's estimates depend on the digests of inputs: then tasks with other inputs
    are not like this one, however alike they are else."""


class Catalog:
    """The installed models, by name."""

    def __init__(
        self, specs: Iterable[ModelSpec], *, absent: Mapping[str, str] | None = None
    ) -> None:
        """``absent`` says why a plugin's models are not among them, by the plugin's name."""
        self._absent = absent or {}
        self.specs: Mapping[str, ModelSpec] = {
            spec.name: spec for spec in sorted(specs, key=lambda spec: spec.name)
        }
        self._known: dict[tuple[object, ...], CheckedTask] = {}
        self._stuck: dict[str, int] = {}
        """How often a model's functions did not return, by the model's name."""

    def get(self, model: str) -> ModelSpec:
        """Return the spec of the model.

        Raises:
            UnknownModelError: no installed plugin provides it; the text lists what there is.
        """
        spec = self.specs.get(model)
        if spec is None:
            known = ", ".join(self.specs) or "none"
            hint = nearest(model, list(self.specs))
            if model in self._absent:
                hint = f"; plugin {self._absent[model]}"
            raise UnknownModelError(f"no model {model!r} is installed (installed: {known}){hint}")
        return spec

    def check(self, request: TaskRequest) -> CheckedTask:
        """Return the checked task: its options parsed, its needs on each device.

        Inputs are looked at by their names alone; the worker sees them decoded.

        Raises:
            InvalidTaskError: or one of its subclasses; the text is fit for the client.
        """
        _check_numbers(request)
        try:
            key = _what_is_checked(request)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return self._check(request)  # its options are no JSON, which ``_check`` says better
        known = self._known.get(key)
        if known is not None and known.looks_at_digests:
            key = (*key, tuple([info.digest for info in request.inputs]))
            known = self._known.get(key)
        if known is None:
            known = self._check(request)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = known
        return known

    def _check(self, request: TaskRequest) -> CheckedTask:
        spec = self.get(request.model)
        _check_task_type(spec, request.task_type)
        _check_inputs(spec, request)
        devices = _devices(spec, request)
        if self._stuck.get(spec.name, 0) >= MOST_STUCK:
            raise InvalidTaskError(
                f"model {spec.name} takes no tasks until the broker is started again: its plugin's"
                f" functions did not return {MOST_STUCK} times; its author must mend them"
            )
        try:
            options = parse_options(spec.options, request.options, model=spec.name)
            looks = Looks()
            inputs = watched(request.inputs, looks)
            estimates = {
                device: estimate(spec, Job(device=device, options=options, inputs=inputs))
                for device in devices
            }
            jobs = {
                device: Job(device=device, options=options, inputs=request.inputs)
                for device in devices
            }
        except PluginStuck as stuck:
            self._stuck[spec.name] = self._stuck.get(spec.name, 0) + 1
            raise InvalidTaskError(
                f"model {spec.name} cannot estimate this task: {stuck}"
            ) from None
        return CheckedTask(
            spec=spec,
            options=options,
            jobs=jobs,
            needs={device: each.needs for device, each in estimates.items()},
            run_seconds={device: each.run_seconds for device, each in estimates.items()},
            batch_keys={device: each.batch_key for device, each in estimates.items()},
            run_limit=request.run_limit or spec.run_limit,
            result_bytes=max(each.result_bytes for each in estimates.values()),
            looks_at_digests=looks.at_digests,
        )


def _what_is_checked(request: TaskRequest) -> tuple[object, ...]:
    """Return all that the answer for a request depends on; ``_check_numbers`` aside, and digests
    of its inputs, at which few models look.
    """
    options = msgspec.msgpack.encode(request.options) if request.options else b""
    kind = request.model, request.task_type, request.device, request.run_limit
    return (*kind, options, *map(undigested, request.inputs))


def _check_task_type(spec: ModelSpec, task_type: str) -> None:
    """``plugin`` suits every model; any other type only the models that declare it."""
    if task_type == TaskType.PLUGIN or task_type in spec.task_types:
        return
    usable = ", ".join(dict.fromkeys([*spec.task_types, TaskType.PLUGIN.value]))
    raise InvalidTaskError(
        f"model {spec.name} does not do {task_type!r} tasks; its task types: {usable}"
    )


def _check_numbers(request: TaskRequest) -> None:
    if not MIN_PRIORITY <= request.priority <= MAX_PRIORITY:
        raise InvalidTaskError(
            f"priority {request.priority} is out of range: {MIN_PRIORITY} to {MAX_PRIORITY}"
        )
    if request.max_attempts < 1:
        raise InvalidTaskError(f"max_attempts {request.max_attempts} must be at least 1")
    for name, seconds in (("run_limit", request.run_limit), ("expires_in", request.expires_in)):
        if seconds is not None and not (isfinite(seconds) and seconds > 0):
            raise InvalidTaskError(f"{name} {seconds} must be more than 0 seconds")


def _check_inputs(spec: ModelSpec, request: TaskRequest) -> None:
    known = [item.name for item in spec.inputs]
    seen: set[str] = set()
    for payload in request.inputs:
        if payload.name not in known:
            usable = ", ".join(known) or "none"
            raise InvalidInputError(
                f"model {spec.name} has no input {payload.name!r}; its inputs: {usable}"
            )
        if payload.name in seen:
            raise InvalidInputError(f"input {payload.name!r} is given twice")
        seen.add(payload.name)
    for wanted in spec.inputs:
        # A task without any is left to its worker, and costs it next to nothing.
        if seen and wanted.required and wanted.name not in seen:
            raise input_missing(spec, wanted)


def input_missing(spec: ModelSpec, wanted: InputSpec) -> InvalidInputError:
    """Return the refusal of a task without an input that its model needs."""
    what = f" ({wanted.summary})" if wanted.summary else ""
    how = f"give it in the task's inputs, as inputs={{{wanted.name!r}: ...}}"
    return InvalidInputError(f"model {spec.name} needs input {wanted.name!r}{what}: {how}")


def _devices(spec: ModelSpec, request: TaskRequest) -> tuple[DeviceKind, ...]:
    if request.device == "auto":
        return spec.devices
    if request.device not in spec.devices:
        raise InvalidOptionError(
            f"model {spec.name} does not run on {request.device}; it runs on"
            f" {' and '.join(spec.devices)}"
        )
    return (request.device,)
