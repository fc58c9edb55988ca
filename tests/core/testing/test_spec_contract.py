"""The conformance tests notice a spec that breaks the rule they are named after."""

import itertools
from pathlib import Path

import pytest
from attrs import field, frozen
from tests.harness import sound_model
from tests.harness.sound_model import Try

from paintmq.model import InputSpec, Needs
from paintmq.testing import manifest_budget
from paintmq.testing.model_contract import ModelContract
from paintmq.testing.plugin_contract import PluginContract


def test_an_option_that_swallows_what_is_unknown_is_noticed(trial: Try) -> None:
    @frozen
    class Swallows:
        no_such_option: int = field(default=1, metadata={"help": "what was misspelt"})

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        trial(options=Swallows).contract.test_an_unknown_option_is_refused_by_name()


def test_a_plugin_that_needs_mending_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty_of_test.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    kind = type("Empty", (PluginContract,), {"plugin": "empty_of_test", "__test__": False})

    with pytest.raises(AssertionError, match="it provides nothing"):
        kind().test_nothing_about_the_plugin_needs_mending()


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
        (f"{sound_model.__name__}:Nothing", "has no attribute 'Nothing'"),
        (f"{sound_model.__name__}:SPEC", "is no class"),
        (f"{sound_model.__name__}:Options", "does not inherit Model"),
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
