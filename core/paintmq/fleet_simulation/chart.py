"""Draws how long tasks waited under each router: one curve per router, as a PNG."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import hypot, log10
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

WIDTH, HEIGHT = 960, 560
LEFT, TOP, RIGHT, BOTTOM = 80, 60, 700, 490
COLOURS = (
    "#1b6ca8",
    "#d1495b",
    "#66a182",
    "#edae49",
    "#6a4c93",
    "#000000",
    "#8d5a2b",
    "#2ec4d6",
    "#e377c2",
    "#7f7f7f",
    "#a4d037",
    "#8c1c13",
)
DASH = 6
"""Pixels of a dash and of a gap: once the colours are used up, lines are dashed."""


def draw_waits(path: Path, title: str, waits: Mapping[str, Sequence[float]]) -> None:
    """Draw, for each name, the share of tasks that waited at most a given time.

    The axis of seconds is logarithmic, from 10 ms on.
    """
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    longest = max((max(values, default=0.0) for values in waits.values()), default=0.0)
    decades = max(1, -int(-(log10(max(longest, 0.1)) + 2) // 1))
    _draw_axes(draw, title, decades)
    for place, (name, values) in enumerate(waits.items()):
        colour, dashed = COLOURS[place % len(COLOURS)], place >= len(COLOURS)
        points = [
            (_x(value, decades), _y((number + 1) / len(values)))
            for number, value in enumerate(sorted(values))
        ]
        if points:
            _draw_curve(draw, [(LEFT, points[0][1]), *points], colour, dashed=dashed)
        row = TOP + 30 * place
        _draw_curve(draw, [(RIGHT + 20, row + 8), (RIGHT + 50, row + 8)], colour, dashed=dashed)
        draw.text((RIGHT + 60, row), name, fill="black", font_size=15)
    image.save(path, format="PNG")


def _draw_curve(
    draw: "ImageDraw", points: Sequence[tuple[float, float]], colour: str, *, dashed: bool
) -> None:
    if not dashed:
        draw.line(points, fill=colour, width=3)
        return
    gone = 0.0
    for start, end in pairwise(points):
        length = hypot(end[0] - start[0], end[1] - start[1])
        steps = max(1, round(length))
        for step in range(steps):
            if (gone + length * step / steps) // DASH % 2 == 0:
                here, there = (_between(start, end, at / steps) for at in (step, step + 1))
                draw.line([here, there], fill=colour, width=3)
        gone += length


def _between(
    start: tuple[float, float], end: tuple[float, float], share: float
) -> tuple[float, float]:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _draw_axes(draw: "ImageDraw", title: str, decades: int) -> None:
    draw.text((LEFT, 8), title, fill="black", font_size=20)
    for decade in range(decades + 1):
        x = LEFT + (RIGHT - LEFT) * decade / decades
        draw.line([(x, TOP), (x, BOTTOM)], fill="#dddddd")
        draw.text((x - 14, BOTTOM + 8), f"{10 ** (decade - 2):g}", fill="black", font_size=14)
    for share in (0, 0.25, 0.5, 0.75, 0.95, 1):
        draw.line([(LEFT, _y(share)), (RIGHT, _y(share))], fill="#dddddd")
        draw.text((LEFT - 50, _y(share) - 9), f"{100 * share:.0f} %", fill="black", font_size=14)
    draw.rectangle([LEFT, TOP, RIGHT, BOTTOM], outline="black")
    text = "seconds until a task began to run, its model's load included (logarithmic)"
    draw.text((LEFT + 40, BOTTOM + 36), text, fill="black", font_size=15)
    draw.text((LEFT - 60, TOP - 24), "tasks that began", fill="black", font_size=13)


def _x(seconds: float, decades: int) -> float:
    return LEFT + (RIGHT - LEFT) * max(0.0, min(1.0, (log10(max(seconds, 0.01)) + 2) / decades))


def _y(share: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * share
