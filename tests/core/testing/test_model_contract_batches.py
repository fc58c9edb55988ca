"""The conformance tests notice a model that mixes up the tasks it is given together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.harness.sound_model import STEPS, Sound, Try

from paintmq.model import Model, Outputs, Request
from paintmq.model import RunContext as Context
from paintmq.testing.model_contract import ModelContract
from paintmq.testing.scripted_context import ScriptedContext


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
