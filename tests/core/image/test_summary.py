"""Pictures in the words of a repr."""

from pathlib import Path

import numpy as np

from paintmq import Task, TaskType
from paintmq.client import Result
from paintmq.image.summary import summary_of
from paintmq.task import TaskId


def test_a_picture_is_told_by_what_it_is_and_not_by_its_pixels() -> None:
    pictures = {
        "array": np.zeros((64, 48, 3), np.uint8),
        "number": np.float32(1),
        "file": bytes(2048),
        "view": memoryview(bytes(10)),
        "path": Path("photo.png"),
    }

    assert summary_of(pictures) == (
        "{'array': uint8 (64, 48, 3), 'number': float32 (), 'file': 2,048 bytes,"
        " 'view': 10 bytes, 'path': PosixPath('photo.png')}"
    )
    assert summary_of({}) == "{}"


def test_a_task_and_its_result_fit_on_a_line_of_a_log() -> None:
    image = np.zeros((1000, 1000, 3), np.uint8)
    task = Task(TaskType.INPAINT, {"model": "opencv"}, {"image": image})
    result = Result(outputs={"image": image}, task_id=TaskId("1"))

    assert "inputs={'image': uint8 (1000, 1000, 3)}" in repr(task)
    assert repr(result).startswith("Result(outputs={'image': uint8 (1000, 1000, 3)}, task_id='1'")
