"""What every model must satisfy, as tests: inherit ModelContract and name your plugin.

::

    from paintmq.testing import ModelContract

    class TestSepia(ModelContract):
        plugin = "paintmq_sepia"

pytest collects the inherited tests. A model whose modules or weights are missing here is skipped,
with the reason. Override the class attributes and ``make_inputs`` to say what your model needs, and
``check_result`` to look at what comes out.
"""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from attrs import evolve

from paintmq.client.task import Task
from paintmq.config import WeightsConfig
from paintmq.errors import (
    Cancelled,
    InvalidInputError,
    ModelError,
    WeightsMissingError,
)
from paintmq.model import Device, Model, Request
from paintmq.plugin.discovery import import_target
from paintmq.plugin.manager import PluginManager
from paintmq.task import DeviceKind
from paintmq.testing.embedded_manager import embedded_manager
from paintmq.testing.example_inputs import make_inputs, make_mask, make_picture
from paintmq.testing.model_bench import ModelBench, empty_folder, memory_in_use
from paintmq.testing.scripted_context import ScriptedContext
from paintmq.testing.spec_contract import SpecContract
from paintmq.units import MIB
from paintmq.weights import WeightFolder


class ModelContract(SpecContract):
    """Tests for one model of one plugin."""

    device: ClassVar[DeviceKind] = "cpu"
    size: ClassVar[tuple[int, int]] = (48, 64)
    """Height and width of the pictures the tests make."""
    weights: ClassVar[WeightsConfig] = WeightsConfig()
    keeps_outside: ClassVar[bool] = True
    """The model itself leaves pixels outside the mask as they are. Where it does not, the worker
    puts them back, and that is tested instead."""
    leak_mb: ClassVar[int] = 24
    """Growth of the process over four rounds of load, run and unload that is not called a leak."""
    at_once: ClassVar[int] = 8
    """Number of tasks a real worker gets at once; lower it where one takes many seconds."""
    batch_tolerance: ClassVar[float] = 2
    """Levels by which a pixel may differ between a run in a batch and a run alone: sums of
    floating-point numbers depend a little on their order."""
    timeout: ClassVar[float] = 120.0
    """Seconds in which those tasks must be done by a worker that starts for them."""

    def make_inputs(self, seed: int) -> Mapping[str, Any]:
        """Return the inputs of one task: arrays or bytes by name; others for another seed.

        All that are required, and the mask of an inpainting task even where it may be left out.
        """
        inpaints = "inpaint" in self.spec().task_types
        return make_inputs(
            [
                evolve(each, required=each.required or (inpaints and each.kind == "mask"))
                for each in self.spec().inputs
            ],
            self.size,
            seed,
        )

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Look at the outputs of one task, and raise AssertionError if they are not right."""

    # ---- what the tests stand on ---------------------------------------------------------------

    @classmethod
    def make_bench(cls) -> ModelBench:
        """Return the bench for the model, or skip the test with what is missing here."""
        spec = cls.spec()
        missing = [name for name in spec.requires if find_spec(name) is None]
        if missing:
            pytest.skip(f"{spec.name} needs {', '.join(missing)}: install {spec.extra or 'them'}")
        device = Device(kind=cls.device, threads=2, memory_mb=8192)
        bench = ModelBench(spec=spec, weights=WeightFolder(cls.weights), device=device)
        try:
            for file in spec.weights:
                bench.weights.path(file.name)
        except WeightsMissingError as error:
            pytest.skip(f"{spec.name}: {error}")
        return bench

    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls) -> ModelBench:
        return cls.make_bench()

    @pytest.fixture(scope="class")
    @classmethod
    def loaded(cls, bench: ModelBench) -> Iterator[Model]:
        model = bench.load()
        yield model
        model.unload()

    @pytest.fixture
    def context(self, tmp_path: Path) -> ScriptedContext:
        return ScriptedContext(scratch=empty_folder(tmp_path, "scratch"))

    def works_or_is_refused(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext, inputs: Mapping[str, Any]
    ) -> None:
        try:
            request = bench.request(self.options, inputs)  # a mask may leave nothing to fill from
            outputs = bench.run(loaded, request, context)
        except (InvalidInputError, ModelError) as error:
            assert str(error), "a refusal needs words"  # noqa: PT017 -- either may happen
        else:
            assert bench.as_sent(self.options, request, outputs)

    def request_for(self, bench: ModelBench, seed: int) -> Request:
        return bench.request(self.options, self.make_inputs(seed))

    def test_the_implementation_is_a_model(self, bench: ModelBench) -> None:
        try:
            found = bench.implementation()
        except (ImportError, AttributeError) as error:
            pytest.fail(f"implementation = {bench.spec.implementation!r}: {error}")

        assert isinstance(found, type), f"{bench.spec.implementation} is no class"
        assert issubclass(found, Model), f"{bench.spec.implementation} does not inherit Model"

    # ---- one task ------------------------------------------------------------------------------

    @pytest.mark.parametrize("seed", [1, 2])
    def test_outputs_are_of_the_right_shape_and_kind(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext, seed: int
    ) -> None:
        inputs = self.make_inputs(seed)
        request = bench.request(self.options, inputs)

        outputs = bench.run(loaded, request, context)

        assert "image" in outputs, f"the main output is named 'image', not {list(outputs)}"
        for name, value in outputs.items():
            if isinstance(value, bytes):
                continue
            assert value.dtype in (np.uint8, np.uint16), f"{name} is {value.dtype}"
            assert value.ndim == 2 or value.shape[2] in (3, 4), f"{name} has shape {value.shape}"
        assert bench.as_sent(self.options, request, outputs)
        if "inpaint" in bench.spec.task_types:
            assert np.shape(outputs["image"])[:2] == inputs["image"].shape[:2]
        self.check_result(inputs, outputs)

    def test_pixels_outside_the_mask_stay_as_they_are(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        if "inpaint" not in bench.spec.task_types:
            pytest.skip("this model does not inpaint")
        inputs = self.make_inputs(3)
        request = bench.request(self.options, inputs)

        outputs: Mapping[str, Any] = bench.run(loaded, request, context)
        if not self.keeps_outside:
            outputs = bench.as_sent(self.options, request, outputs)

        outside = np.asarray(inputs["mask"]) == 0
        kept = np.asarray(outputs["image"])[outside][:, :3]
        assert np.array_equal(kept, inputs["image"][outside][:, :3])

    def test_the_same_request_gives_the_same_bytes(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        if not bench.spec.deterministic:
            pytest.skip("the spec says that this model is not deterministic")

        first = bench.run(loaded, self.request_for(bench, 4), context)
        bench.run(loaded, self.request_for(bench, 5), context)  # what came between must not matter
        again = bench.run(loaded, self.request_for(bench, 4), context)

        assert _same(first, again)

    def test_a_fresh_copy_of_the_model_gives_the_same_bytes(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        if not bench.spec.deterministic:
            pytest.skip("the spec says that this model is not deterministic")
        copy = bench.load()

        first = bench.run(loaded, self.request_for(bench, 6), context)
        again = bench.run(copy, self.request_for(bench, 6), context)
        copy.unload()

        assert _same(first, again)

    def test_progress_counts_up_to_its_total(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        bench.run(loaded, self.request_for(bench, 7), context)

        steps = [step for step, _ in context.steps]
        assert steps == sorted(steps)
        assert all(0 <= step <= total for step, total in context.steps)

    def test_a_cancelled_task_ends_within_a_step(
        self, bench: ModelBench, loaded: Model, tmp_path: Path
    ) -> None:
        context = ScriptedContext(scratch=empty_folder(tmp_path, "scratch"), cancel_after=1)

        try:
            bench.run(loaded, self.request_for(bench, 8), context)
        except Cancelled:
            pass
        else:
            last, total = context.steps[-1] if context.steps else (1, 1)
            assert last == total, "it stopped early but did not raise Cancelled"

        assert len(context.steps) <= 2, (
            f"cancelled after its first step, it took {len(context.steps) - 1} more:"
            " call context.raise_if_cancelled() in every step"
        )

    def test_a_task_after_a_cancelled_one_is_not_affected(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext, tmp_path: Path
    ) -> None:
        if not bench.spec.deterministic:
            pytest.skip("the spec says that this model is not deterministic")
        stopped = ScriptedContext(scratch=empty_folder(tmp_path, "stopped"), cancel_after=0)
        before = bench.run(loaded, self.request_for(bench, 9), context)

        with suppress(Cancelled):
            bench.run(loaded, self.request_for(bench, 10), stopped)
        after = bench.run(loaded, self.request_for(bench, 9), context)

        assert _same(before, after)

    # ---- bad input -----------------------------------------------------------------------------

    def test_a_missing_input_is_refused_by_name(self, bench: ModelBench) -> None:
        for wanted in bench.spec.inputs:
            inputs = {k: v for k, v in self.make_inputs(1).items() if k != wanted.name}
            if wanted.required:
                with pytest.raises(InvalidInputError, match=wanted.name):
                    bench.request(self.options, inputs)

    def test_a_file_that_is_no_picture_is_refused(self, bench: ModelBench) -> None:
        for wanted in bench.spec.inputs:
            if wanted.kind != "data":
                inputs = {**self.make_inputs(1), wanted.name: b"\x89PNG\r\n\x1a\n but no more"}
                with pytest.raises(InvalidInputError):
                    bench.request(self.options, inputs)

    @pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 17)], ids=["1x1", "1x40", "33x17"])
    def test_an_odd_size_works_or_is_refused_in_words(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext, size: tuple[int, int]
    ) -> None:
        inputs = dict(self.make_inputs(1))
        for wanted in bench.spec.inputs:
            if wanted.name in inputs and wanted.kind != "data":
                make = make_mask if wanted.kind == "mask" else make_picture
                inputs[wanted.name] = make(size, 1)

        self.works_or_is_refused(bench, loaded, context, inputs)

    def test_a_picture_with_alpha_works_or_is_refused_in_words(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        inputs = dict(self.make_inputs(1))
        for wanted in bench.spec.inputs:
            if wanted.name in inputs and wanted.kind == "image":
                inputs[wanted.name] = make_picture(self.size, 1, channels=4)

        self.works_or_is_refused(bench, loaded, context, inputs)

    def test_a_picture_of_16_bits_works_or_is_refused_in_words(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        inputs = dict(self.make_inputs(1))
        for wanted in bench.spec.inputs:
            if wanted.name in inputs and wanted.kind == "image":
                inputs[wanted.name] = make_picture(self.size, 1).astype(np.uint16) * 257

        self.works_or_is_refused(bench, loaded, context, inputs)

    def test_inputs_that_may_be_left_out_may_be_given_or_not(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        optional = [each for each in bench.spec.inputs if not each.required and each.kind != "data"]
        if not optional:
            pytest.skip("this model needs all its inputs")
        inputs = dict(self.make_inputs(1))
        given = make_inputs([evolve(each, required=True) for each in optional], self.size, 1)
        left_out = {k: v for k, v in inputs.items() if k not in given}

        self.works_or_is_refused(bench, loaded, context, inputs | given)
        self.works_or_is_refused(bench, loaded, context, left_out)

    # ---- life in a worker ----------------------------------------------------------------------

    def test_each_request_of_a_batch_gets_its_own_result(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        count = min(bench.spec.max_batch, 4)
        if count < 2:
            pytest.skip("this model takes one task at a time")
        batch = [self.request_for(bench, seed) for seed in range(20, 20 + count)]

        together = loaded.run(batch, context)

        assert len(together) == count, f"{len(together)} results for a batch of {count}"
        for place, (request, outputs) in enumerate(zip(batch, together, strict=True)):
            self.check_result(self.make_inputs(20 + place), outputs)
            if bench.spec.deterministic:
                alone = bench.run(loaded, request, context)
                assert _difference(outputs, alone) <= self.batch_tolerance, (
                    f"request {place} of a batch got something else than alone"
                )

    def test_unloading_gives_the_memory_back(self, bench: ModelBench, tmp_path: Path) -> None:
        def round_trip(number: int) -> "weakref.ref[Model]":
            context = ScriptedContext(scratch=empty_folder(tmp_path, str(number)))
            model = bench.load()
            bench.run(model, self.request_for(bench, number), context)
            model.unload()
            return weakref.ref(model)

        first = round_trip(0)
        before = memory_in_use(bench.device)
        rest = [round_trip(number) for number in range(1, 5)]
        grown = (memory_in_use(bench.device) - before) // MIB

        alive = sum(model() is not None for model in (first, *rest))
        assert not alive, f"{alive} of 5 unloaded models are still referred to from somewhere"
        assert grown <= self.leak_mb, f"four rounds of load, run, unload cost {grown} MB"

    @pytest.mark.slow
    def test_tasks_at_once_each_get_their_own_result(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        """Through a real broker and worker process; compared with each task run by itself, here."""
        seeds = range(self.at_once)
        alone = [bench.run(loaded, self.request_for(bench, seed), context) for seed in seeds]
        plugins = PluginManager.installed()
        if bench.spec.name not in plugins.catalog().specs:
            plugins.register(import_target(self.plugin), self.plugin)
        config = {"model": bench.spec.name, "device": self.device, **self.options}

        with embedded_manager(weights=self.weights, plugins=plugins) as manager:
            tasks = [
                Task(bench.spec.task_types[0], config, self.make_inputs(seed)) for seed in seeds
            ]
            handles = [manager.send_task(manager.route_task(task), task) for task in tasks]
            results = [handle.result(timeout=self.timeout) for handle in handles]

        for seed, (result, expected) in enumerate(zip(results, alone, strict=True)):
            sent = bench.as_sent(self.options, self.request_for(bench, seed), expected)
            self.check_result(self.make_inputs(seed), result.outputs)
            if bench.spec.deterministic:
                # Some of them may have shared a run.
                most = self.batch_tolerance if bench.spec.max_batch > 1 else 0
                assert _difference(result.outputs, sent) <= most, (
                    f"task {seed} got something else than alone"
                )


def _same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return list(first) == list(second) and all(
        np.array_equal(np.asarray(first[name]), np.asarray(second[name])) for name in first
    )


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Return the largest difference between two mappings of outputs; infinity: not comparable."""
    if list(first) != list(second):
        return float("inf")
    most = 0.0
    for name, value in first.items():
        one, other = np.asarray(value), np.asarray(second[name])
        if one.shape != other.shape or one.dtype != other.dtype:
            return float("inf")
        if one.dtype.kind in "iuf" and one.size:
            most = max(most, float(np.abs(one.astype(float) - other.astype(float)).max()))
        elif not np.array_equal(one, other):
            return float("inf")
    return most
