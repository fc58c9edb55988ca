"""Draw one page of results: every model on the photographs of the tests.

    python examples/contact_sheet.py [SHEET.jpg] [--config paintmq.toml] [--only MODEL ...]

Weights are taken from the models folder, as always. Those that are not there are generated with
random numbers, into out/generated-weights, and the page says so: such a result shows that the
model runs, and what it leaves alone, and paints nothing sensible. Models whose libraries are not
installed are named at the end. contact_sheet.jpg, beside this file, was made by this program.
"""

import argparse
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from paintmq import Config, PluginManager, QueueManager, Task, load_config
from paintmq.errors import PaintMQError
from paintmq.image import decode_image, encode_image, mask_from_array, to_8_bits
from paintmq.model import ModelSpec
from paintmq.task import Json
from paintmq.weights import WeightFolder

DATA = Path(__file__).parents[1] / "tests" / "data"
GENERATED = Path("out") / "generated-weights"
CELL, CAPTION, COLUMNS = 250, 36, 5

Picture = NDArray[np.uint8]


@frozen(kw_only=True)
class Shot:
    """One cell of the page: a model's result, or a photograph as it was."""

    picture: str
    model: str = ""
    mask: str = ""
    options: Mapping[str, Json] = {}
    label: str = ""
    detail: tuple[int, int, int, int] | None = None
    """Left, top, width and height of what is sent, where that is not the whole picture."""


FACE = (170, 60, 100, 100)
HAIR = (130, 0, 200, 200)
LANDMARKS: list[Json] = [[199, 113, 244, 110, 221, 140, 205, 162, 243, 160]]
DIFFUSION: Mapping[str, Json] = {"prompt": "a spoon", "steps": 4, "seed": 7}


def scratch(model: str = "", label: str = "", **options: Json) -> Shot:
    return Shot(picture="chelsea-scratched", mask="chelsea-scratch-mask", model=model,
                label=label, options=options)  # fmt: skip


def spoon(model: str = "", **options: Json) -> Shot:
    return Shot(picture="coffee", mask="coffee-spoon-mask", model=model, options=options)


SHOTS = (
    scratch(), scratch("opencv", "opencv, ns"),
    scratch("opencv", "opencv, telea", algorithm="telea"), spoon(), spoon("opencv"),
    *(spoon(model) for model in ("lama", "anime-lama", "mat", "fcf", "zits")),
    spoon("sd15", **DIFFUSION), spoon("sd21", **DIFFUSION), spoon("sdxl", **DIFFUSION),
    Shot(picture="astronaut"),
    Shot(picture="astronaut", model="gfpgan", options={"faces": LANDMARKS}),
    Shot(picture="astronaut", detail=FACE),
    *(
        Shot(picture="astronaut", model=model, options={"scale": 4}, detail=FACE)
        for model in ("realesrgan", "realesrgan-anime", "realesrgan-general", "realesrgan-video")
    ),
    Shot(picture="astronaut", model="rembg"),
    Shot(picture="astronaut", model="rembg", options={"output": "mask"}, label="rembg, mask"),
    Shot(picture="astronaut", model="rembg", options={"alpha_matting": True},
         label="rembg, matting", detail=HAIR),
    Shot(picture="coffee", model="rembg", options={"background": "#2060a0"},
         label="rembg, on blue"),
    Shot(picture="astronaut", model="anime-seg"),
    *(
        Shot(picture="astronaut", model=model)
        for model in ("rembg-u2net", "rembg-u2netp", "rembg-silueta")
    ),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sheet", type=Path, nargs="?", default=Path("out/contact_sheet.jpg"))
    parser.add_argument("--config", type=Path)
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="only these models")
    arguments = parser.parse_args()
    specs = PluginManager.installed().catalog().specs
    only = arguments.only
    shots = [shot for shot in SHOTS if not (only and shot.model) or shot.model in only]
    config, generated = settings(
        load_config(arguments.config), [specs[s.model] for s in shots if s.model]
    )
    cells: list[Picture] = []
    left_out: dict[str, str] = {}
    with QueueManager(config) as manager:
        for shot in shots:
            if shot.model in left_out:
                continue
            try:
                result = run(manager, shot, specs) if shot.model else outlined(shot)
            except (PaintMQError, TimeoutError) as error:
                left_out[shot.model] = str(error)
                continue
            cells.append(cell(result, captions(shot, specs, generated)))
            print(f"{shot.picture} {shot.label or shot.model}".rstrip())
    arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
    arguments.sheet.write_bytes(encode_image(page(cells), arguments.sheet.suffix, quality=82))
    for model, why in left_out.items():
        print(f"left out {model}: {why}")


def settings(config: Config, specs: Iterable[ModelSpec]) -> tuple[Config, set[str]]:
    """Return the user's settings with every weight file there, and the names of those generated."""
    paths = {
        "realesr-animevideov3.pth": str(DATA / "realesr-animevideov3-x4.safetensors"),
        **config.weights.paths,
    }
    weights = evolve(config.weights, paths=paths)
    missing = {
        file.name
        for spec in specs
        if not any(find_spec(name) is None for name in spec.requires)
        for file in spec.weights
        if WeightFolder(weights).status(file).path is None
    }
    trusted = list(weights.trusted_torchscript)
    if missing:
        from paintmq_plugins.generated_weights import WRITERS, generate, read_record

        generate(GENERATED, {name: WRITERS[name] for name in sorted(missing)})
        paths |= {name: str(GENERATED / name) for name in missing}
        trusted += read_record(GENERATED).values()
    weights = evolve(weights, paths=paths, trusted_torchscript=tuple(trusted))
    return evolve(config, weights=weights), missing


def run(manager: QueueManager, shot: Shot, specs: Mapping[str, ModelSpec]) -> Picture:
    """Send one task and wait for its picture."""
    inputs = {"image": photograph(shot)}
    if shot.mask:
        inputs["mask"] = photograph(Shot(picture=shot.mask))
    config = {"model": shot.model, **shot.options}
    task = Task(task_type=specs[shot.model].task_types[0], config=config, inputs=inputs)
    result = manager.send_task(manager.route_task(task), task).result(timeout=1800)
    picture: Picture = to_8_bits(result.image)
    return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)


def photograph(shot: Shot) -> Picture:
    pixels: Picture = to_8_bits(decode_image((DATA / f"{shot.picture}.png").read_bytes()).pixels)
    if shot.detail is None:
        return pixels
    left, top, width, height = shot.detail
    return pixels[top : top + height, left : left + width]


def outlined(shot: Shot) -> Picture:
    """Return the photograph, with a line around what is to be filled."""
    picture = photograph(shot).copy()
    if shot.mask:
        mask = mask_from_array(photograph(Shot(picture=shot.mask)))
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, (0, 255, 0), 2)
    return picture


def captions(shot: Shot, specs: Mapping[str, ModelSpec], generated: set[str]) -> tuple[str, str]:
    if not shot.model:
        return f"{shot.picture}", "the photograph"
    files = {file.name for file in specs[shot.model].weights}
    if not files:
        return shot.label or shot.model, "needs no weights"
    kind = "GENERATED weights" if files & generated else "real weights"
    return shot.label or shot.model, kind


def cell(picture: Picture, lines: tuple[str, str]) -> Picture:
    """Return the picture fitted into a square on white, transparent parts on a chequered ground."""
    height, width = picture.shape[:2]
    ratio = CELL / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_NEAREST
    fitted = cv2.resize(picture, size, interpolation=how)
    if fitted.shape[2] == 4:
        rows, columns = np.indices(fitted.shape[:2]) // 10
        ground = np.where((rows + columns) % 2, 205, 245)[:, :, None]
        alpha = fitted[:, :, 3:] / 255
        fitted = np.rint(fitted[:, :, :3] * alpha + ground * (1 - alpha)).astype(np.uint8)
    square = np.full((CELL + CAPTION, CELL, 3), 255, np.uint8)
    square[CAPTION : CAPTION + size[1], : size[0]] = fitted
    for line, y, colour in zip(lines, (14, 30), ((0, 0, 0), (110, 110, 110)), strict=True):
        if line.startswith("GENERATED"):
            colour = (190, 60, 0)
        cv2.putText(square, line, (3, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
    return square


def page(cells: list[Picture]) -> Picture:
    blank = np.full((CELL + CAPTION, CELL, 3), 255, np.uint8)
    cells = cells + [blank] * (-len(cells) % COLUMNS)
    rows = [np.hstack(cells[at : at + COLUMNS]) for at in range(0, len(cells), COLUMNS)]
    return np.vstack(rows).astype(np.uint8)


if __name__ == "__main__":
    main()
