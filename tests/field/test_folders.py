"""Folders are gone through whole, told of, and gone on with where a run stopped."""

import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.harness.instant_session import CommandLine, pixels_of
from tests.harness.sample_pictures import mask, names_in, picture

from paintmq.cli import picture_files
from paintmq.client.task import Task


def sound(folder: Path, count: int = 3) -> list[Path]:
    return [picture(folder / f"p{number}.png") for number in range(count)]


class TestWhatIsLeftOut:
    def test_a_folder_that_is_given_twice_counts_once(self, command: CommandLine) -> None:
        picture(command.folder / "in" / "a.png")
        m = mask(command.folder / "m.png")

        done = command.paint("in", "in/", "./in", "in/a.png", "-m", m, "-o", "out")

        assert (done.status, done.errors) == (0, [])
        assert len(command.session.tasks) == 1

    def test_other_files_of_a_folder_are_counted_and_named(self, command: CommandLine) -> None:
        sound(command.folder / "in")
        for name in ("notes.txt", "f.xyz", ".hidden"):
            (command.folder / "in" / name).write_text("no picture")

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 0
        assert done.notes == ["2 files left out, of no format that is read: f.xyz, notes.txt"]

    @pytest.mark.parametrize("name", ["b.jfif", "c.jpe", "d.JPG", "e.pjpeg", "nameless"])
    def test_a_picture_under_a_rare_ending_is_taken(self, command: CommandLine, name: str) -> None:
        picture(command.folder / "in" / name)

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert (done.status, done.err) == (0, "")
        assert len(names_in(command.folder / "out")) == 1

    @pytest.mark.parametrize("name", ["scan.bmp", "anim.GIF", "web.avif", "old.dib"])
    def test_a_picture_of_a_format_that_is_only_read_is_taken_and_becomes_png(
        self, command: CommandLine, name: str
    ) -> None:
        kind = {".GIF": "GIF", ".avif": "AVIF"}.get(Path(name).suffix, "BMP")
        (command.folder / "in").mkdir()
        Image.new("RGB", (8, 6), "red").save(command.folder / "in" / name, kind)

        for extra in ([], ["--format", "same"]):
            done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out", *extra)

            assert (done.status, done.err) == (0, "")
            assert names_in(command.folder / "out") == [f"{Path(name).stem}.png"]

    def test_a_mask_may_be_a_bitmap(self, command: CommandLine) -> None:
        sound(command.folder / "in", 1)
        (command.folder / "masks").mkdir()
        Image.new("L", (8, 6), 255).save(command.folder / "masks" / "p0.bmp")

        assert command.paint("in", "-m", "masks", "-o", "out").status == 0

    def test_an_animation_is_refused_before_any_work(self, command: CommandLine) -> None:
        (command.folder / "in").mkdir()
        frames = [Image.new("RGB", (8, 6), each) for each in ("red", "blue")]
        frames[0].save(
            command.folder / "in" / "a.gif", save_all=True, append_images=frames[1:], duration=50
        )

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 2
        assert "a.gif: the file holds 2 images; --page 1 takes the first" in done.err

    def test_pictures_that_need_a_library_are_named_with_what_to_install(
        self, command: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(picture_files, "is_readable", lambda kind: False)
        caches = (picture_files._lacks, picture_files._readable_suffixes)
        for each in caches:
            each.cache_clear()
        sound(command.folder / "in", 1)
        (command.folder / "in" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(8))

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")
        for each in caches:
            each.cache_clear()

        assert done.status == 0
        assert done.notes == [
            "1 picture left out: pip install 'paintmq[heic]' lets it be read: IMG_1.HEIC"
        ]

    def test_pictures_in_sub_folders_are_counted(self, command: CommandLine) -> None:
        sound(command.folder / "in", 1)
        picture(command.folder / "in" / "x" / "b.png")
        picture(command.folder / "in" / "x" / "y" / "c.png")

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 0
        assert done.notes == ["2 pictures in sub-folders left out: --recursive takes them"]

    def test_quiet_tells_errors_alone(self, command: CommandLine) -> None:
        sound(command.folder / "in")
        (command.folder / "in" / "notes.txt").write_text("no picture")

        done = command.paint("-q", "in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert (done.status, done.out, done.err) == (0, "", "")


class TestTrees:
    def test_recursive_keeps_the_tree(self, command: CommandLine) -> None:
        for name in ("a.png", "x/b.png", "x/y/b.png"):
            picture(command.folder / "in" / name)

        done = command.paint("-r", "in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 0
        assert names_in(command.folder / "out") == ["a.png", "x/b.png", "x/y/b.png"]

    def test_masks_may_mirror_the_tree_or_lie_in_one_folder(self, command: CommandLine) -> None:
        for name in ("a.png", "x/b.png"):
            picture(command.folder / "in" / name)
        mask(command.folder / "ms" / "a.png")
        mask(command.folder / "ms" / "x" / "b.png")
        mask(command.folder / "flat" / "a.png")
        mask(command.folder / "flat" / "b.png")

        assert command.paint("-r", "in", "-m", "ms", "-o", "out").status == 0
        assert command.paint("-r", "in", "-m", "flat", "-o", "out").status == 0

    def test_results_below_the_pictures_are_not_taken_for_pictures(
        self, command: CommandLine
    ) -> None:
        for name in ("a.png", "x/b.png"):
            picture(command.folder / "in" / name)
        m = mask(command.folder / "m.png")

        for _ in range(2):
            done = command.paint("-r", "in", "-m", m, "-o", "in/out")

            assert done.status == 0
            assert names_in(command.folder / "in" / "out") == ["a.png", "x/b.png"]

    def test_same_names_of_two_folders_keep_what_tells_them_apart(
        self, command: CommandLine
    ) -> None:
        for name in ("jan/a.png", "feb/a.png", "feb/b.png"):
            picture(command.folder / name)

        done = command.paint("jan", "feb", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 0
        assert names_in(command.folder / "out") == ["b.png", "feb/a.png", "jan/a.png"]

    def test_same_stems_of_one_folder_keep_their_endings(self, command: CommandLine) -> None:
        for name in ("a.png", "a.jpg", "b.png"):
            picture(command.folder / "in" / name)

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 0
        assert names_in(command.folder / "out") == ["a.jpg.png", "a.png.png", "b.png"]

    def test_a_loop_of_links_is_not_followed(self, command: CommandLine) -> None:
        sound(command.folder / "in", 1)
        (command.folder / "in" / "loop").symlink_to(command.folder / "in")

        done = command.paint("-r", "in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 0
        assert done.notes == ["1 linked folder not followed: in/loop"]
        assert names_in(command.folder / "out") == ["p0.png"]


class TestGoingOn:
    def test_skip_existing_does_the_rest_and_nothing_twice(self, command: CommandLine) -> None:
        sound(command.folder / "in", 4)
        m = mask(command.folder / "m.png")
        command.paint("in/p0.png", "in/p1.png", "-m", m, "-o", "out")
        before = {each.name: each.stat().st_mtime_ns for each in (command.folder / "out").iterdir()}
        command.session.tasks.clear()

        done = command.paint("in", "-m", m, "-o", "out", "--skip-existing")

        assert done.status == 0
        assert len(command.session.tasks) == 2
        assert "2 were there already" in done.out
        for name, when in before.items():
            assert (command.folder / "out" / name).stat().st_mtime_ns == when

    def test_an_empty_file_is_no_result(self, command: CommandLine) -> None:
        sound(command.folder / "in", 2)
        (command.folder / "out").mkdir()
        (command.folder / "out" / "p0.png").touch()
        m = mask(command.folder / "m.png")

        done = command.paint("in", "-m", m, "-o", "out", "--skip-existing")

        assert (done.status, len(command.session.tasks)) == (0, 2)

    def test_a_caption_beside_results_is_no_result(self, command: CommandLine) -> None:
        sound(command.folder / "in", 1)
        (command.folder / "out").mkdir()
        (command.folder / "out" / "p0.txt").write_text("a caption")
        m = mask(command.folder / "m.png")

        command.paint("in", "-m", m, "-o", "out", "--skip-existing")

        assert names_in(command.folder / "out") == ["p0.png", "p0.txt"]

    def test_skip_existing_with_nothing_left_says_so(self, command: CommandLine) -> None:
        sound(command.folder / "in", 2)
        m = mask(command.folder / "m.png")
        command.paint("in", "-m", m, "-o", "out")
        command.session.tasks.clear()

        done = command.paint("in", "-m", m, "-o", "out", "--skip-existing")

        assert (done.status, command.session.tasks) == (0, [])
        assert done.out == "nothing to do: 2 were there already\n"

    def test_results_of_earlier_runs_are_replaced_and_counted(self, command: CommandLine) -> None:
        sound(command.folder / "in", 2)
        m = mask(command.folder / "m.png")
        command.paint("in", "-m", m, "-o", "out")

        assert "2 replaced" in command.paint("in", "-m", m, "-o", "out").out

    def test_a_folder_may_be_done_twice_beside_its_pictures(self, command: CommandLine) -> None:
        sound(command.folder / "in", 2)
        m = mask(command.folder / "m.png")
        command.paint("in", "-m", m)
        picture(command.folder / "in" / "new.png")

        done = command.paint("in", "-m", m, "--skip-existing")

        assert done.status == 0
        assert done.notes == ["2 results of earlier runs left out: p0-opencv.png, p1-opencv.png"]
        assert "new-opencv.png" in names_in(command.folder / "in")
        assert "2 were there already" in done.out

    def test_an_interrupted_run_says_how_to_go_on(self, command: CommandLine) -> None:
        def act(task: Task) -> dict[str, Any]:
            if len(command.session.tasks) == 20:
                signal.raise_signal(signal.SIGINT)
            return {"image": pixels_of(task)}

        command.session.act = act
        sound(command.folder / "in", 40)

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 130
        count = len(names_in(command.folder / "out"))
        assert 0 < count < 40
        assert done.notes[-1] == (
            f"interrupted: {count} of 40 images are done; the same command with --skip-existing"
            " goes on"
        )

    def test_the_same_file_twice_is_done_once(self, command: CommandLine) -> None:
        sound(command.folder / "in", 2)

        done = command.paint("in/p0.png", "in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 0
        assert len(command.session.tasks) == 2
