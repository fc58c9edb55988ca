"""Draws how long tasks waited under each router: one curve a router, as a PNG."""

from collections.abc import Mapping, Sequence
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

WIDTH, HEIGHT = 960, 560
LEFT, TOP, RIGHT, BOTTOM = 80, 60, 700, 490
COLOURS = ("#1b6ca8", "#d1495b", "#66a182", "#edae49", "#6a4c93", "#2e4057", "#8d5a2b", "#000000")


def draw_waits(path: Path, title: str, waits: Mapping[str, Sequence[float]]) -> None:
    """Draw, for each name, the share of tasks that waited at most so many seconds.

    The axis of seconds is logarithmic, from 10 ms on.
    """
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    longest = max((max(values, default=0.0) for values in waits.values()), default=0.0)
    decades = max(1, -int(-(log10(max(longest, 0.1)) + 2) // 1))
    _draw_axes(draw, title, decades)
    for place, (name, values) in enumerate(waits.items()):
        colour = COLOURS[place % len(COLOURS)]
        points = [
            (_x(value, decades), _y((number + 1) / len(values)))
            for number, value in enumerate(sorted(values))
        ]
        if points:
            draw.line([(LEFT, points[0][1]), *points], fill=colour, width=3)
        row = TOP + 30 * place
        draw.line([(RIGHT + 20, row + 8), (RIGHT + 50, row + 8)], fill=colour, width=4)
        draw.text((RIGHT + 60, row), name, fill="black", font_size=15)
    image.save(path, format="PNG")


def _draw_axes(draw: "ImageDraw", title: str, decades: int) -> None:
    draw.text((LEFT, 20), title, fill="black", font_size=20)
    for decade in range(decades + 1):
        x = LEFT + (RIGHT - LEFT) * decade / decades
        draw.line([(x, TOP), (x, BOTTOM)], fill="#dddddd")
        draw.text((x - 14, BOTTOM + 8), f"{10 ** (decade - 2):g}", fill="black", font_size=14)
    for share in (0, 0.25, 0.5, 0.75, 0.95, 1):
        draw.line([(LEFT, _y(share)), (RIGHT, _y(share))], fill="#dddddd")
        draw.text((LEFT - 50, _y(share) - 9), f"{100 * share:.0f} %", fill="black", font_size=14)
    draw.rectangle([LEFT, TOP, RIGHT, BOTTOM], outline="black")
    draw.text((LEFT + 180, BOTTOM + 36), "seconds a task waited", fill="black", font_size=15)


def _x(seconds: float, decades: int) -> float:
    return LEFT + (RIGHT - LEFT) * max(0.0, min(1.0, (log10(max(seconds, 0.01)) + 2) / decades))


def _y(share: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * share
