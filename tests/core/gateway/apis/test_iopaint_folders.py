"""The folders of IOPaint's page: nothing outside of them, and nothing of another user's."""

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs paintmq[http]")

from paintmq.gateway.apis.faults import ApiError
from paintmq.gateway.apis.iopaint.folders import PictureFolder
from paintmq.image import encode_image
from paintmq.testing.example_inputs import make_picture

PICTURE = encode_image(make_picture((20, 30), seed=1))


@pytest.fixture
def folder(tmp_path: Path) -> PictureFolder:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere.png").write_bytes(PICTURE)
    return PictureFolder(tmp_path / "out")


def names(folder: PictureFolder) -> list[str]:
    listed: list[Any] = folder.listed(100)
    return sorted(each["name"] for each in listed)


def test_what_one_user_saves_another_neither_sees_nor_reads(folder: PictureFolder) -> None:
    anna, bert = folder.of_user("anna"), folder.of_user("bert")
    assert names(anna) == []

    anna.save("a.png", PICTURE)
    bert.save("a.png", PICTURE)
    bert.save("b.png", PICTURE)

    assert (names(anna), names(bert)) == (["a.png"], ["a.png", "b.png"])
    assert anna.read("a.png") == PICTURE
    for name in ("b.png", "../bert/b.png", "..\\bert\\b.png", "bert/b.png", str(folder.root)):
        with pytest.raises(ApiError):
            anna.read(name)


@pytest.mark.parametrize(
    "name",
    [
        *("../elsewhere.png", "..", ".", "", "/etc/passwd", "a/b.png", "a\\b.png", "a\x00.png"),
        *(".hidden.png", "x.txt", "x" * 201 + ".png", "\udcff.png", "a\n.png", "C:a.png"),
    ],
)
def test_no_name_leads_anywhere_else(folder: PictureFolder, name: str) -> None:
    with pytest.raises(ApiError):
        folder.read(name)
    with pytest.raises(ApiError):
        folder.save(name, PICTURE)
    assert sorted(folder.root.parent.rglob("*.png")) == [folder.root.parent / "elsewhere.png"]


def test_links_pipes_and_folders_are_no_pictures_and_one_bad_file_hides_no_other(
    folder: PictureFolder,
) -> None:
    folder.save("good.png", PICTURE)
    (folder.root / "broken.png").write_bytes(b"no picture")
    (folder.root / "link.png").symlink_to("../elsewhere.png")
    (folder.root / "nowhere.png").symlink_to("missing.png")
    (folder.root / "folder.png").mkdir()
    os.mkfifo(folder.root / "pipe.png")

    assert names(folder) == ["broken.png", "good.png"]
    for name in ("link.png", "nowhere.png", "folder.png", "pipe.png"):
        with pytest.raises(ApiError):
            folder.read(name)
    folder.save("nowhere.png", PICTURE)
    assert (folder.root / "nowhere_1.png").read_bytes() == PICTURE
    assert not (folder.root / "missing.png").exists(), "a link is not written through"


def test_what_is_no_picture_is_not_saved(folder: PictureFolder) -> None:
    with pytest.raises(ApiError):
        folder.save("a.png", b"#!/bin/sh")
    assert names(folder) == []
