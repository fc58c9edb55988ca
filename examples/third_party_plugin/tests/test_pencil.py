"""The pencil keeps to PaintMQ's rules, and draws."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from paintmq.model import Model
from paintmq.testing import ModelContract
from paintmq.testing.example_inputs import make_picture
from paintmq.testing.model_bench import ModelBench
from paintmq.testing.scripted_context import ScriptedContext


class TestPencil(ModelContract):
    """The conformance tests, inherited, and the pencil's own."""

    plugin = "paintmq_pencil.manifest"

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        drawing = outputs["image"]
        assert np.array_equal(drawing[:, :, 0], drawing[:, :, 1]), "one pencil has one colour"
        assert (drawing > 200).mean() > 0.5, "most of it is paper"

    def draw(self, bench: ModelBench, loaded: Model, context: ScriptedContext, **task: Any) -> Any:
        options = task.pop("options", {})
        return bench.run(loaded, bench.request(options, task), context)["image"]

    def test_an_even_picture_gives_blank_paper(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        grey = np.full((20, 30, 3), 90, np.uint8)

        assert (self.draw(bench, loaded, context, image=grey) == 255).all()

    def test_a_dark_line_becomes_a_stroke(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        picture = np.full((20, 30, 3), 200, np.uint8)
        picture[10] = 40

        drawing = self.draw(bench, loaded, context, image=picture)

        assert drawing[10].max() < 100
        assert drawing[0].min() == 255

    @pytest.mark.parametrize("darkness", [0.5, 2.0])
    def test_pressing_harder_makes_it_darker(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext, darkness: float
    ) -> None:
        picture = make_picture((40, 40), seed=1)

        normal = self.draw(bench, loaded, context, image=picture).mean()
        changed = self.draw(
            bench, loaded, context, image=picture, options={"darkness": darkness}
        ).mean()

        assert (changed < normal) == (darkness > 1)

    def test_alpha_and_depth_are_kept(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        picture = make_picture((20, 20), seed=2, channels=4).astype(np.uint16) * 257

        drawing = self.draw(bench, loaded, context, image=picture)

        assert drawing.dtype == np.uint16
        assert np.array_equal(drawing[:, :, 3], picture[:, :, 3])

    def test_every_pass_shows_a_preview(
        self, bench: ModelBench, loaded: Model, context: ScriptedContext
    ) -> None:
        self.draw(bench, loaded, context, image=make_picture((20, 30), seed=3))

        assert [preview.shape for preview in context.previews] == [(20, 30, 3)] * 3
        assert context.steps == [(1, 3), (2, 3), (3, 3)]
