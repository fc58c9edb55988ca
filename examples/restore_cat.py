"""Restore a scratched photograph with PaintMQ embedded, and leave a picture of before and after.

Run it from anywhere: python examples/restore_cat.py [PICTURE]
"""

import sys
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from paintmq import Config, QueueConfig, QueueManager, Task, TaskType
from paintmq.config import BrokerConfig

Pixels: TypeAlias = NDArray[np.uint8]

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
OUTPUT = ROOT / "out" / "cat-before-after.png"

# Any free ports: the example may run beside a broker that uses the usual ones.
CONFIG = Config(broker=BrokerConfig(port=0), queues={"cpu-light": QueueConfig(effort="light")})


def main() -> None:
    scratched, original = load("chelsea-scratched.png"), load("chelsea.png")
    mask = np.asarray(Image.open(DATA / "chelsea-scratch-mask.png").convert("L"))
    task = Task(
        task_type=TaskType.INPAINT,
        config={"model": "opencv"},
        inputs={"image": scratched, "mask": mask},
    )

    with QueueManager(CONFIG) as queue_manager:
        queue = queue_manager.route_task(task)
        result = queue_manager.send_task(queue, task).result(timeout=60)

    restored, hole = result.image, mask > 127
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    picture.parent.mkdir(exist_ok=True)
    before_and_after({"scratched": scratched, "restored": restored}, hole).save(picture)
    print(f"queue {result.queue}, worker {result.worker}, ran {result.ran:.3f} s")
    print(f"inside the mask: {psnr(scratched[hole], original[hole]):.1f} dB before,", end=" ")
    print(f"{psnr(restored[hole], original[hole]):.1f} dB after")
    print(
        f"outside the mask: {np.count_nonzero(restored[~hole] != scratched[~hole])} values changed"
    )
    print(f"look at {picture}")


def load(name: str) -> Pixels:
    """Return a photograph, uint8, shape (height, width, 3), RGB."""
    return np.asarray(Image.open(DATA / name).convert("RGB"))


def psnr(image: Pixels, reference: Pixels) -> float:
    """Return the peak signal-to-noise ratio in decibels; more is closer."""
    error = np.mean((image.astype(float) - reference.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / error))


def before_and_after(pictures: dict[str, Pixels], hole: NDArray[np.bool_]) -> Image.Image:
    """Return the pictures side by side, and below each the middle of the scratch enlarged."""
    rows, columns = np.nonzero(hole)
    middle = len(rows) // 2
    height, width = hole.shape
    side = min(width, height) // 3
    top = int(np.clip(rows[middle] - side // 2, 0, height - side))
    left = int(np.clip(columns[middle] - side, 0, width - 2 * side))
    gap, caption = 12, 24
    closer = (width, width // 2)  # two squares side by side, as wide as the picture
    sheet = Image.new(
        "RGB", (2 * width + 3 * gap, caption + height + closer[1] + 3 * gap), (24, 24, 28)
    )
    draw = ImageDraw.Draw(sheet)
    for position, (name, pixels) in enumerate(pictures.items()):
        x = gap + position * (width + gap)
        picture = Image.fromarray(pixels)
        detail = picture.crop((left, top, left + 2 * side, top + side))
        draw.text((x, gap), name, fill="white")
        sheet.paste(picture, (x, caption + gap))
        sheet.paste(
            detail.resize(closer, Image.Resampling.LANCZOS), (x, caption + height + 2 * gap)
        )
    return sheet


if __name__ == "__main__":
    main()
