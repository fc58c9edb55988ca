"""Models for the kit: an honest one, and two that are odd in the way their options say.

Installed as a third party's would be, so that brokers and model hosts of their own find them.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from paintmq.errors import ModelError
from paintmq.hookspecs import RegisterModel
from paintmq.model import Device, InputSpec, Job, Model, ModelSpec, Needs, Outputs, Request
from paintmq.model import RunContext as Context
from tests.containment.recipes import value_of
from tests.harness.written_distribution import write_distribution

if TYPE_CHECKING:
    from attrs import Attribute

PLUGIN = "containment"
INPUTS = (InputSpec(name="image"), InputSpec(name="mask", kind="mask", required=False))


@frozen(kw_only=True)
class HonestOptions:
    """What makes a result one's own."""

    salt: int = 0


class Honest(Model):
    """Gives back the picture xor the salt, so that a result shows whose it is."""

    def load(self, device: Device) -> None:
        """Nothing is to be loaded."""

    def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
        return [{"image": each.inputs["image"] ^ (each.options.salt & 255)} for each in batch]


def _odd_validator(options: Any, attribute: "Attribute[str]", where: str) -> None:
    if where == "validator":
        value_of(options.recipe)


@frozen(kw_only=True)
class OddOptions:
    """Where the model is to be odd, and how."""

    recipe: str = "none"
    where: str = field(default="", validator=_odd_validator)


def _at(job: Job, where: str, otherwise: Any) -> Any:
    return value_of(job.options.recipe) if job.options.where == where else otherwise


def odd_needs(job: Job) -> Any:
    amounts = {
        name: _at(job, f"needs.{name}", otherwise)
        for name, otherwise in (("memory_mb", 64), ("gpu_memory_mb", 0), ("cores", 1))
    }
    return _at(job, "needs", Needs(**amounts))


def odd_run_seconds(job: Job) -> Any:
    return _at(job, "run_seconds", 0.01)


def odd_batch_key(job: Job) -> Any:
    return _at(job, "batch_key", "one")


SPEC_FUNCTIONS = (
    *("needs", "needs.memory_mb", "needs.gpu_memory_mb", "needs.cores"),
    *("run_seconds", "batch_key", "validator"),
)
"""What of a ModelSpec the broker calls, or reads of what it was given."""


class OddModel(Model):
    """Does in ``run`` what the options say."""

    def load(self, device: Device) -> None:
        """Nothing is to be loaded."""

    def run(self, batch: Sequence[Request], context: Context) -> Any:
        (request,) = batch
        place, recipe = request.options.where, request.options.recipe
        act = _ACTS.get(place)
        if act is None:
            return [{"image": request.inputs["image"].copy()}]
        return act(recipe, request, context)


def _progress(recipe: str, request: Request, context: Context) -> Any:
    context.progress(value_of(recipe), 3)
    return _sound(request)


def _total(recipe: str, request: Request, context: Context) -> Any:
    context.progress(1, value_of(recipe))
    return _sound(request)


def _preview(recipe: str, request: Request, context: Context) -> Any:
    context.progress(1, 3, value_of(recipe))
    return _sound(request)


def _fail_with_code(recipe: str, request: Request, context: Context) -> Any:
    raise ModelError("as the recipe says", code=value_of(recipe))


def _fail_with_message(recipe: str, request: Request, context: Context) -> Any:
    raise ModelError(value_of(recipe))


def _fail_retryably(recipe: str, request: Request, context: Context) -> Any:
    raise ModelError("again", retryable=value_of(recipe))


def _write_inputs(recipe: str, request: Request, context: Context) -> Any:
    """Write into whatever may be written to, and give back another picture."""
    for value in request.inputs.values():
        array: Any = value
        try:
            array.setflags(write=True)
            array[...] = 255
        except ValueError:
            continue  # read-only, as it must be
    return [{"image": 255 - request.inputs["image"]}]


def _wait(recipe: str, request: Request, context: Context) -> Any:
    """Go on until it is cancelled, but not for ever."""
    for step in range(2_000):
        context.progress(step, 2_000)
        context.raise_if_cancelled()
        time.sleep(0.01)
    return _sound(request)


def _many(recipe: str, request: Request, context: Context) -> Any:
    return [{f"output{number}": b"x" for number in range(int(recipe.partition(":")[2]))}]


def _sound(request: Request) -> Any:
    return [{"image": request.inputs["image"].copy()}]


_ACTS: Mapping[str, Any] = {
    "outputs": lambda recipe, request, context: value_of(recipe),
    "output": lambda recipe, request, context: [value_of(recipe)],
    "output-name": lambda recipe, request, context: [{value_of(recipe): b"x"}],
    "output-value": lambda recipe, request, context: [{"image": value_of(recipe)}],
    "output-beside": lambda recipe, request, context: [
        {"image": request.inputs["image"], "note": value_of(recipe)}
    ],
    "icc_profile": lambda recipe, request, context: [
        {"image": request.inputs["image"], "icc_profile": value_of(recipe)}
    ],
    "many-outputs": _many,
    "progress-step": _progress,
    "progress-total": _total,
    "preview": _preview,
    "error-code": _fail_with_code,
    "error-message": _fail_with_message,
    "error-retryable": _fail_retryably,
    "write-inputs": _write_inputs,
    "wait": _wait,
}
MODEL_PLACES = tuple(
    place for place in _ACTS if place not in ("many-outputs", "write-inputs", "wait")
)


def spec(**changes: Any) -> ModelSpec:
    """Return the spec of the honest model, with these fields changed."""
    fields: dict[str, Any] = {
        "name": "honest",
        "implementation": f"{__name__}:Honest",
        "options": HonestOptions,
        "inputs": INPUTS,
        "run_seconds": lambda job: 0.01,
        "max_batch": 4,
        "batch_key": lambda job: "honest",
    }
    return ModelSpec(**(fields | changes))


def paintmq_register_models(register: RegisterModel) -> None:
    register(spec())
    register(
        spec(
            name="odd-spec",
            options=OddOptions,
            implementation=f"{__name__}:OddModel",
            needs=odd_needs,
            run_seconds=odd_run_seconds,
            batch_key=odd_batch_key,
            max_batch=1,
        )
    )
    register(
        spec(
            name="odd-model",
            options=OddOptions,
            implementation=f"{__name__}:OddModel",
            batch_key=None,
            max_batch=1,
            stall_limit=10.0,
        )
    )


def install(folder: Path) -> Path:
    """Install this module as a plugin into a folder; put it on ``sys.path`` for it to be found."""
    return write_distribution(
        folder, "containment-models", entry_points={PLUGIN: __name__}, files={}
    )
