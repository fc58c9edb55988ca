"""Inputs are read once, when a job's turn comes, and checked by their headers."""

from pathlib import Path

import pytest
from tests.harness.sample_pictures import picture, promise_of_pixels

from paintmq.cli.failures import CommandError
from paintmq.cli.image_jobs import ImageJob
from paintmq.cli.job_inputs import InputReader, LoadedJob
from paintmq.cli.picture_files import readable_formats
from paintmq.config import Limits


def load(image: Path, mask: Path | None = None, **limits: int) -> LoadedJob:
    job = ImageJob(
        image=image, others={"mask": mask} if mask else {}, output=image.with_name("out.png")
    )
    return InputReader(Limits(**limits), {"image": "image", "mask": "mask"}).load(job, shared={})


def refusal(image: Path, mask: Path | None = None, **limits: int) -> str:
    with pytest.raises(CommandError) as caught:
        load(image, mask, **limits)
    return str(caught.value)


def test_inputs_are_the_bytes_of_their_files(tmp_path: Path) -> None:
    image, mask = picture(tmp_path / "a.png"), picture(tmp_path / "m.png")

    assert load(image, mask).inputs == {"image": image.read_bytes(), "mask": mask.read_bytes()}


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    image, mask = picture(tmp_path / "a.png", 8, 6), picture(tmp_path / "m.png", 9, 6)

    assert refusal(image, mask) == (f"mask {mask}: the mask is 9 x 6 pixels, but {image} is 8 x 6")


def test_a_photograph_that_lies_on_its_side_may_have_an_upright_mask(tmp_path: Path) -> None:
    assert load(picture(tmp_path / "a.png", 8, 6), picture(tmp_path / "m.png", 6, 8)).inputs


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"text", f"not a readable image ({', '.join(readable_formats())})"),
        (
            b"\x89PNG\r\n\x1a\n broken",
            "not a readable image: it begins as PNG, and its header is damaged",
        ),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "cat.png"
    file.write_bytes(content)

    assert refusal(file) == reason


def test_a_bomb_of_many_gigapixels(tmp_path: Path) -> None:
    bomb = promise_of_pixels(tmp_path / "bomb.png", 30_000, 30_000)

    assert refusal(bomb).startswith("30000 x 30000 is 900,000,000 pixels")


def test_a_very_long_strip(tmp_path: Path) -> None:
    assert "a side may have 32,768 at most (limits.max_side)" in refusal(
        promise_of_pixels(tmp_path / "strip.png", 90_000, 2)
    )


def test_a_file_of_too_many_bytes_is_not_even_read(tmp_path: Path) -> None:
    image = picture(tmp_path / "cat.png")
    image.chmod(0)

    assert refusal(image, max_payload_bytes=10).endswith(
        "bytes; 10 are allowed: raise limits.max_payload_bytes"
    )


def test_a_file_for_all_pictures_is_read_once(tmp_path: Path) -> None:
    image, mask = picture(tmp_path / "a.png"), picture(tmp_path / "m.png")
    job = ImageJob(image=image, others={"mask": mask}, output=tmp_path / "o.png")
    reader = InputReader(Limits(), {"mask": "mask"})
    first = reader.load(job, shared={"mask": mask})
    mask.unlink()

    again = reader.load(job, shared={"mask": mask})

    assert again.inputs["mask"] is first.inputs["mask"]


def test_data_is_not_taken_for_a_picture(tmp_path: Path) -> None:
    image, table = picture(tmp_path / "a.png"), tmp_path / "table.json"
    table.write_text("[1]")
    job = ImageJob(image=image, others={"table": table}, output=tmp_path / "o.png")

    loaded = InputReader(Limits(), {"image": "image", "table": "data"}).load(job, shared={})

    assert loaded.inputs["table"] == b"[1]"
