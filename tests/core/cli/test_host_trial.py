"""Whether a model host starts here, as the doctor finds out."""

import sys
from pathlib import Path

import pytest
from tests.harness.trial_node import child_processes

from paintmq.cli import examination
from paintmq.cli.examination import Finding
from paintmq.cli.host_trial import host_objection
from paintmq.config import Config, PluginsConfig

CONFIG = Config(plugins=PluginsConfig(allow=("trial",)))


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is run as the interpreter; the test writes it."""
    script = tmp_path / "python"
    script.touch(mode=0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    return script


@pytest.mark.slow
def test_one_that_starts_is_no_objection_and_nothing_is_left_of_it() -> None:
    before = child_processes()

    assert host_objection(CONFIG) == ""
    assert list(examination.models(CONFIG)) == [
        Finding("models", "ok", "a process to run them in starts")
    ]

    assert child_processes() == before


def test_one_that_does_not_start_is_told_with_its_last_words(python: Path) -> None:
    python.write_text("#!/bin/sh\necho first >&2\necho libmissing.so: not found >&2\nexit 127")

    assert list(examination.models(CONFIG)) == [
        Finding(
            "models",
            "problem",
            "a process to run them in exited with status 127: libmissing.so: not found",
        )
    ]


def test_one_that_cannot_even_be_tried_is_told_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python-gone"))

    assert host_objection(CONFIG).startswith("cannot be started: [Errno 2]")


def test_one_that_never_is_ready_is_not_waited_for_and_not_left_behind(python: Path) -> None:
    python.write_text("#!/bin/sh\necho waiting >&2\nexec sleep 600")
    before = child_processes()

    assert host_objection(CONFIG, patience=0.1).startswith("is not ready after a while")

    assert child_processes() == before
