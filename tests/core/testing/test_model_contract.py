"""The conformance tests notice a model that breaks the rule they are named after."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from attrs import evolve, field, frozen

from paintmq.config import WeightsConfig
from paintmq.errors import ModelError
from paintmq.model import Device, InputSpec, Model, ModelSpec, Needs, Outputs, Request
from paintmq.model import RunContext as Context
from paintmq.testing import manifest_budget
from paintmq.testing.model_bench import ModelBench
from paintmq.testing.model_contract import ModelContract
from paintmq.testing.plugin_contract import PluginContract
from paintmq.testing.scripted_context import ScriptedContext
from paintmq.weights import WeightFolder

STEPS = 4


@frozen
class Options:
    shade: int = field(default=7, metadata={"help": "what the mask is filled with"})


SPEC = ModelSpec(
    name="sound",
    implementation=f"{__name__}:Sound",
    summary="Fills the mask",
    licence="none",
    options=Options,
    inputs=(InputSpec(name="image"), InputSpec(name="mask", kind="mask")),
)


class Sound(Model):
    """Keeps to every rule; each test below breaks one."""

    def load(self, device: Device) -> None:
        pass

    def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
        outputs: list[Outputs] = []
        for request in batch:
            image = request.inputs["image"].copy()
            for step in range(1, STEPS + 1):
                context.raise_if_cancelled()
                context.progress(step, STEPS)
            image[request.inputs["mask"] > 0, :3] = request.options.shade
            outputs.append({"image": image})
        return outputs


class Contract(ModelContract):
    """The contract of a model that is handed in, not imported."""

    __test__ = False
    tried: ClassVar[ModelSpec] = SPEC

    @classmethod
    def spec(cls) -> ModelSpec:
        return cls.tried


def contract_of(spec: ModelSpec) -> Contract:
    class Tried(Contract):
        __test__ = False
        tried = spec

    return Tried()


@frozen
class Trial:
    """A model, and what the contract's tests are handed with it."""

    bench: ModelBench
    loaded: Model
    context: ScriptedContext
    contract: Contract


class _Bench(ModelBench):
    """A bench whose model is a class of this test, not one that can be imported."""

    kind: ClassVar[type[Model]]

    def load(self) -> Model:
        model = self.kind(self.spec, self.weights)
        model.load(self.device)
        return model


Try = Callable[..., Trial]


@pytest.fixture
def trial(tmp_path: Path) -> Try:
    def trial(kind: type[Model] = Sound, **changes: Any) -> Trial:
        spec = evolve(SPEC, **changes)
        bench_class = type("_Bench", (_Bench,), {"kind": kind})
        bench = bench_class(spec=spec, weights=WeightFolder(WeightsConfig()))
        context = ScriptedContext(scratch=tmp_path)
        return Trial(bench, bench.load(), context, contract_of(spec))

    return trial


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


class Mixes(Sound):
    def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
        return super().run(batch, context)[::-1]


class Drops(Sound):
    def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
        return super().run(batch, context)[:1]


@pytest.mark.parametrize(
    ("kind", "words"), [(Mixes, "got something else than alone"), (Drops, "1 results for a batch")]
)
def test_a_batch_that_is_mixed_up_or_cut_short_is_noticed(
    trial: Try, kind: type[Model], words: str
) -> None:
    together = {"max_batch": 8, "batch_key": lambda job: "any"}
    sound, wrong = trial(**together), trial(kind, **together)

    sound.contract.test_each_request_of_a_batch_gets_its_own_result(
        sound.bench, sound.loaded, sound.context
    )
    with pytest.raises(AssertionError, match=words):
        wrong.contract.test_each_request_of_a_batch_gets_its_own_result(
            wrong.bench, wrong.loaded, wrong.context
        )


def test_a_task_that_is_spoilt_by_a_cancelled_one_before_is_noticed(
    trial: Try, tmp_path: Path
) -> None:
    class Spoilt(Sound):
        steps_left = 0

        def run(self, batch: Sequence[Request], context: Context) -> Sequence[Outputs]:
            self.steps_left += STEPS
            outputs = super().run(batch, context)
            self.steps_left -= STEPS  # which a cancelled one never comes to
            return [
                {"image": np.asarray(each["image"]) ^ np.uint8(self.steps_left)} for each in outputs
            ]

    wrong = trial(Spoilt)

    with pytest.raises(AssertionError):
        wrong.contract.test_a_task_after_a_cancelled_one_is_not_affected(
            wrong.bench, wrong.loaded, wrong.context, tmp_path
        )


STRAY = """
import os
from paintmq.model import InputSpec, Model, ModelSpec

def paintmq_register_models(register):
    register(
        ModelSpec(
            name="stray",
            implementation="stray_of_test:Stray",
            task_types=("copy",),
            summary="Copies a picture, but not in every process alike",
            inputs=(InputSpec(name="image"),),
        )
    )

class Stray(Model):
    def load(self, device): pass

    def run(self, batch, context):
        return [{"image": request.inputs["image"] ^ (os.getpid() % 255 + 1)} for request in batch]
"""


@pytest.mark.slow
def test_a_result_through_a_broker_that_is_not_the_one_of_here_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stray_of_test.py").write_text(STRAY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    class OfStray(ModelContract):
        __test__ = False
        plugin = "stray_of_test"

    bench = OfStray.make_bench()
    context = ScriptedContext(scratch=tmp_path)

    with pytest.raises(AssertionError, match="task 0 got something else than alone"):
        OfStray().test_tasks_at_once_each_get_their_own_result(bench, bench.load(), context)


def test_an_option_that_swallows_what_is_unknown_is_noticed(trial: Try) -> None:
    @frozen
    class Swallows:
        no_such_option: int = field(default=1, metadata={"help": "what was misspelt"})

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        trial(options=Swallows).contract.test_an_unknown_option_is_refused_by_name()


def test_options_that_do_not_survive_being_sent_are_noticed(trial: Try) -> None:
    @frozen(eq=False)
    class NeverTheSame:
        shade: int = field(default=7, metadata={"help": "what the mask is filled with"})

    with pytest.raises(AssertionError):
        trial(options=NeverTheSame).contract.test_options_go_out_as_json_and_come_back()


def test_a_plugin_that_needs_mending_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty_of_test.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    kind = type("Empty", (PluginContract,), {"plugin": "empty_of_test", "__test__": False})

    with pytest.raises(AssertionError, match="it provides nothing"):
        kind().test_nothing_about_the_plugin_needs_mending()


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


def test_an_option_without_help_is_noticed(trial: Try) -> None:
    @frozen
    class Silent:
        shade: int = 7

    with pytest.raises(AssertionError, match="shade"):
        trial(options=Silent).contract.test_every_option_is_documented()


def test_an_option_that_takes_anything_is_noticed(trial: Try) -> None:
    @frozen
    class Loose:
        shade: "list[dict[str, str]]" = field(factory=list, metadata={"help": "anything goes"})

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        trial(options=Loose).contract.test_an_option_of_a_wrong_kind_is_refused_by_name()


def test_an_estimate_below_nothing_is_noticed(trial: Try) -> None:
    with pytest.raises(AssertionError):
        trial(needs=lambda job: Needs(memory_mb=-1)).contract.test_estimates_hold_for_any_size(1)


def test_an_estimate_that_depends_on_more_than_the_job_is_noticed(trial: Try) -> None:
    calls = itertools.count()
    contract = trial(needs=lambda job: Needs(memory_mb=next(calls))).contract

    with pytest.raises(AssertionError, match="nothing but the job"):
        contract.test_estimates_hold_for_any_size(1)


def test_an_estimate_that_fails_for_an_unknown_size_is_noticed(trial: Try) -> None:
    contract = trial(run_seconds=lambda job: 1 / job.pixels).contract

    contract.test_estimates_hold_for_any_size(1)
    with pytest.raises(ZeroDivisionError):
        contract.test_estimates_hold_for_any_size(0)


def test_a_spec_without_licence_is_noticed(trial: Try) -> None:
    with pytest.raises(AssertionError, match="does not say what its licence is"):
        trial(licence="").contract.test_the_spec_describes_itself()


def test_inpainting_without_a_mask_is_noticed(trial: Try) -> None:
    inputs = (InputSpec(name="image"),)

    with pytest.raises(AssertionError, match="takes no mask"):
        trial(inputs=inputs).contract.test_the_spec_describes_itself()


def test_an_implementation_that_is_no_model_is_noticed(trial: Try) -> None:
    for target, words in (
        ("no_such_module:Sound", "No module named 'no_such_module'"),
        (f"{__name__}:Nothing", "has no attribute 'Nothing'"),
        (f"{__name__}:SPEC", "is no class"),
        (f"{__name__}:Options", "does not inherit Model"),
    ):
        wrong = trial(implementation=target)
        with pytest.raises((AssertionError, pytest.fail.Exception), match=words):
            wrong.contract.test_the_implementation_is_a_model(wrong.bench)


@pytest.mark.slow
def test_a_heavy_manifest_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_manifest.py").write_text("import cv2\n", encoding="utf-8")
    (tmp_path / "broad_manifest.py").write_text("import numpy\n", encoding="utf-8")
    (tmp_path / "slow_manifest.py").write_text(
        "import time\nuntil = time.process_time() + 0.05\n"
        "while time.process_time() < until: pass\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    heavy = type("Heavy", (ModelContract,), {"plugin": "heavy_manifest", "__test__": False})
    broad = type("Broad", (ModelContract,), {"plugin": "broad_manifest", "__test__": False})

    monkeypatch.setattr(manifest_budget, "ATTEMPTS", 2)
    slow = type("Slow", (ModelContract,), {"plugin": "slow_manifest", "__test__": False})

    with pytest.raises(AssertionError, match=r"takes \d+ ms to load; 20 are allowed"):
        slow().test_the_manifest_is_light()
    with pytest.raises(AssertionError, match="imports cv2"):
        heavy().test_the_manifest_is_light()
    with pytest.raises(AssertionError, match=r"modules of .*numpy.* 25 are allowed"):
        broad().test_the_manifest_is_light()


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
