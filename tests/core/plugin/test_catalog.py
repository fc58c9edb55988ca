"""What a task must be to be taken on, and what the refusal says."""

from typing import Any

import pytest
from attrs import field, frozen, validators

from paintmq.errors import (
    InvalidInputError,
    InvalidOptionError,
    InvalidTaskError,
    UnknownModelError,
)
from paintmq.model import InputSpec, Job, ModelSpec, Needs
from paintmq.plugin.catalog import Catalog
from paintmq.task import PayloadInfo, TaskId, TaskRequest


@frozen
class Strokes:
    radius: float = field(default=3.0, validator=[validators.ge(1), validators.le(100)])


def make_spec(**changes: Any) -> ModelSpec:
    settings: dict[str, Any] = {
        "name": "brush",
        "implementation": "brush.model:Brush",
        "options": Strokes,
        "inputs": (InputSpec(name="image"), InputSpec(name="mask", kind="mask", required=False)),
    }
    return ModelSpec(**settings | changes)


def make_request(**changes: Any) -> TaskRequest:
    settings: dict[str, Any] = {"id": TaskId("0" * 32), "task_type": "inpaint", "model": "brush"}
    return TaskRequest(**settings | changes)


def payload(name: str, width: int = 8, height: int = 4) -> PayloadInfo:
    return PayloadInfo(
        name=name, size=96, digest="", kind="array", dtype="uint8", width=width, height=height
    )


def test_a_good_task_comes_back_with_its_options_and_needs_per_device() -> None:
    spec = make_spec(
        devices=("cuda", "cpu"),
        needs=lambda job: Needs(memory_mb=job.pixels, gpu_memory_mb=len(job.device)),
    )

    checked = Catalog([spec]).check(make_request(options={"radius": 5}, inputs=(payload("image"),)))

    assert checked.spec is spec
    assert checked.options == Strokes(radius=5.0)
    assert type(checked.options.radius) is float
    assert list(checked.jobs) == ["cuda", "cpu"]
    assert checked.jobs["cpu"] == Job(
        device="cpu", options=checked.options, inputs=(payload("image"),)
    )
    assert checked.needs["cuda"] == Needs(memory_mb=32, gpu_memory_mb=4)
    assert checked.run_limit == spec.run_limit


def test_a_task_may_set_its_own_run_limit() -> None:
    assert Catalog([make_spec()]).check(make_request(run_limit=2.5)).run_limit == 2.5


def test_an_unknown_model_is_refused_with_the_nearest_and_all_installed() -> None:
    catalog = Catalog([make_spec(), make_spec(name="lama")])

    with pytest.raises(UnknownModelError, match=r"'lame'.*installed: brush, lama.*mean 'lama'"):
        catalog.check(make_request(model="lame"))


def test_a_chosen_device_leaves_only_that_device() -> None:
    catalog = Catalog([make_spec(devices=("cuda", "cpu"))])

    assert list(catalog.check(make_request(device="cpu")).jobs) == ["cpu"]


def test_a_device_the_model_cannot_use_is_refused_with_those_it_can() -> None:
    with pytest.raises(InvalidOptionError, match="brush does not run on cuda; it runs on cpu"):
        Catalog([make_spec()]).check(make_request(device="cuda"))


def test_the_task_type_plugin_fits_every_model() -> None:
    catalog = Catalog([make_spec(task_types=("upscale",))])

    assert catalog.check(make_request(task_type="plugin")).spec.name == "brush"
    assert catalog.check(make_request(task_type="upscale")).spec.name == "brush"


def test_a_task_type_the_model_does_not_declare_is_refused() -> None:
    catalog = Catalog([make_spec(task_types=("upscale",))])

    with pytest.raises(InvalidTaskError, match="'inpaint' tasks; its task types: upscale, plugin"):
        catalog.check(make_request(task_type="inpaint"))


def test_a_missing_input_is_refused_before_the_task_waits() -> None:
    inputs = (InputSpec(name="image"), InputSpec(name="mask", kind="mask"))
    catalog = Catalog([make_spec(inputs=inputs)])

    with pytest.raises(InvalidInputError, match="model brush needs input 'mask': give it in"):
        catalog.check(make_request(inputs=(payload("image"),)))
    catalog.check(make_request(inputs=(payload("image"), payload("mask"))))
    catalog.check(make_request())  # one without any is left to its worker


def test_an_unknown_input_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match="no input 'depth'; its inputs: image, mask"):
        Catalog([make_spec()]).check(make_request(inputs=(payload("depth"),)))


def test_an_input_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'image' is given twice"):
        Catalog([make_spec()]).check(make_request(inputs=(payload("image"), payload("image"))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"priority": 10}, "0 to 9"),
        ({"priority": -1}, "0 to 9"),
        ({"max_attempts": 0}, "at least 1"),
        ({"run_limit": 0.0}, "more than 0"),
        ({"run_limit": float("nan")}, "more than 0"),
        ({"expires_in": -1.0}, "more than 0"),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        Catalog([make_spec()]).check(make_request(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"needs": lambda job: 1 / 0},
        {"needs": lambda job: "much"},
        {"run_seconds": lambda job: float("inf")},
        {"run_seconds": lambda job: job.options.steps},
        {"batch_key": lambda job: 7},
    ],
)
def test_a_plugin_that_cannot_estimate_a_task_ends_that_task_alone(changes: dict[str, Any]) -> None:
    catalog = Catalog([make_spec(**changes), make_spec(name="sound")])

    with pytest.raises(InvalidTaskError, match="brush cannot estimate this task"):
        catalog.check(make_request())
    assert catalog.check(make_request(model="sound")).spec.name == "sound"


def test_a_plugin_that_refuses_a_task_by_its_inputs_is_quoted_as_it_is() -> None:
    def refuse(job: Job) -> Needs:
        raise InvalidInputError("a mask is needed, or a border")

    with pytest.raises(InvalidInputError, match=r"^a mask is needed, or a border$"):
        Catalog([make_spec(needs=refuse)]).check(make_request())


def test_equal_tasks_are_checked_once_and_others_each_for_itself() -> None:
    asked: list[Job] = []

    def needs(job: Job) -> Needs:
        asked.append(job)
        return Needs(memory_mb=job.pixels)

    catalog = Catalog([make_spec(needs=needs)])
    small, large = (payload("image", width=width) for width in (8, 16))

    first = catalog.check(make_request(inputs=(small,)))
    again = catalog.check(make_request(inputs=(small,), id=TaskId("1" * 32), priority=3))
    other = catalog.check(make_request(inputs=(large,)))

    assert again is first
    assert (first.needs["cpu"].memory_mb, other.needs["cpu"].memory_mb) == (32, 64)
    assert len(asked) == 2
    with pytest.raises(InvalidTaskError, match="priority"):
        catalog.check(make_request(inputs=(small,), priority=10))


def test_what_was_checked_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paintmq.plugin.catalog.REMEMBERED", 3)
    catalog = Catalog([make_spec()])

    for width in range(1, 10):
        catalog.check(make_request(inputs=(payload("image", width=width),)))

    assert len(catalog._known) <= 3


def test_options_that_are_no_json_are_refused_as_such() -> None:
    with pytest.raises(InvalidOptionError, match="radius"):
        Catalog([make_spec()]).check(make_request(options={"radius": object()}))
