"""What ``paintmq run`` plans to do, and what it refuses before anything is started."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from paintmq.cli.failures import CommandError
from paintmq.cli.image_jobs import ImageJob, plan_jobs
from paintmq.config import Limits
from paintmq.image.files import encode_image


def make_image(path: Path, width: int = 8, height: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(np.zeros((height, width, 3), np.uint8), path.suffix))
    return path


def make_bomb(path: Path, width: int, height: int) -> Path:
    """Write a PNG of a few bytes whose header promises many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        crc = zlib.crc32(kind + body)
        chunks += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def plan(
    *images: Path, mask: Path | None = None, output: Path | None = None, **limits: int
) -> list[ImageJob]:
    return plan_jobs(images, mask=mask, output=output, model="opencv", limits=Limits(**limits))


def refusal(*images: Path, mask: Path | None = None, output: Path | None = None) -> str:
    with pytest.raises(CommandError) as caught:
        plan(*images, mask=mask, output=output)
    return str(caught.value)


class TestWhereResultsGo:
    def test_one_image_goes_to_the_file_that_is_named(self, tmp_path: Path) -> None:
        image = make_image(tmp_path / "cat.png")

        (job,) = plan(image, output=tmp_path / "out.jpg")

        assert job == ImageJob(image=image, mask=None, output=tmp_path / "out.jpg")

    def test_without_a_name_the_result_lies_beside_the_image_named_after_the_model(
        self, tmp_path: Path
    ) -> None:
        (job,) = plan(make_image(tmp_path / "cat.jpg"))

        assert job.output == tmp_path / "cat-opencv.png"

    def test_an_output_that_is_a_folder_takes_the_image_by_its_name(self, tmp_path: Path) -> None:
        (job,) = plan(make_image(tmp_path / "in" / "cat.jpg"), output=tmp_path)

        assert job.output == tmp_path / "cat.png"

    def test_a_folder_gives_its_images_in_order_of_names_and_nothing_else(
        self, tmp_path: Path
    ) -> None:
        folder = tmp_path / "in"
        for name in ("b.png", "a.JPG", ".hidden.png"):
            make_image(folder / name)
        (folder / "notes.txt").write_text("no image")
        (folder / "sub.png").mkdir()

        jobs = plan(folder, output=tmp_path / "out")

        assert [job.output for job in jobs] == [tmp_path / "out" / n for n in ("a.png", "b.png")]

    def test_the_folder_for_the_results_is_made(self, tmp_path: Path) -> None:
        plan(make_image(tmp_path / "cat.png"), output=tmp_path / "new" / "deep" / "out.png")

        assert (tmp_path / "new" / "deep").is_dir()

    def test_several_images_do_not_fit_into_one_file(self, tmp_path: Path) -> None:
        images = [make_image(tmp_path / name) for name in ("a.png", "b.png")]

        assert "several images need a folder" in refusal(*images, output=tmp_path / "out.png")

    def test_two_results_in_one_place_are_refused(self, tmp_path: Path) -> None:
        images = [make_image(tmp_path / folder / "a.png") for folder in ("x", "y")]

        assert "would both be written to" in refusal(*images, output=tmp_path / "out")

    def test_an_input_is_never_overwritten(self, tmp_path: Path) -> None:
        image = make_image(tmp_path / "cat.png")

        assert "would overwrite an input" in refusal(image, output=image)

    def test_an_ending_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        image = make_image(tmp_path / "cat.png")

        assert "cannot write .gif files" in refusal(image, output=tmp_path / "out.gif")

    def test_a_place_that_cannot_be_written_to_is_refused(self, tmp_path: Path) -> None:
        image = make_image(tmp_path / "cat.png")
        (tmp_path / "file").write_text("in the way")

        assert "cannot be written to" in refusal(image, output=tmp_path / "file" / "out.png")


class TestMasks:
    def test_one_mask_serves_all(self, tmp_path: Path) -> None:
        for name in ("a.png", "b.png"):
            make_image(tmp_path / "in" / name)
        mask = make_image(tmp_path / "mask.png")

        assert {job.mask for job in plan(tmp_path / "in", mask=mask)} == {mask}

    @pytest.mark.parametrize("name", ["cat.png", "cat-mask.png", "cat_mask.webp"])
    def test_a_folder_of_masks_is_matched_by_name(self, tmp_path: Path, name: str) -> None:
        image = make_image(tmp_path / "cat.jpg")
        mask = make_image(tmp_path / "masks" / name)

        (job,) = plan(image, mask=tmp_path / "masks")

        assert job.mask == mask

    def test_an_image_without_a_mask_in_the_folder_is_named(self, tmp_path: Path) -> None:
        image = make_image(tmp_path / "cat.png")
        (tmp_path / "masks").mkdir()

        assert refusal(image, mask=tmp_path / "masks").startswith(f"{image}: no mask for it")

    def test_a_mask_of_another_size_is_refused_with_both_sizes(self, tmp_path: Path) -> None:
        image, mask = make_image(tmp_path / "a.png", 8, 6), make_image(tmp_path / "m.png", 9, 6)

        assert refusal(image, mask=mask) == (
            f"{mask}: the mask is 9 x 6 pixels, but {image} is 8 x 6"
        )

    def test_a_photograph_that_lies_on_its_side_may_have_an_upright_mask(
        self, tmp_path: Path
    ) -> None:
        plan(make_image(tmp_path / "a.png", 8, 6), mask=make_image(tmp_path / "m.png", 6, 8))


class TestWhatIsRefused:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        assert refusal(tmp_path / "gone.png") == f"{tmp_path / 'gone.png'}: no such file"

    def test_a_missing_mask(self, tmp_path: Path) -> None:
        image = make_image(tmp_path / "cat.png")

        assert "gone.png: no such file" in refusal(image, mask=tmp_path / "gone.png")

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        assert "no images in this folder" in refusal(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n broken"])
    def test_what_is_no_image(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "cat.png"
        file.write_bytes(content)

        assert refusal(file) == f"{file}: not a readable PNG, JPEG, WebP or TIFF image"

    def test_a_bomb_of_a_hundred_megapixels(self, tmp_path: Path) -> None:
        bomb = make_bomb(tmp_path / "bomb.png", 10_000, 10_000)

        assert refusal(bomb).startswith(f"{bomb}: 10000 x 10000 is 100,000,000 pixels")

    def test_a_very_long_strip(self, tmp_path: Path) -> None:
        assert "along a side" in refusal(make_bomb(tmp_path / "strip.png", 20_000, 2))

    def test_a_file_of_too_many_bytes_is_not_even_read(self, tmp_path: Path) -> None:
        image = make_image(tmp_path / "cat.png")

        with pytest.raises(CommandError, match="bytes; 10 are allowed"):
            plan(image, max_payload_bytes=10)

    def test_all_problems_are_told_at_once_but_no_flood_of_them(self, tmp_path: Path) -> None:
        for number in range(30):
            (tmp_path / f"{number}.png").write_bytes(b"text")

        lines = refusal(tmp_path).splitlines()

        assert len(lines) == 11
        assert lines[-1] == "… and 20 more of this kind"
