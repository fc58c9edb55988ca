"""The package that ``paintmq new-plugin`` writes. That its own tests pass: tests/system."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from paintmq.cli.app import run_command_line
from paintmq.cli.failures import CommandError
from paintmq.cli.new_plugin import Kind, write_plugin
from paintmq.plugin.discovery import import_target
from paintmq.plugin.manager import PluginManager


@pytest.mark.parametrize("kind", ["model", "router"])
def test_a_whole_package_is_written(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "project"
    arguments = ["new-plugin", "old-photo", "--kind", kind, "--folder", str(folder)]

    assert run_command_line(arguments) == 0

    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == sorted(
        [
            "README.md",
            "pyproject.toml",
            "src/paintmq_old_photo/__init__.py",
            "src/paintmq_old_photo/manifest.py",
            f"src/paintmq_old_photo/{kind}.py",
            "src/paintmq_old_photo/py.typed",
            "tests/test_old_photo.py",
        ]
    )
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == "paintmq-old-photo"
    assert project["entry-points"]["paintmq"] == {"old-photo": "paintmq_old_photo.manifest"}
    assert f"paintmq plugins check {folder}" in capsys.readouterr().err


@pytest.mark.parametrize("kind", Kind)
def test_nothing_is_left_to_fill_in(kind: Kind, tmp_path: Path) -> None:
    write_plugin("x", tmp_path, kind)

    for file in tmp_path.rglob("*"):
        assert not file.is_file() or "$" not in file.read_text("utf-8")


@pytest.mark.parametrize("kind", Kind)
def test_its_manifest_is_taken_at_once(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(f"{kind}-by-test", tmp_path, kind)
    monkeypatch.syspath_prepend(tmp_path / "src")
    manager = PluginManager()

    manager.register(import_target(f"paintmq_{kind}_by_test.manifest"), "made-by-test")

    assert manager.reports()[0].provides == (f"{kind} {kind}-by-test",)


@pytest.mark.parametrize("name", ["", "La-Ma", "1st", "a--b", "a_b", "a/../b", "-a", "a-"])
def test_a_name_that_will_not_do_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError, match="is no name for a plugin"):
        write_plugin(name, tmp_path / "project")


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()

    with pytest.raises(CommandError, match="is there already and holds something"):
        write_plugin("x", tmp_path)
    with pytest.raises(CommandError, match="is there already and holds something"):
        write_plugin("x", tmp_path / "mine.txt")


def test_the_name_of_an_installed_plugin_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["new-plugin", "opencv", "--folder", str(tmp_path / "p")]) == 2
    assert "a plugin named 'opencv' is installed already, by paintmq" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", Kind)
def test_it_is_strictly_typed(kind: Kind, tmp_path: Path) -> None:
    write_plugin("typed-well", tmp_path, kind)

    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", Kind)
def test_what_its_readme_says_is_what_every_pip_understands(kind: Kind, tmp_path: Path) -> None:
    write_plugin("x", tmp_path, kind)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text("utf-8"))["project"]

    assert "pip install --editable '.[dev]'" in (tmp_path / "README.md").read_text("utf-8")
    assert any(each.startswith("pytest") for each in project["optional-dependencies"]["dev"])
