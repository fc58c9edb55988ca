"""The conformance tests notice a model that breaks the rule they are named after."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from attrs import field, frozen
from tests.harness.sound_model import SPEC, STEPS, Sound, Try

from paintmq.errors import ModelError
from paintmq.model import Device, InputSpec, Model, Outputs, Request
from paintmq.model import RunContext as Context
from paintmq.testing.model_contract import ModelContract
from paintmq.testing.scripted_context import ScriptedContext


def test_a_sound_model_passes_everything_that_runs_it(trial: Try, tmp_path: Path) -> None:
    sound = trial()
    parts = (sound.bench, sound.loaded, sound.context)
    contract = sound.contract

    contract.test_outputs_are_of_the_right_shape_and_kind(*parts, seed=1)
    contract.test_pixels_outside_the_mask_stay_as_they_are(*parts)
    contract.test_the_same_request_gives_the_same_bytes(*parts)
    contract.test_a_fresh_copy_of_the_model_gives_the_same_bytes(*parts)
    contract.test_progress_counts_up_to_its_total(*parts[:2], ScriptedContext(scratch=tmp_path))
    contract.test_a_cancelled_task_ends_within_a_step(*parts[:2], tmp_path)
    contract.test_a_task_after_a_cancelled_one_is_not_affected(*parts, tmp_path)
    contract.test_a_missing_input_is_refused_by_name(sound.bench)
    contract.test_a_file_that_is_no_picture_is_refused(sound.bench)
    contract.test_an_odd_size_works_or_is_refused_in_words(*parts, size=(1, 1))
    contract.test_a_picture_with_alpha_works_or_is_refused_in_words(*parts)
    contract.test_a_picture_of_16_bits_works_or_is_refused_in_words(*parts)


def filled(image: Any) -> type[Model]:
    """Return a model that gives back what the function makes of its input."""

    class Fills(Sound):
        def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
            return [{"image": image(request.inputs["image"].copy())} for request in batch]

    return Fills


@pytest.mark.parametrize(
    "image",
    [
        lambda image: image.astype(np.float32),
        lambda image: image[:, :, :2],
        lambda image: image[1:],
        lambda image: image[np.newaxis],
    ],
    ids=["dtype", "channels", "height", "dimensions"],
)
def test_a_wrong_shape_or_dtype_is_noticed(trial: Try, image: Any) -> None:
    wrong = trial(filled(image))

    with pytest.raises(Exception, match=r"float32|shape|channels"):
        wrong.contract.test_outputs_are_of_the_right_shape_and_kind(
            wrong.bench, wrong.loaded, wrong.context, seed=1
        )


def test_a_result_of_another_name_is_noticed(trial: Try) -> None:
    class Renames(Sound):
        def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
            return [{"picture": request.inputs["image"]} for request in batch]

    wrong = trial(Renames)

    with pytest.raises(AssertionError, match="main output is named 'image'"):
        wrong.contract.test_outputs_are_of_the_right_shape_and_kind(
            wrong.bench, wrong.loaded, wrong.context, seed=1
        )


def test_a_changed_pixel_outside_the_mask_is_noticed(trial: Try) -> None:
    wrong = trial(filled(lambda image: image ^ 1))

    with pytest.raises(AssertionError):
        wrong.contract.test_pixels_outside_the_mask_stay_as_they_are(
            wrong.bench, wrong.loaded, wrong.context
        )


def test_a_model_that_leaves_the_outside_to_the_worker_may_say_so(trial: Try) -> None:
    careless = trial(filled(lambda image: image ^ 1))
    lenient = type("Lenient", (type(careless.contract),), {"keeps_outside": False})()

    lenient.test_pixels_outside_the_mask_stay_as_they_are(
        careless.bench, careless.loaded, careless.context
    )


def test_a_result_that_depends_on_what_ran_before_is_noticed(trial: Try) -> None:
    numbers = itertools.count()
    wrong = trial(filled(lambda image: image * 0 + next(numbers)))

    with pytest.raises(AssertionError):
        wrong.contract.test_the_same_request_gives_the_same_bytes(
            wrong.bench, wrong.loaded, wrong.context
        )


def test_a_result_that_depends_on_the_copy_is_noticed(trial: Try) -> None:
    class Remembers(Sound):
        copies: ClassVar[list[int]] = []

        def load(self, device: Device) -> None:
            self.shade = len(self.copies)
            self.copies.append(self.shade)

        def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
            return [{"image": request.inputs["image"] * 0 + self.shade} for request in batch]

    wrong = trial(Remembers)

    with pytest.raises(AssertionError):
        wrong.contract.test_a_fresh_copy_of_the_model_gives_the_same_bytes(
            wrong.bench, wrong.loaded, wrong.context
        )


def test_a_model_deaf_to_cancelling_is_noticed(trial: Try, tmp_path: Path) -> None:
    class Deaf(Sound):
        def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
            for step in range(1, STEPS + 1):
                context.progress(step, STEPS)
            return [{"image": request.inputs["image"]} for request in batch]

    wrong = trial(Deaf)

    with pytest.raises(AssertionError, match="it took 3 more"):
        wrong.contract.test_a_cancelled_task_ends_within_a_step(wrong.bench, wrong.loaded, tmp_path)


def test_a_model_that_stops_early_and_calls_it_success_is_noticed(
    trial: Try, tmp_path: Path
) -> None:
    class Sneaky(Sound):
        def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
            context.progress(1, STEPS)
            return [{"image": request.inputs["image"]} for request in batch]

    wrong = trial(Sneaky)

    with pytest.raises(AssertionError, match="did not raise Cancelled"):
        wrong.contract.test_a_cancelled_task_ends_within_a_step(wrong.bench, wrong.loaded, tmp_path)


def test_progress_that_runs_backwards_is_noticed(trial: Try) -> None:
    class Backwards(Sound):
        def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
            context.progress(2, STEPS)
            context.progress(1, STEPS)
            return [{"image": request.inputs["image"]} for request in batch]

    wrong = trial(Backwards)

    with pytest.raises(AssertionError):
        wrong.contract.test_progress_counts_up_to_its_total(
            wrong.bench, wrong.loaded, wrong.context
        )


def test_a_model_that_falls_over_a_small_picture_is_noticed(trial: Try) -> None:
    def shrink(image: Any) -> Any:
        return image[:: image.shape[0] // 2]  # a step of 0 where there is one row

    wrong = trial(filled(shrink))

    with pytest.raises(ValueError, match="zero"):
        wrong.contract.test_an_odd_size_works_or_is_refused_in_words(
            wrong.bench, wrong.loaded, wrong.context, size=(1, 1)
        )


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        # Three channels of eight bits, whatever came.
        (
            lambda image: image[:, :, :3] + np.zeros((1, 1, 3), np.float16)[..., : image.shape[2]],
            "alpha",
        ),
        (lambda image: np.take(np.arange(256, dtype=np.uint8), image), "16_bits"),
    ],
)
def test_a_model_that_falls_over_a_kind_of_picture_is_noticed(
    trial: Try, change: Any, rule: str
) -> None:
    wrong = trial(filled(change))
    (name,) = [each for each in dir(ModelContract) if rule in each]

    with pytest.raises((IndexError, ValueError, ModelError)):
        getattr(wrong.contract, name)(wrong.bench, wrong.loaded, wrong.context)


def test_a_model_that_falls_over_an_optional_input_is_noticed(trial: Try) -> None:
    class OnlyWithout(Sound):
        def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
            assert all("guide" not in request.inputs for request in batch)
            return super().run(batch, context)

    class OnlyWith(Sound):
        def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
            assert all("guide" in request.inputs for request in batch)
            return super().run(batch, context)

    guide = InputSpec(name="guide", required=False)
    sound = trial(inputs=(*SPEC.inputs, guide))

    sound.contract.test_inputs_that_may_be_left_out_may_be_given_or_not(
        sound.bench, sound.loaded, sound.context
    )
    for kind in (OnlyWithout, OnlyWith):
        wrong = trial(kind, inputs=(*SPEC.inputs, guide))
        with pytest.raises(AssertionError):
            wrong.contract.test_inputs_that_may_be_left_out_may_be_given_or_not(
                wrong.bench, wrong.loaded, wrong.context
            )


def test_the_mask_of_an_inpainting_task_is_made_even_where_it_may_be_left_out(trial: Try) -> None:
    mask = InputSpec(name="mask", kind="mask", required=False)
    contract = trial(inputs=(InputSpec(name="image"), mask)).contract

    assert list(contract.make_inputs(1)) == ["image", "mask"]


def test_options_that_do_not_survive_being_sent_are_noticed(trial: Try) -> None:
    @frozen(eq=False)
    class NeverTheSame:
        shade: int = field(default=7, metadata={"help": "what the mask is filled with"})

    with pytest.raises(AssertionError):
        trial(options=NeverTheSame).contract.test_options_go_out_as_json_and_come_back()


def test_a_model_that_is_kept_after_unload_is_noticed(trial: Try, tmp_path: Path) -> None:
    class Clings(Sound):
        kept: ClassVar[list[Model]] = []

        def load(self, device: Device) -> None:
            self.kept.append(self)

    wrong = trial(Clings)

    with pytest.raises(AssertionError, match="5 of 5 unloaded models are still referred to"):
        wrong.contract.test_unloading_gives_the_memory_back(wrong.bench, tmp_path)


def test_memory_that_does_not_come_back_is_noticed(trial: Try, tmp_path: Path) -> None:
    class Leaks(Sound):
        lost: ClassVar[list[bytearray]] = []

        def load(self, device: Device) -> None:
            self.lost.append(bytearray(b"x" * (16 * 2**20)))

    wrong = trial(Leaks)

    with pytest.raises(AssertionError, match=r"rounds of load, run, unload cost \d+ MB"):
        wrong.contract.test_unloading_gives_the_memory_back(wrong.bench, tmp_path)
    Leaks.lost.clear()


def test_a_model_with_missing_modules_or_weights_is_skipped(trial: Try) -> None:
    contract = trial(requires=("no_such_module",), extra="paintmq[none]").contract

    with pytest.raises(pytest.skip.Exception, match=r"no_such_module: install paintmq\[none\]"):
        contract.make_bench()


def test_the_contracts_are_public() -> None:
    import paintmq.testing

    assert isinstance(paintmq.testing, ModuleType)
    assert paintmq.testing.ModelContract is ModelContract
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = paintmq.testing.Nothing
