"""What ``paintmq doctor`` sees of the user, the folders and the system."""

import sys
from pathlib import Path

import pytest

from paintmq.cli import surroundings
from paintmq.config import WeightsConfig
from paintmq.settings.file import load_settings


def test_linux_is_fine_and_any_other_system_a_note() -> None:
    assert surroundings.system("linux").verdict == "ok"
    assert surroundings.system("darwin").text == "darwin: tried on Linux alone"


def test_the_first_process_of_a_container_is_told_of_an_init(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.getpid", lambda: 1)

    assert "docker run --init" in surroundings.system("linux").text


def test_keys_of_a_file_in_the_current_folder_that_do_not_count_are_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "paintmq.toml").write_text("[weights]\noffline = true\n")

    (found,) = surroundings.settings_file(load_settings(environ={}))

    assert found.verdict == "problem"
    assert "weights.offline" in found.text


def test_a_program_without_an_interpreter_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(surroundings.interpreter()) == []
    monkeypatch.setattr(sys, "executable", "/opt/app")

    assert [each.verdict for each in surroundings.interpreter()] == ["problem"]


def test_no_temporary_folder_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise FileNotFoundError(2, "none")

    assert surroundings.temporary_folder().verdict == "ok"
    monkeypatch.setattr("tempfile.gettempdir", refuse)

    assert surroundings.temporary_folder().text.endswith("set TMPDIR")


def test_two_packages_of_opencv_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(surroundings.opencv()) == []
    monkeypatch.setattr(surroundings, "_is_installed", lambda name: "contrib" not in name)

    (found,) = surroundings.opencv()

    assert found.text.startswith("opencv-python and opencv-python-headless overwrite one another")


def test_paths_of_weights_where_nothing_is_are_a_problem(tmp_path: Path) -> None:
    there = tmp_path / "there.pt"
    there.touch()
    config = WeightsConfig(paths={"a.pt": str(there), "b.pt": str(tmp_path / "gone.pt")})

    (found,) = surroundings.weight_paths(config)

    assert f"names {tmp_path / 'gone.pt'} for b.pt" in found.text
