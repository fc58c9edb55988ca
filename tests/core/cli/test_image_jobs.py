"""What ``paintmq run`` plans to do, and what it refuses before anything is started."""

from pathlib import Path

import pytest
from tests.harness.sample_pictures import picture

from paintmq.cli.failures import CommandError
from paintmq.cli.image_jobs import GivenInput, ImageJob, Plan, plan_jobs
from paintmq.cli.result_places import Wishes


def plan(*images: Path, mask: Path | None = None, output: Path | None = None) -> Plan:
    others = [GivenInput(name="mask", place=mask)] if mask is not None else []
    return plan_jobs(images, others=others, wishes=Wishes(output=output, model="opencv"))


def jobs(*images: Path, mask: Path | None = None, output: Path | None = None) -> list[ImageJob]:
    planned = plan(*images, mask=mask, output=output)
    assert planned.faults == []
    return list(planned.jobs)


def refusal(*images: Path, mask: Path | None = None, output: Path | None = None) -> str:
    with pytest.raises(CommandError) as caught:
        plan(*images, mask=mask, output=output)
    return str(caught.value)


def fault(*images: Path, mask: Path | None = None, output: Path | None = None) -> str:
    (found,) = plan(*images, mask=mask, output=output).faults
    return str(found)


class TestWhereResultsGo:
    def test_one_image_goes_to_the_file_that_is_named(self, tmp_path: Path) -> None:
        image = picture(tmp_path / "cat.png")

        (job,) = jobs(image, output=tmp_path / "out.jpg")

        assert job == ImageJob(image=image, output=tmp_path / "out.jpg", format=".jpg")

    def test_without_a_name_the_result_lies_beside_the_image_named_after_the_model(
        self, tmp_path: Path
    ) -> None:
        (job,) = jobs(picture(tmp_path / "cat.jpg"))

        assert job.output == tmp_path / "cat-opencv.png"

    def test_an_output_that_is_a_folder_takes_the_image_by_its_name(self, tmp_path: Path) -> None:
        (job,) = jobs(picture(tmp_path / "in" / "cat.jpg"), output=tmp_path)

        assert job.output == tmp_path / "cat.png"

    def test_a_folder_gives_its_images_in_order_of_names_and_nothing_else(
        self, tmp_path: Path
    ) -> None:
        folder = tmp_path / "in"
        for name in ("b.png", "a.JPG", ".hidden.png"):
            picture(folder / name)
        (folder / "notes.txt").write_text("no image")
        (folder / "sub.png").mkdir()

        planned = jobs(folder, output=tmp_path / "out")

        assert [job.output for job in planned] == [tmp_path / "out" / n for n in ("a.png", "b.png")]

    def test_the_folder_for_the_results_is_made(self, tmp_path: Path) -> None:
        jobs(picture(tmp_path / "cat.png"), output=tmp_path / "new" / "out.png")

        assert (tmp_path / "new").is_dir()

    def test_several_images_do_not_fit_into_one_file(self, tmp_path: Path) -> None:
        images = [picture(tmp_path / name) for name in ("a.png", "b.png")]

        assert "several images need a folder" in refusal(*images, output=tmp_path / "out.png")

    def test_two_results_in_one_place_are_told_apart_by_their_folders(self, tmp_path: Path) -> None:
        images = [picture(tmp_path / folder / "a.png") for folder in ("x", "y")]

        assert [job.output for job in jobs(*images, output=tmp_path / "out")] == [
            tmp_path / "out" / folder / "a.png" for folder in ("x", "y")
        ]

    def test_an_input_is_never_overwritten(self, tmp_path: Path) -> None:
        image = picture(tmp_path / "cat.png")

        assert "would overwrite an input" in fault(image, output=image)

    def test_an_ending_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        image = picture(tmp_path / "cat.png")

        assert "cannot write .gif files" in refusal(image, output=tmp_path / "out.gif")

    def test_a_place_that_cannot_be_written_to_is_refused(self, tmp_path: Path) -> None:
        image = picture(tmp_path / "cat.png")
        (tmp_path / "file").write_text("in the way")

        assert "is a file, not a folder" in refusal(image, output=tmp_path / "file" / "out.png")


class TestMasks:
    def test_one_mask_serves_all(self, tmp_path: Path) -> None:
        for name in ("a.png", "b.png"):
            picture(tmp_path / "in" / name)
        mask = picture(tmp_path / "mask.png")

        assert {job.others["mask"] for job in jobs(tmp_path / "in", mask=mask)} == {mask}

    @pytest.mark.parametrize("name", ["cat.png", "cat-mask.png", "cat_mask.webp"])
    def test_a_folder_of_masks_is_matched_by_name(self, tmp_path: Path, name: str) -> None:
        image = picture(tmp_path / "cat.jpg")
        mask = picture(tmp_path / "masks" / name)

        (job,) = jobs(image, mask=tmp_path / "masks")

        assert job.others == {"mask": mask}

    def test_an_image_without_a_mask_in_the_folder_is_named(self, tmp_path: Path) -> None:
        image = picture(tmp_path / "cat.png")
        (tmp_path / "masks").mkdir()

        assert fault(image, mask=tmp_path / "masks").startswith(f"{image}: no mask for it")


class TestWhatIsRefused:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        assert fault(tmp_path / "gone.png") == f"{tmp_path / 'gone.png'}: no such file"

    def test_a_missing_mask(self, tmp_path: Path) -> None:
        image = picture(tmp_path / "cat.png")

        assert "gone.png: no such file" in refusal(image, mask=tmp_path / "gone.png")

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        assert "no images in this folder" in fault(tmp_path)
