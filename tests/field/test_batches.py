"""A batch is many jobs: what is wrong with one picture stops no other."""

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.harness.instant_session import CommandLine, pixels_of
from tests.harness.sample_pictures import mask, names_in, picture, promise_of_pixels

from paintmq.cli import result_files
from paintmq.client.task import Task
from paintmq.errors import TaskFailedError
from paintmq.image.files import encode_image
from paintmq.task import TaskState


def sound(folder: Path, count: int = 3) -> list[Path]:
    return [picture(folder / f"p{number}.png") for number in range(count)]


class TestOneBadPicture:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "the file is empty"),
            (bytes(range(20)), "not a readable image (PNG, JPEG, WEBP, TIFF, GIF, BMP, AVIF"),
            (b"\x89PNG\r\n\x1a\n broken", "its header is damaged"),
        ],
    )
    def test_a_file_that_cannot_be_read_costs_itself_alone(
        self, command: CommandLine, content: bytes, reason: str
    ) -> None:
        sound(command.folder / "in")
        (command.folder / "in" / "x.jpg").write_bytes(content)

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 1
        assert [each.startswith("in/x.jpg: ") and reason in each for each in done.errors] == [True]
        assert names_in(command.folder / "out") == ["p0.png", "p1.png", "p2.png"]
        assert "3 images in out: " in done.out
        assert "1 failed" in done.out

    def test_damage_behind_a_sound_header_costs_the_picture_alone(
        self, command: CommandLine
    ) -> None:
        sound(command.folder / "in")
        cut = picture(command.folder / "in" / "p1.png", 200, 200)
        cut.write_bytes(cut.read_bytes()[:-60])
        for name in ("p0.png", "p2.png"):
            mask(command.folder / "ms" / name)
        mask(command.folder / "ms" / "p1.png", 200, 200)

        done = command.paint("in", "-m", "ms", "-o", "out")

        assert done.status == 1
        assert done.errors == ["in/p1.png: image: the file is damaged or cut short"]
        assert names_in(command.folder / "out") == ["p0.png", "p2.png"]

    def test_every_picture_without_a_mask_is_named_at_once(self, command: CommandLine) -> None:
        for each in sound(command.folder / "in"):
            mask(command.folder / "ms" / each.name)
        for name in ("q1.png", "q2.png"):
            picture(command.folder / "in" / name)

        done = command.paint("in", "-m", "ms", "-o", "out")

        assert done.status == 1
        assert [each.partition(": ")[0] for each in done.errors] == ["in/q1.png", "in/q2.png"]
        assert len(names_in(command.folder / "out")) == 3

    def test_a_mask_of_another_size_costs_its_picture_alone(self, command: CommandLine) -> None:
        for each in sound(command.folder / "in"):
            mask(command.folder / "ms" / each.name)
        mask(command.folder / "ms" / "p1.png", 9, 6)

        done = command.paint("in", "-m", "ms", "-o", "out")

        assert done.status == 1
        assert done.errors == [
            "in/p1.png: mask ms/p1.png: the mask is 9 x 6 pixels, but in/p1.png is 8 x 6"
        ]
        assert names_in(command.folder / "out") == ["p0.png", "p2.png"]

    def test_every_missing_file_of_a_list_is_named(self, command: CommandLine) -> None:
        sound(command.folder)

        done = command.paint(
            "a.png", "p0.png", "b.png", "-m", mask(command.folder / "m.png"), "-o", "out"
        )

        assert done.status == 1
        assert done.errors == ["a.png: no such file", "b.png: no such file"]
        assert names_in(command.folder / "out") == ["p0.png"]

    def test_a_picture_beyond_a_limit_is_refused_with_the_setting(
        self, command: CommandLine
    ) -> None:
        sound(command.folder / "in")
        promise_of_pixels(command.folder / "in" / "big.png", 100_000, 100_000)

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 1
        assert "limits.max_pixels" in done.errors[0]
        assert "limits.max_side" in done.errors[0]

    def test_a_refusal_by_the_size_of_one_picture_stops_no_other(
        self, command: CommandLine
    ) -> None:
        def act(task: Task) -> dict[str, Any]:
            if pixels_of(task).shape[1] > 50:
                raise TaskFailedError(task.id, None, "no_queue_fits", "no queue can hold it")
            return {"image": pixels_of(task)}

        command.session.act = act
        sound(command.folder / "in")
        picture(command.folder / "in" / "a.png", 60, 6)

        for each in names_in(command.folder / "in"):
            width = 60 if each == "a.png" else 8
            mask(command.folder / "ms" / each, width, 6)
        done = command.paint("in", "-m", "ms", "-o", "out")

        assert done.status == 1
        assert done.errors == ["in/a.png: no queue can hold it"]
        assert len(names_in(command.folder / "out")) == 3

    def test_a_dangling_link_and_an_unreadable_entry_are_named(self, command: CommandLine) -> None:
        sound(command.folder / "in")
        (command.folder / "in" / "q.png").symlink_to("nowhere.png")

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert (done.status, done.errors) == (1, ["in/q.png: a link to nothing"])

    def test_nothing_done_is_status_2(self, command: CommandLine) -> None:
        picture(command.folder / "in" / "x.png").write_bytes(b"text")

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert (done.status, done.out) == (2, "")
        assert command.session.tasks == []


class TestOddResults:
    @pytest.mark.parametrize(
        "outputs",
        [
            {"image": np.zeros((4, 4, 7), np.uint8)},
            {"image": np.zeros((4, 4, 3), np.float32)},
            {"note": b"no picture today"},
        ],
    )
    def test_a_result_that_is_no_picture_costs_itself_alone(
        self, command: CommandLine, outputs: dict[str, Any]
    ) -> None:
        def act(task: Task) -> dict[str, Any]:
            return outputs if len(command.session.tasks) == 2 else {"image": pixels_of(task)}

        command.session.act = act
        sound(command.folder / "in")

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 1
        assert len(done.errors) == 1
        assert done.errors[0].startswith("in/p1.png: its result cannot be written: ")
        assert names_in(command.folder / "out") == ["p0.png", "p2.png"]

    def test_a_format_that_fails_costs_no_result(
        self, command: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def encode(pixels: Any, format: str, **more: Any) -> bytes:
            if format == ".webp":
                raise ValueError("encoding error 6")
            return encode_image(pixels, format, **more)

        monkeypatch.setattr("paintmq.image.files.encode_image", encode)
        sound(command.folder / "in", 1)
        m = mask(command.folder / "m.png")

        done = command.paint("in", "-m", m, "-o", "out", "--format", "webp")

        assert (done.status, names_in(command.folder / "out")) == (0, ["p0.png"])
        assert "written as PNG" in done.notes[-1]

    def test_a_broker_that_stops_answering_ends_the_run_and_tells_how_far_it_came(
        self, command: CommandLine
    ) -> None:
        def act(task: Task) -> dict[str, Any]:
            if len(command.session.tasks) == 30:
                raise TimeoutError("no answer of the broker to 'route' within 30 s")
            return {"image": pixels_of(task)}

        command.session.act = act
        sound(command.folder / "in", 40)

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 1
        assert done.errors == ["no answer of the broker to 'route' within 30 s"]
        assert done.notes[-1].startswith("ended: ")


class TestAllOrNothing:
    def test_strict_does_nothing_for_one_bad_picture(self, command: CommandLine) -> None:
        sound(command.folder / "in")
        (command.folder / "in" / "x.png").write_bytes(b"text")
        (command.folder / "in" / "y.png").write_bytes(b"text")

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out", "--strict")

        assert done.status == 2
        assert [each.partition(":")[0] for each in done.errors] == [
            *("in/x.png", "in/y.png", "nothing was done"),
        ]
        assert command.session.tasks == []

    def test_strict_names_missing_masks_too(self, command: CommandLine) -> None:
        sound(command.folder / "in")
        mask(command.folder / "ms" / "p0.png")

        done = command.paint("in", "-m", "ms", "-o", "out", "--strict")

        assert done.status == 2
        assert len(done.errors) == 3
        assert not (command.folder / "out").exists()


class TestFaultsOfAll:
    def test_a_folder_for_results_that_is_removed_ends_the_run(self, command: CommandLine) -> None:
        for number in range(40):
            picture(command.folder / "in" / f"{number:02d}.png")
        m = mask(command.folder / "m.png")

        def act(task: Task) -> dict[str, Any]:
            if len(command.session.tasks) == 20:
                shutil.rmtree(command.folder / "out")
            return {"image": pixels_of(task)}

        command.session.act = act
        done = command.paint("in", "-m", m, "-o", "out")

        assert done.status == 1
        (error,) = done.errors
        assert "cannot be written: No such file or directory; the result is kept as" in error
        assert "images are done; the same command with --skip-existing goes on" in done.notes[-1]

    @pytest.mark.parametrize(
        "code", ["weights_missing", "weights_untrusted", "weights_unreadable", "load_failed"]
    )
    def test_what_every_picture_would_meet_ends_the_run_at_once(
        self, command: CommandLine, code: str
    ) -> None:
        def act(task: Task) -> dict[str, Any]:
            raise TaskFailedError(task.id, TaskState.FAILED, code, "the model cannot be loaded")

        command.session.act = act
        sound(command.folder / "in", 40)

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 2
        assert done.errors == ["the model cannot be loaded"]
        assert len(command.session.tasks) <= 16

    def test_a_broker_without_workers_ends_the_run_at_once(self, command: CommandLine) -> None:
        def act(task: Task) -> dict[str, Any]:
            raise TaskFailedError(task.id, None, "no_worker", "no worker is connected")

        command.session.act = act
        command.session.workers = []
        command.session.trouble = lambda: "node vm: cannot be launched: no space"
        sound(command.folder / "in", 40)

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 2
        assert done.errors == ["no worker is connected; node vm: cannot be launched: no space"]

    def test_a_full_disk_ends_the_run_keeps_the_result_and_says_how_to_go_on(
        self, command: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = result_files._replace

        def replace(path: Path, data: bytes) -> None:
            if path.name == "p2.png":
                raise OSError(errno.ENOSPC, "No space left on device")
            written(path, data)

        monkeypatch.setattr(result_files, "_replace", replace)
        monkeypatch.setenv("TMPDIR", str(command.folder))
        monkeypatch.setattr("tempfile.tempdir", None)
        sound(command.folder / "in", 40)

        done = command.paint("in", "-m", mask(command.folder / "m.png"), "-o", "out")

        assert done.status == 1
        (error,) = done.errors
        assert error.startswith(
            "out/p2.png: cannot be written: No space left on device; the result"
        )
        assert Path(error.rpartition(" kept as ")[2]).is_file()
        assert done.notes[-1].startswith("ended: ")
        assert done.notes[-1].endswith("the same command with --skip-existing goes on")
