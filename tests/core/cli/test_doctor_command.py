"""The doctor as a command."""

import json
from pathlib import Path

import pytest

from paintmq.cli import examination, surroundings
from paintmq.cli.app import run_command_line
from paintmq.cli.examination import Finding

EXAMINATIONS = ("software", "machine", "files", "plugins", "models", "journal", "keys", "ports")


@pytest.fixture(autouse=True)
def _healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every examination find that it is well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(
        surroundings, "surroundings", lambda _: [Finding("around", "ok", "around well")]
    )
    monkeypatch.setattr(examination, "sharing", lambda _: Finding("sharing", "ok", "sharing well"))
    for name in EXAMINATIONS:
        well = Finding(name, "ok", f"{name} well")
        monkeypatch.setattr(examination, name, lambda *arguments, well=well: [well])


def test_everything_is_looked_at_and_nothing_wrong_ends_in_status_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command_line(["doctor"]) == 0

    lines = capsys.readouterr().out.splitlines()
    names = ["around", *EXAMINATIONS]
    names.insert(names.index("machine") + 1, "sharing")
    assert [line.split() for line in lines] == [["ok", name, name, "well"] for name in names]


def test_a_problem_ends_in_status_1_also_for_programs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ill = Finding("keys", "problem", "make some")
    monkeypatch.setattr(examination, "keys", lambda *arguments: [ill])

    assert run_command_line(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {"subject": "keys", "verdict": "problem", "text": "make some"} in found
