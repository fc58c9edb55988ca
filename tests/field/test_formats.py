"""Results have the format that is asked for, and none is lost for what a format cannot hold."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.harness.instant_session import CommandLine, pixels_of
from tests.harness.sample_pictures import mask, names_in, picture, promise_of_pixels

from paintmq.client.task import Task
from paintmq.image.files import decode_image, encode_image, format_of


class TestPages:
    def test_one_page_of_files_that_hold_several_can_be_chosen(self, command: CommandLine) -> None:
        folder, pages = command.folder / "in", [Image.new("L", (8, 6), each) for each in (9, 200)]
        folder.mkdir()
        for name in ("a.gif", "b.tif", "c.webp"):
            pages[0].save(folder / name, save_all=True, append_images=pages[1:])
        picture(folder / "d.png")
        m = mask(command.folder / "m.png")

        done = command.paint("in", "-m", m, "-o", "out", "--page", "2")

        assert done.status == 1
        assert done.errors == ["in/d.png: there is no page 2: the file holds one page"]
        for name in ("a.png", "b.png", "c.png"):
            written = decode_image((command.folder / "out" / name).read_bytes())
            assert abs(int(written.pixels[0, 0, 0]) - 200) < 4


class TestFormats:
    @pytest.mark.parametrize(
        ("wanted", "name", "kind"),
        [
            *(("png", "a.png", "png"), ("jpg", "a.jpg", "jpeg"), ("webp", "a.webp", "webp")),
            *(("tiff", "a.tiff", "tiff"), ("same", "a.jpg", "jpeg"), ("JPG", "a.jpg", "jpeg")),
        ],
    )
    def test_results_have_the_format_that_is_asked_for(
        self, command: CommandLine, wanted: str, name: str, kind: str
    ) -> None:
        picture(command.folder / "in" / "a.jpg")
        m = mask(command.folder / "m.png")

        assert command.paint("in", "-m", m, "-o", "out", "--format", wanted).status == 0
        assert format_of((command.folder / "out" / name).read_bytes()) == kind

    def test_same_keeps_the_ending_of_each(self, command: CommandLine) -> None:
        for name in ("a.jfif", "b.JPG", "c.webp"):
            picture(command.folder / "in" / name)

        command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out", "--format", "same")

        assert names_in(command.folder / "out") == ["a.jfif", "b.JPG", "c.webp"]
        assert format_of((command.folder / "out" / "a.jfif").read_bytes()) == "jpeg"

    def test_quality_makes_files_smaller(self, command: CommandLine) -> None:
        rng = np.random.default_rng(1)
        noise = rng.integers(0, 255, (60, 80, 3), np.uint8)
        (command.folder / "a.png").write_bytes(encode_image(noise))
        m = mask(command.folder / "m.png", 80, 60)

        for quality in ("30", "95"):
            done = command.paint("a.png", "-m", m, "-o", f"{quality}.jpg", "--quality", quality)
            assert done.status == 0

        sizes = [(command.folder / f"{quality}.jpg").stat().st_size for quality in ("30", "95")]
        assert sizes[0] < sizes[1] / 2

    @pytest.mark.parametrize(
        "arguments",
        [
            *(["--format", "gif"], ["--quality", "50"], ["--quality", "0", "--format", "jpg"]),
            *(["--quality", "50", "--format", "png"], ["-o", "x.png", "--format", "jpg"]),
            ["--skip-existing", "--overwrite"],
        ],
    )
    def test_wishes_that_contradict_each_other_are_refused(
        self, command: CommandLine, arguments: list[str]
    ) -> None:
        picture(command.folder / "a.png")

        assert command.paint("a.png", "-m", mask(command.folder / "m.png"), *arguments).status == 2
        assert command.session.tasks == []

    def test_sides_that_a_format_cannot_hold_are_known_before_the_work(
        self, command: CommandLine
    ) -> None:
        promise_of_pixels(command.folder / "a.png", 16_384, 10)

        done = command.paint(
            "a.png", "-m", mask(command.folder / "m.png"), "-o", "o", "--format", "webp"
        )

        assert done.status == 2
        assert "webp files hold 16,383 pixels along a side" in done.errors[0]

    def test_a_result_that_a_format_cannot_hold_is_written_in_another(
        self, command: CommandLine
    ) -> None:
        def act(task: Task) -> dict[str, Any]:
            return {"image": np.zeros((2, 16_384, 3), np.uint8)}

        command.session.act = act
        picture(command.folder / "in" / "a.png")

        done = command.paint(
            "in", "-m", mask(command.folder / "m.png"), "-o", "out", "--format", "webp"
        )

        assert done.status == 0
        assert names_in(command.folder / "out") == ["a.png"]
        assert "written as PNG" in done.notes[-1]

    def test_lost_transparency_is_told(self, command: CommandLine) -> None:
        command.session.act = lambda _: {"image": np.zeros((6, 8, 4), np.uint8)}
        picture(command.folder / "in" / "a.png")

        done = command.paint(
            "in", "-m", mask(command.folder / "m.png"), "-o", "out", "--format", "jpg"
        )

        assert "JPEG holds no transparency" in done.notes[-1]

    def test_outputs_that_are_no_pictures_get_a_fitting_ending(self, command: CommandLine) -> None:
        command.session.act = lambda task: {
            "image": pixels_of(task),
            "palette": json.dumps([1, 2]).encode(),
        }
        picture(command.folder / "in" / "a.png")

        command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert names_in(command.folder / "out") == ["a-palette.json", "a.png"]
