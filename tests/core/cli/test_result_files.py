"""Results are written wholly or not at all."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ImageCms

from paintmq.cli.failures import CommandError
from paintmq.cli.result_files import ResultWriter, Written, fitting_suffix, write_whole
from paintmq.client.result import Result
from paintmq.image.files import FileFacts, decode_image, encode_image, facts_of_file
from paintmq.task import TaskId

WRITER = ResultWriter()
PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


def test_an_image_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    result = Result(outputs={"image": PIXELS}, task_id=TaskId("t"))

    WRITER.write(result, tmp_path / "out.tiff", ".tiff")

    decoded = decode_image((tmp_path / "out.tiff").read_bytes())
    assert decoded.format == "tiff"
    assert np.array_equal(decoded.pixels, PIXELS)


@pytest.mark.parametrize("sent", ["png", "jpeg", "tiff"])
@pytest.mark.parametrize("written", [".png", ".jpg", ".tiff"])
def test_a_result_keeps_that_its_picture_was_grey_and_its_resolution(
    tmp_path: Path, sent: str, written: str
) -> None:
    grey = np.repeat(PIXELS[:, :, :1], 3, axis=2)
    picture = tmp_path / "sent"
    picture.write_bytes(encode_image(grey, sent, grey=True, dpi=(300.0, 300.0)))
    result = Result(outputs={"image": grey}, task_id=TaskId("t"))

    WRITER.write(result, tmp_path / f"out{written}", written, like=picture.read_bytes())

    facts = facts_of_file((tmp_path / f"out{written}").read_bytes())
    assert facts.is_grey
    assert facts.dpi == pytest.approx((300.0, 300.0), abs=0.01)


@pytest.mark.parametrize("like", [b"", b"gone", Path(__file__).read_bytes()])
def test_a_result_of_what_is_no_picture_is_written_as_it_is(tmp_path: Path, like: bytes) -> None:
    grey = np.repeat(PIXELS[:, :, :1], 3, axis=2)
    result = Result(outputs={"image": grey}, task_id=TaskId("t"))

    WRITER.write(result, tmp_path / "out.png", ".png", like=like)

    assert facts_of_file((tmp_path / "out.png").read_bytes()) == FileFacts()


def test_bytes_are_written_as_they_are_and_further_outputs_beside_the_image(
    tmp_path: Path,
) -> None:
    result = Result(outputs={"mask": b"abc", "image": PIXELS}, task_id=TaskId("t"))

    written = WRITER.write(result, tmp_path / "out.png", ".png")

    assert written == Written(paths=(tmp_path / "out-mask.txt", tmp_path / "out.png"))
    assert (tmp_path / "out-mask.txt").read_bytes() == b"abc"


def test_images_keep_the_colour_profile_and_notes_become_no_files(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    result = Result(
        outputs={"image": PIXELS, "icc_profile": profile, "note": b"no face found"},
        task_id=TaskId("t"),
    )

    WRITER.write(result, tmp_path / "out.png", ".png")

    assert [each.name for each in tmp_path.iterdir()] == ["out.png"]
    assert decode_image((tmp_path / "out.png").read_bytes()).icc_profile == profile
    assert result.note == "no face found"


def test_a_file_that_cannot_be_replaced_stays_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "out.png").mkdir()

    with pytest.raises(CommandError, match="cannot be written"):
        write_whole(tmp_path / "out.png", b"new")

    assert [each.name for each in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (b'{"colours": 3}', ".json"),
        (b"three colours", ".txt"),
        (b"\xff\xfe\x00", ".bin"),
        (b"RIFF\x00\x00\x00\x00WEBP", ".webp"),
    ],
)
def test_bytes_get_the_ending_of_what_they_are(data: bytes, suffix: str) -> None:
    assert fitting_suffix(data, ".png") == suffix
