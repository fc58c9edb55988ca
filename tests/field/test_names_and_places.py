"""Files are found and written whatever they are called, and what is there already is respected."""

import io
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.harness.instant_session import CommandLine
from tests.harness.sample_pictures import mask, names_in, picture

from paintmq.image.files import encode_image, format_of


def sent_masks(command: CommandLine) -> list[bytes]:
    return [bytes(each.inputs["mask"]) for each in command.session.tasks]  # type: ignore[arg-type]


class TestPlacesForResults:
    def test_a_slash_behind_a_name_makes_it_a_folder(self, command: CommandLine) -> None:
        picture(command.folder / "a.png")
        m = mask(command.folder / "m.png")

        assert command.paint("a.png", "-m", m, "-o", "out.d/").status == 0
        assert command.paint("a.png", "-m", m, "-o", "x.png/").status == 0
        assert names_in(command.folder) == ["a.png", "m.png", "out.d/a.png", "x.png/a.png"]
        assert command.paint("a.png", "-m", m, "-o", "m.png/").errors == [
            "-o m.png/: is a file, not a folder"
        ]

    def test_a_file_on_the_way_is_named(self, command: CommandLine) -> None:
        picture(command.folder / "a.png")
        m = mask(command.folder / "m.png")

        for target in ("a.png/x.png", "a.png/deep/x.png"):
            done = command.paint("a.png", "-m", m, "-o", target, "--make-folders")
            assert done.status == 2
            assert "a.png" in done.errors[0]
            assert "is a file, not a folder; name another with -o" in done.errors[0]


class TestMasks:
    @pytest.mark.parametrize(
        "name",
        [
            *("cat.png", "CAT.PNG", "cat.webp", "cat.jfif", "cat-mask.png", "cat_mask.TIF"),
            *("Cat_Mask.png", "cat.mask.png", "cat mask.png", "mask_cat.png", "cat_mask001.png"),
            *("cat.jpg.png", "cat.jpg_mask.png"),
        ],
    )
    def test_a_mask_is_found_under_the_usual_names_in_any_case_and_ending(
        self, command: CommandLine, name: str
    ) -> None:
        picture(command.folder / "in" / "cat.jpg")
        found = mask(command.folder / "ms" / name)
        mask(command.folder / "ms" / "other.png")

        done = command.paint("in", "-m", "ms", "-o", "out")

        assert (done.status, done.errors) == (0, [])
        assert sent_masks(command) == [found.read_bytes()]

    def test_accents_match_in_either_spelling(self, command: CommandLine) -> None:
        picture(command.folder / "in" / "caf\u00e9.png")
        mask(command.folder / "ms" / "cafe\u0301.png")

        assert command.paint("in", "-m", "ms", "-o", "out").status == 0

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            *(("trail .png", "trail -mask.png"), ("dash-.png", "dash-_mask.png")),
            ("IŞIK.png", "\u0131\u015f\u0131k_mask.png"),
            *(("İZMİR.png", "izmir-mask.png"), ("a..b.png", "a..b..mask.png")),
        ],
    )
    def test_ends_of_names_and_turkish_letters_match(
        self, command: CommandLine, name: str, found: str
    ) -> None:
        picture(command.folder / name)
        mask(command.folder / found)

        assert command.paint(name, "-o", "out.png").errors == []

    def test_a_shells_star_may_name_the_masks_as_well(self, command: CommandLine) -> None:
        for name in ("a", "b"):
            picture(command.folder / f"{name}.png")
            mask(command.folder / f"{name}_mask.png")
        names = names_in(command.folder)

        done = command.paint(*names, "-o", "out")

        assert (done.status, done.errors) == (0, [])
        assert done.notes == ["2 pictures with 2 masks: a_mask.png, b_mask.png"]
        assert names_in(command.folder / "out") == ["a.png", "b.png"]

    def test_what_is_wrong_with_a_mask_names_the_mask(self, command: CommandLine) -> None:
        picture(command.folder / "a.png")
        (command.folder / "m.png").touch()

        done = command.paint("a.png", "-m", "m.png", "-o", "out.png")

        assert done.errors == ["a.png: mask m.png: the file is empty"]

    def test_pictures_and_masks_may_share_a_folder(self, command: CommandLine) -> None:
        for name in ("a", "b"):
            picture(command.folder / "d" / f"{name}.png")
            mask(command.folder / "d" / f"{name}_mask.png")

        done = command.paint("d", "-m", "d", "-o", "out")

        assert (done.status, done.errors) == (0, [])
        assert names_in(command.folder / "out") == ["a.png", "b.png"]
        assert done.notes == ["2 pictures with 2 masks: a_mask.png, b_mask.png"]
        assert sent_masks(command) == [
            (command.folder / "d" / f"{name}_mask.png").read_bytes() for name in ("a", "b")
        ]

    def test_a_needed_mask_is_looked_for_beside_its_picture(self, command: CommandLine) -> None:
        picture(command.folder / "a.png")
        found = mask(command.folder / "a-mask.png")

        assert command.paint("a.png", "-o", "out.png").status == 0
        assert sent_masks(command) == [found.read_bytes()]

    def test_without_a_mask_the_option_is_named(self, command: CommandLine) -> None:
        picture(command.folder / "a.png")

        done = command.paint("a.png", "-o", "out.png")

        assert done.status == 2
        assert done.errors == [
            "a.png: no mask beside it; looked for a-mask.png and the like; --mask FILE names one,"
            " white where to fill, and model opencv needs it"
        ]

    def test_a_picture_is_never_its_own_mask(self, command: CommandLine) -> None:
        picture(command.folder / "d" / "a.png")

        assert command.paint("d/a.png", "-m", "d/a.png", "-o", "out.png").status == 2
        assert command.paint("d/a.png", "-m", "d", "-o", "out.png").status == 2
        assert command.session.tasks == []

    def test_a_marked_mask_comes_before_a_copy_of_the_picture(self, command: CommandLine) -> None:
        picture(command.folder / "in" / "a.png")
        picture(command.folder / "ms" / "a.png")
        found = mask(command.folder / "ms" / "a_mask.png")

        command.paint("in", "-m", "ms", "-o", "out")

        assert sent_masks(command) == [found.read_bytes()]

    def test_a_mask_for_another_picture_is_not_taken(self, command: CommandLine) -> None:
        for name in ("a.png", "a_mask.png"):
            picture(command.folder / "in" / name)
            mask(command.folder / "ms" / name)
        first = mask(command.folder / "ms" / "a.png", 8, 6)
        first.write_bytes(encode_image(np.full((6, 8), 254, np.uint8)))

        done = command.paint("in", "-m", "ms", "-o", "out")

        assert done.status == 0
        assert sent_masks(command)[0] == first.read_bytes()

    def test_two_masks_that_fit_equally_well_are_refused(self, command: CommandLine) -> None:
        picture(command.folder / "in" / "a.png")
        mask(command.folder / "ms" / "a_mask.png")
        mask(command.folder / "ms" / "a-mask.png")

        done = command.paint("in", "-m", "ms", "-o", "out")

        assert done.status == 2
        assert "several files could be its mask" in done.errors[0]

    def test_the_mask_of_all_is_no_picture(self, command: CommandLine) -> None:
        picture(command.folder / "e" / "a.png")
        mask(command.folder / "e" / "mask.png")

        assert command.paint("e", "-m", "e/mask.png", "-o", "out").status == 0
        assert names_in(command.folder / "out") == ["a.png"]


ODD_NAMES = [
    "with space.png",
    "br[ack]et.png",
    "percent %s %d.png",
    "line\nbreak.png",
    "\x1b[31mred.png",
    "日本語.png",
    "-leading.png",
    "'quote\".png",
    os.fsdecode(b"latin-\xe9.png"),
    "n" * 251 + ".png",
    "é" * 125 + ".png",
]


class TestOddNames:
    @pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
    def test_every_legal_name_is_read_and_written(self, command: CommandLine, name: str) -> None:
        picture(command.folder / "in" / name)
        mask(command.folder / "ms" / name)

        done = command.paint("in", "-m", "ms", "-o", "out")

        assert (done.status, done.errors) == (0, [])
        assert names_in(command.folder / "out") == [name]
        assert "\x1b" not in done.out

    @pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
    def test_every_legal_name_is_told_on_one_line(self, command: CommandLine, name: str) -> None:
        (command.folder / "in").mkdir()
        (command.folder / "in" / name).write_bytes(b"no picture")

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 2
        assert len(done.err.splitlines()) == 1
        assert "\x1b" not in done.err

    def test_a_name_that_would_be_too_long_is_known_before_the_work(
        self, command: CommandLine
    ) -> None:
        picture(command.folder / "in" / ("n" * 250 + ".png"))

        done = command.paint("in", "-m", mask(command.folder / "m.png"))

        assert done.status == 2
        assert "would have 261 bytes, and 255 are possible there" in done.errors[0]
        assert command.session.tasks == []


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what gives bytes to standard input."""

    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


class TestEmptyNames:
    """What ``"$FILE"`` is where no such variable is set."""

    @pytest.mark.parametrize(
        "arguments",
        [[""], ["a.png", "-m", ""], ["a.png", "-o", ""], ["a.png", "-i", "mask="]],
    )
    def test_an_empty_name_is_not_the_current_folder(
        self, command: CommandLine, arguments: list[str]
    ) -> None:
        picture(command.folder / "a.png")
        mask(command.folder / "a-mask.png")

        assert command.paint(*arguments).status == 2
        assert command.session.tasks == []


class TestStreams:
    def test_a_dash_is_standard_input_and_output(
        self, command: CommandLine, stdin: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        m = mask(command.folder / "m.png")
        stdin(picture(command.folder / "a.png").read_bytes())
        stdout = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(sys, "stdout", stdout)

        done = command.paint("-", "-m", m, "-o", "-")

        assert isinstance(stdout.buffer, io.BytesIO)
        assert done.status == 0
        assert format_of(stdout.buffer.getvalue()) == "png"
        assert "queue cpu-light" in done.err
        assert not (command.folder / "-").exists()

    def test_standard_input_may_go_to_a_file(self, command: CommandLine, stdin: Any) -> None:
        m = mask(command.folder / "m.png")
        stdin(picture(command.folder / "a.png").read_bytes())

        assert command.paint("-", "-m", m, "-o", "x.png").status == 0
        assert names_in(command.folder) == ["a.png", "m.png", "x.png"]

    def test_standard_input_needs_a_place_for_its_result(
        self, command: CommandLine, stdin: Any
    ) -> None:
        m = mask(command.folder / "m.png")
        stdin(picture(command.folder / "a.png").read_bytes())

        done = command.paint("-", "-m", m)

        assert (done.status, done.errors) == (2, ["-: say where its result goes: -o FILE or -o -"])

    def test_standard_input_is_read_once(self, command: CommandLine) -> None:
        assert command.paint("-", "-m", "-", "-o", "x.png").status == 2

    def test_pipes_are_read_and_written_as_they_are(self, command: CommandLine) -> None:
        source, target = command.folder / "in.fifo", command.folder / "out.fifo"
        data = picture(command.folder / "a.png").read_bytes()
        os.mkfifo(source)
        os.mkfifo(target)
        got: list[bytes] = []
        writer = threading.Thread(target=lambda: source.write_bytes(data))
        reader = threading.Thread(target=lambda: got.append(target.read_bytes()))
        writer.start()
        reader.start()

        done = command.paint(source, "-m", mask(command.folder / "m.png"), "-o", target)

        writer.join()
        reader.join()
        assert done.status == 0
        assert stat.S_ISFIFO(target.stat().st_mode)
        assert format_of(got[0]) == "png"

    def test_a_device_that_takes_nothing_costs_no_result(
        self, command: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(command.folder))
        picture(command.folder / "a.png")

        done = command.paint("a.png", "-m", mask(command.folder / "m.png"), "-o", "/dev/full")

        assert done.status == 1
        assert "No space left on device; the result is kept as " in done.errors[0]
        assert Path(done.errors[0].rpartition(" kept as ")[2]).read_bytes()

    def test_several_results_do_not_fit_into_one_stream(self, command: CommandLine) -> None:
        picture(command.folder / "in" / "a.png")

        assert command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "-").status == 2


class TestWhatIsThere:
    def test_a_file_that_is_no_picture_is_not_overwritten(self, command: CommandLine) -> None:
        picture(command.folder / "a.png")
        precious = command.folder / "precious.png"
        precious.write_text("my thesis")
        arguments = ("a.png", "-m", mask(command.folder / "m.png"), "-o", precious)

        done = command.paint(*arguments)

        assert done.status == 2
        assert "is there and is not a picture; --overwrite replaces it" in done.errors[0]
        assert precious.read_text() == "my thesis"
        assert command.paint(*arguments, "--overwrite").status == 0
        assert format_of(precious.read_bytes()) == "png"

    def test_a_read_only_file_is_not_overwritten(self, command: CommandLine) -> None:
        picture(command.folder / "a.png")
        kept = picture(command.folder / "kept.png", 3, 3)
        kept.chmod(0o444)

        done = command.paint("a.png", "-m", mask(command.folder / "m.png"), "-o", kept)

        assert done.status == 2
        assert "is read-only" in done.errors[0]

    def test_a_file_keeps_its_mode_and_a_new_one_follows_the_umask(
        self, command: CommandLine
    ) -> None:
        picture(command.folder / "a.png")
        old = picture(command.folder / "old.png", 3, 3)
        old.chmod(0o640)
        m = mask(command.folder / "m.png")
        before = os.umask(0o027)
        try:
            command.paint("a.png", "-m", m, "-o", old)
            command.paint("a.png", "-m", m, "-o", "new.png")
        finally:
            os.umask(before)

        assert stat.S_IMODE(old.stat().st_mode) == 0o640
        assert stat.S_IMODE((command.folder / "new.png").stat().st_mode) == 0o640

    def test_a_link_is_written_through(self, command: CommandLine) -> None:
        picture(command.folder / "a.png")
        real = picture(command.folder / "store" / "real.png", 3, 3)
        link = command.folder / "link.png"
        link.symlink_to(real)

        assert command.paint("a.png", "-m", mask(command.folder / "m.png"), "-o", link).status == 0
        assert link.is_symlink()
        with Image.open(real) as image:
            assert image.size == (8, 6)

    def test_a_link_to_the_picture_is_not_overwritten(self, command: CommandLine) -> None:
        source = picture(command.folder / "a.png")
        before = source.read_bytes()
        (command.folder / "b.png").symlink_to(source)

        done = command.paint("a.png", "-m", mask(command.folder / "m.png"), "-o", "b.png")

        assert done.status == 2
        assert "would overwrite an input" in done.errors[0]
        assert source.read_bytes() == before

    def test_one_missing_folder_is_made_and_several_are_asked_about(
        self, command: CommandLine
    ) -> None:
        picture(command.folder / "a.png")
        m = mask(command.folder / "m.png")

        assert command.paint("a.png", "-m", m, "-o", "new/x.png").status == 0
        done = command.paint("a.png", "-m", m, "-o", "no/such/folder/x.png")
        assert (done.status, done.errors) == (
            2,
            ["no: no such folder; make it, or let --make-folders do so"],
        )
        assert (
            command.paint("a.png", "-m", m, "-o", "no/such/folder/x.png", "--make-folders").status
            == 0
        )

    def test_nothing_but_results_is_left_in_their_folder(self, command: CommandLine) -> None:
        picture(command.folder / "in" / "a.png")

        command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert [each.name for each in (command.folder / "out").iterdir()] == ["a.png"]
