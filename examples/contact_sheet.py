"""Draw one page of results: every model that can run here, on the photographs of the tests.

    python examples/contact_sheet.py sheet.png [--config paintmq.toml]

Models whose libraries or weights are not on this machine are left out and named. Real-ESRGAN's
smallest network comes with the tests, so with ``paintmq[realesrgan]`` it is always there.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from paintmq import Config, QueueManager, Task
from paintmq.config_file import load_config
from paintmq.errors import PaintMQError
from paintmq.image import decode_image, encode_image, to_8_bits
from paintmq.task import Json

DATA = Path(__file__).parents[1] / "tests" / "data"
CELL = 300
CAPTION = 26
COLUMNS = 4


@frozen(kw_only=True)
class Shot:
    """One result on the page."""

    model: str
    task_type: str
    picture: str
    mask: str = ""
    options: Mapping[str, Json] = {}
    label: str = ""
    detail: tuple[int, int, int, int] | None = None
    """Left, top, width and height of what is sent, where that is not the whole picture."""


INPAINTERS = ("opencv", "lama", "anime-lama", "mat", "fcf", "zits")
SHOTS = (
    Shot(model="opencv", task_type="inpaint", picture="chelsea-scratched",
         mask="chelsea-scratch-mask", options={"algorithm": "telea"}, label="opencv telea"),
    *(
        Shot(model=model, task_type="inpaint", picture=picture, mask=mask)
        for model in INPAINTERS
        for picture, mask in (
            ("chelsea-scratched", "chelsea-scratch-mask"), ("coffee", "coffee-spoon-mask"),
        )
    ),
    *(
        Shot(model=model, task_type="plugin", picture="astronaut", options={"scale": 4},
             detail=(170, 60, 100, 100))
        for model in ("realesrgan", "realesrgan-anime", "realesrgan-general", "realesrgan-video")
    ),
    Shot(model="gfpgan", task_type="plugin", picture="astronaut"),
    Shot(model="rembg", task_type="plugin", picture="astronaut"),
    Shot(model="rembg", task_type="plugin", picture="coffee", options={"background": "#2060a0"},
         label="rembg on blue"),
    Shot(model="anime-seg", task_type="plugin", picture="astronaut"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("output", type=Path)
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    cells: list[NDArray[np.uint8]] = []
    missing: dict[str, str] = {}
    with QueueManager(settings(arguments.config)) as manager:
        for shot in SHOTS:
            if shot.model in missing:
                continue
            try:
                before, after = run(manager, shot)
            except (PaintMQError, TimeoutError) as error:
                missing[shot.model] = str(error)
                continue
            cells += [cell(before, shot.picture), cell(after, shot.label or shot.model)]
            print(f"{shot.label or shot.model}: {shot.picture}")
    arguments.output.write_bytes(encode_image(page(cells), arguments.output.suffix))
    for model, why in missing.items():
        print(f"left out {model}: {why}")


def settings(path: Path | None) -> Config:
    """Return the user's settings, and in addition the weights that come with the tests."""
    config = load_config(path)
    paths = {
        "realesr-animevideov3.pth": str(DATA / "realesr-animevideov3-x4.safetensors"),
        **config.weights.paths,
    }
    return evolve(config, weights=evolve(config.weights, paths=paths))


def run(manager: QueueManager, shot: Shot) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Send one task, wait for it, and return the picture before and after."""
    picture = photograph(shot.picture)
    if shot.detail:
        left, top, width, height = shot.detail
        picture = picture[top : top + height, left : left + width]
    inputs = {"image": picture}
    if shot.mask:
        inputs["mask"] = photograph(shot.mask)
    config = {"model": shot.model, **shot.options}
    task = Task(task_type=shot.task_type, config=config, inputs=inputs)
    result = manager.send_task(manager.route_task(task), task).result(timeout=300)
    return picture, to_8_bits(result.image)


def photograph(name: str) -> NDArray[np.uint8]:
    return to_8_bits(decode_image((DATA / f"{name}.png").read_bytes()).pixels)


def cell(picture: NDArray[np.uint8], label: str) -> NDArray[np.uint8]:
    """Return the picture fitted into a square on white, transparent parts on a chequered ground."""
    height, width = picture.shape[:2]
    ratio = CELL / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    fitted = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    if fitted.shape[2] == 4:
        rows, columns = np.indices(fitted.shape[:2]) // 10
        ground = np.where((rows + columns) % 2, 205, 245)[:, :, None]
        alpha = fitted[:, :, 3:] / 255
        fitted = np.rint(fitted[:, :, :3] * alpha + ground * (1 - alpha)).astype(np.uint8)
    square = np.full((CELL + CAPTION, CELL, 3), 255, np.uint8)
    square[CAPTION : CAPTION + size[1], : size[0]] = fitted
    cv2.putText(square, label, (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return square


def page(cells: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    blank = np.full((CELL + CAPTION, CELL, 3), 255, np.uint8)
    cells = cells + [blank] * (-len(cells) % COLUMNS)
    rows = [np.hstack(cells[at : at + COLUMNS]) for at in range(0, len(cells), COLUMNS)]
    return np.vstack(rows).astype(np.uint8)


if __name__ == "__main__":
    main()
