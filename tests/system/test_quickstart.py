"""What a visitor does first: a scratched photograph in, a restored one out, by one command."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms
from tests.harness.command_process import CommandProcess, private_environment, run_command
from tests.harness.trial_models import write_trial_distribution

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
SCRATCHED, MASK = DATA / "chelsea-scratched.png", DATA / "chelsea-scratch-mask.png"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

pytestmark = pytest.mark.slow


def pixels(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def psnr(image: NDArray[Any], reference: NDArray[Any]) -> float:
    return float(10 * np.log10(255**2 / np.mean((image.astype(float) - reference) ** 2)))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return private_environment(tmp_path)


def test_run_restores_the_cat_and_changes_not_one_pixel_outside_the_mask(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    photo, output = tmp_path / "photo.png", tmp_path / "restored.png"
    with Image.open(SCRATCHED) as image:
        exif = image.getexif()
        exif[ExifTags.Base.Model] = "a camera"
        exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAltitude] = 8848.0
        image.save(photo, exif=exif, icc_profile=PROFILE)

    done = run_command(
        "run", "opencv", photo, "--mask", MASK, "-o", output, environment=environment
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{output}: queue cpu-light, worker ")
    hole = pixels(MASK)[:, :, 0] > 127
    restored, original = pixels(output), pixels(DATA / "chelsea.png")
    assert psnr(restored[hole], original[hole]) >= 24.0
    assert np.array_equal(restored[~hole], pixels(SCRATCHED)[~hole])
    with Image.open(output) as image:
        assert image.info["icc_profile"] == PROFILE
        assert not dict(image.getexif()), "camera, place and time are nobody's business"


def test_the_example_of_the_readme_leaves_a_picture_to_look_at(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    picture = tmp_path / "cat.png"

    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "restore_cat.py", picture],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "outside the mask: 0 values changed" in done.stdout
    assert pixels(picture).shape[1] > 2 * pixels(SCRATCHED).shape[1]


def test_the_contact_sheet_is_drawn_by_one_command(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    sheet = tmp_path / "sheet.jpg"

    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "contact_sheet.py", sheet, "--only", "opencv"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "chelsea-scratched",
        "chelsea-scratched opencv, ns",
        "chelsea-scratched opencv, telea",
        "coffee",
        "coffee opencv",
        "astronaut",
        "astronaut",
    ]
    assert pixels(sheet).std() > 30


def test_a_folder_is_a_batch_and_one_bad_image_does_not_stop_the_others(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    whole = SCRATCHED.read_bytes()
    for number in range(6):
        (photos / f"{number}.png").write_bytes(whole if number != 3 else whole[: len(whole) // 2])

    done = run_command(
        *("run", "opencv", photos, "--mask", MASK, "-o", tmp_path / "out"), environment=environment
    )

    assert done.returncode == 1
    assert done.stderr == f"error: {photos / '3.png'}: image: the file is damaged or cut short\n"
    assert done.stdout.startswith(f"5 images in {tmp_path / 'out'}: queue cpu-light, 1 worker, ")
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        f"{number}.png" for number in (0, 1, 2, 4, 5)
    ]


def test_a_single_damaged_image_is_bad_input(tmp_path: Path, environment: dict[str, str]) -> None:
    image = tmp_path / "cat.png"
    image.write_bytes(SCRATCHED.read_bytes()[:50_000])

    done = run_command("run", "opencv", image, "--mask", MASK, environment=environment)

    assert done.returncode == 2
    assert done.stderr == f"error: {image}: image: the file is damaged or cut short\n"


@pytest.fixture
def trial_environment(tmp_path: Path) -> dict[str, str]:
    """Settings with models that do on order what a bad model may do."""
    plugins = write_trial_distribution(tmp_path / "plugins")
    return private_environment(tmp_path, plugins=plugins, PAINTMQ_LOG="info")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_its_status_and_leaves_nothing(
    tmp_path: Path, trial_environment: dict[str, str], number: signal.Signals
) -> None:
    arguments = ("run", "trial", SCRATCHED, "--mask", MASK, "-o", tmp_path / "o", "-O", "do=heed")
    with CommandProcess(arguments, trial_environment) as command:
        host = int(command.wait_for_line(r"model host (\d+)")[1])

        command.process.send_signal(number)

        assert command.wait() == 128 + number
    assert not psutil.pid_exists(host)
    assert "interrupted: 0 of 1 images are done" in "".join(command.said)
    assert not any((tmp_path / "o").iterdir())


def test_previews_are_kept_on_request(tmp_path: Path, trial_environment: dict[str, str]) -> None:
    done = run_command(
        *("run", "trial", SCRATCHED, "--mask", MASK, "-o", tmp_path / "out.png"),
        *("-O", "do=heed", "-O", "seconds=2", "--previews", tmp_path / "previews"),
        environment=trial_environment,
    )

    assert done.returncode == 0, done.stderr
    (preview,) = (tmp_path / "previews").iterdir()
    assert preview.name == "out-0001.png"
    with Image.open(preview) as shown, Image.open(SCRATCHED) as sent:
        assert np.array_equal(np.asarray(shown), np.asarray(sent))


def test_a_model_that_crashes_ends_in_one_line_and_status_1(
    tmp_path: Path, trial_environment: dict[str, str]
) -> None:
    environment = trial_environment | {"PAINTMQ_LIMITS__CRASHES": "1", "PAINTMQ_LOG": "critical"}

    done = run_command(
        *("run", "trial", SCRATCHED, "--mask", MASK, "-o", tmp_path, "-O", "do=crash"),
        environment=environment,
    )

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "SIGSEGV" in done.stderr


@pytest.fixture
def run_connected(tmp_path: Path) -> "Callable[..., subprocess.CompletedProcess[str]]":
    def run_connected(endpoint: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return run_command(
            *arguments, "--connect", endpoint, environment=private_environment(tmp_path)
        )

    return run_connected


def test_run_uses_the_broker_it_is_told(
    tmp_path: Path, run_connected: "Callable[..., subprocess.CompletedProcess[str]]"
) -> None:
    environment = private_environment(tmp_path, PAINTMQ_BROKER__PORT="0")
    with CommandProcess(["up"], environment) as up:
        endpoint = up.wait_for_line(r"broker for clients at (\S+)")[1]
        up.wait_for_line(r"workers: ")

        arguments = ("opencv", SCRATCHED, "--mask", MASK, "-o", tmp_path / "a.png")
        done = run_connected(endpoint, "run", *arguments)
        status = run_connected(endpoint, "status")

        assert (done.returncode, done.stderr) == (0, "")
        assert (status.returncode, status.stderr) == (0, "")
        assert f"{os.uname().nodename}/cpu-0" in status.stdout
        for wrong, said in (
            (("run", "no-such-model", *arguments[1:]), "no model 'no-such-model' is installed"),
            (("run", *arguments, "-O", "radius=0"), "option 'radius' of model opencv"),
            (("why", "0" * 32), "no task '0000"),
        ):
            refused = run_connected(endpoint, *wrong)
            assert refused.returncode == 2
            assert refused.stderr.startswith("error: ")
            assert said in refused.stderr
            assert len(refused.stderr.splitlines()) == 1
