"""Previews are kept under names that tell their pictures apart, and fit the disk."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from paintmq.cli.preview_files import PreviewFolder


def handle(name: str, step: int = 1) -> Any:
    preview = np.zeros((2, 2, 3), np.uint8)
    return SimpleNamespace(id=name, progress=lambda: SimpleNamespace(preview=preview, step=step))


@pytest.fixture
def previews(tmp_path: Path) -> PreviewFolder:
    folder = PreviewFolder(tmp_path / "previews")
    folder.prepare()
    return folder


def names(previews: PreviewFolder) -> list[str]:
    return sorted(each.name for each in previews.folder.iterdir())


def test_results_of_one_name_in_two_folders_keep_their_own(previews: PreviewFolder) -> None:
    for step in (1, 2):
        previews.look(handle("one", step), Path("x/b.png"))
        previews.look(handle("two", step), Path("y/b.png"))

    assert names(previews) == ["b-0001.png", "b-0002.png", "b-2-0001.png", "b-2-0002.png"]


def test_one_step_is_written_once(previews: PreviewFolder) -> None:
    previews.look(handle("one"), Path("b.png"))
    (previews.folder / "b-0001.png").unlink()

    previews.look(handle("one"), Path("b.png"))

    assert names(previews) == []


@pytest.mark.parametrize("stem", ["n" * 251, "\u00e9" * 125])
def test_the_longest_names_leave_room_for_the_step(previews: PreviewFolder, stem: str) -> None:
    previews.look(handle("one"), Path(f"{stem}.png"))

    (name,) = names(previews)
    assert name.endswith("-0001.png")
    assert stem.startswith(name[:90])


def test_standard_output_has_a_name_too(previews: PreviewFolder) -> None:
    previews.look(handle("one"), Path("-"))

    assert names(previews) == ["result-0001.png"]
