from typing import Any

import pytest
from attrs import evolve
from tests.harness.trial_models import TrialOptions

from paintmq.errors import PluginError
from paintmq.model import ModelSpec, NoOptions
from paintmq.worker.channel.spec_outline import outline_of, spec_of


def make_spec(**changes: Any) -> ModelSpec:
    return ModelSpec(name="alpha", implementation="module:Model", **changes)


def test_what_a_host_needs_of_a_spec_survives_the_journey() -> None:
    spec = make_spec(options=TrialOptions, max_batch=4, devices=("cuda", "cpu"), extra="x")

    arrived = spec_of(outline_of(spec))

    for name in ("name", "implementation", "options", "inputs", "devices", "max_batch", "extra"):
        assert getattr(arrived, name) == getattr(spec, name)


def test_options_that_cannot_be_imported_by_name_are_left_out() -> None:
    class Local:
        pass

    assert spec_of(outline_of(make_spec(options=Local))).options is NoOptions


@pytest.mark.parametrize(
    "path", ["no_such_module:Options", "paintmq.model:Nothing", "paintmq.model:API_VERSION"]
)
def test_options_that_are_not_there_are_an_error(path: str) -> None:
    outline = evolve(outline_of(make_spec()), options=path)

    with pytest.raises(PluginError, match=path):
        spec_of(outline)
