"""What a program does with a result: save it, look at it in a notebook."""

from pathlib import Path

import numpy as np
import pytest

from paintmq import Result
from paintmq.config import Limits
from paintmq.errors import InvalidInputError
from paintmq.image import decode_image
from paintmq.task import TaskId

PIXELS = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


def make_result(**outputs: object) -> Result:
    return Result(outputs=outputs, task_id=TaskId("1" * 32))  # type: ignore[arg-type]  # arrays and bytes


@pytest.mark.parametrize("name", ["out.png", "out.tif", "out"])
def test_a_picture_is_saved_in_the_format_its_name_says(tmp_path: Path, name: str) -> None:
    path = make_result(image=PIXELS).save(tmp_path / name)

    assert path == tmp_path / name
    np.testing.assert_array_equal(decode_image(path.read_bytes(), Limits()).pixels, PIXELS)


def test_other_outputs_are_saved_by_name_and_bytes_as_they_are(tmp_path: Path) -> None:
    result = make_result(palette=b'{"a": 1}', map=PIXELS[..., 0])

    assert result.save(str(tmp_path / "p.json"), output="palette").read_bytes() == b'{"a": 1}'
    assert result.save(tmp_path / "m.png", output="map").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(KeyError):
        result.save(tmp_path / "x.png")
    with pytest.raises(InvalidInputError):
        result.save(tmp_path / "m.docx", output="map")


def test_a_notebook_shows_the_picture_where_there_is_one() -> None:
    shown = make_result(image=PIXELS)._repr_png_()

    assert shown is not None
    np.testing.assert_array_equal(decode_image(shown, Limits()).pixels, PIXELS)
    assert make_result(note=b"none")._repr_png_() is None
    assert make_result(image=b"no picture")._repr_png_() is None
