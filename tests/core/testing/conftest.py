"""A model on trial before its contract."""

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from tests.harness.sound_model import SPEC, Sound, Trial, TrialBench, Try, contract_of

from paintmq.config import WeightsConfig
from paintmq.model import Model
from paintmq.testing.scripted_context import ScriptedContext
from paintmq.weights import WeightFolder


@pytest.fixture
def trial(tmp_path: Path) -> Try:
    def trial(kind: type[Model] = Sound, **changes: Any) -> Trial:
        spec = evolve(SPEC, **changes)
        bench_class = type("TrialBench", (TrialBench,), {"kind": kind})
        bench = bench_class(spec=spec, weights=WeightFolder(WeightsConfig()))
        context = ScriptedContext(scratch=tmp_path)
        return Trial(bench, bench.load(), context, contract_of(spec))

    return trial
