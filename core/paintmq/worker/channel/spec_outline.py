"""A ModelSpec as plain data, for hosts that cannot find its plugin by themselves.

Plugins registered by hand (tests, embedding applications) are not installed, so a child process
does not see them. The parts of a spec that a host needs are passed by name; the functions that
only the broker calls (needs, estimates, batch keys) are left out.
"""

from importlib import import_module
from typing import Any

from attrs import frozen

from paintmq.errors import PluginError
from paintmq.model import API_VERSION, InputSpec, ModelSpec, NoOptions, WeightFile
from paintmq.task import DeviceKind


@frozen(kw_only=True)
class SpecOutline:
    """What a model host must know of a model."""

    name: str
    implementation: str
    task_types: tuple[str, ...]
    options: str
    """``module:qualified.name`` of the options class; empty where it cannot be imported."""
    inputs: tuple[InputSpec, ...]
    devices: tuple[DeviceKind, ...]
    resident_mb: int
    max_batch: int
    extra: str = ""
    weights: tuple[WeightFile, ...] = ()
    api: int = API_VERSION


def outline_of(spec: ModelSpec) -> SpecOutline:
    """Return the outline of the spec."""
    options = spec.options
    named = "<" not in options.__qualname__ and options is not NoOptions
    return SpecOutline(
        name=spec.name,
        implementation=spec.implementation,
        task_types=spec.task_types,
        options=f"{options.__module__}:{options.__qualname__}" if named else "",
        inputs=spec.inputs,
        devices=spec.devices,
        resident_mb=spec.resident_mb,
        max_batch=spec.max_batch,
        extra=spec.extra,
        weights=spec.weights,
        api=spec.api,
    )


def spec_of(outline: SpecOutline) -> ModelSpec:
    """Return a spec sufficient for running the model.

    Raises:
        PluginError: its options class cannot be imported.
    """
    return ModelSpec(
        name=outline.name,
        implementation=outline.implementation,
        task_types=outline.task_types,
        options=_import(outline.options) if outline.options else NoOptions,
        inputs=outline.inputs,
        devices=outline.devices,
        resident_mb=outline.resident_mb,
        max_batch=outline.max_batch,
        extra=outline.extra,
        weights=outline.weights,
        api=outline.api,
    )


def _import(path: str) -> type:
    module, _, name = path.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"options class {path} cannot be imported: {error}") from error
    if not isinstance(found, type):
        raise PluginError(f"options class {path} is no class")
    return found
