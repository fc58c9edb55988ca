"""Errors carry words and data, wherever they go."""

from concurrent.futures import ProcessPoolExecutor
from copy import copy
from multiprocessing import get_context

import pytest

from paintmq.errors import (
    ConfigError,
    ModelError,
    PaintMQError,
    RejectedError,
    TaskDeadError,
    TaskRejectedError,
    UnknownModelError,
    VersionMismatchError,
    WeightsMissingError,
)
from paintmq.task import TaskId, TaskState

ERRORS = [
    ConfigError("paintmq.toml: broker.prot: unknown key"),
    UnknownModelError("no model 'lama'"),
    RejectedError("queue_full", "the queue is full", 2.5),
    VersionMismatchError(1, 3, 4),
    ModelError("no room", code="out_of_memory", retryable=True),
    WeightsMissingError("weights of lama are missing"),
    TaskDeadError(TaskId("1" * 32), TaskState.DEAD, "worker_crashed", "it crashed"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_copy_has_the_words_and_the_data(error: PaintMQError) -> None:
    again = copy(error)

    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


FAIL = """
from paintmq.errors import TaskRejectedError

error = TaskRejectedError("1" * 32, None, "queue_full", "the queue is full")
error.retry_after = 2.5
raise error
"""


@pytest.mark.slow
def test_an_error_comes_whole_out_of_a_programs_own_process() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(TaskRejectedError, match="the queue is full") as caught,
    ):
        pool.submit(exec, FAIL).result()

    assert (caught.value.code, caught.value.retry_after) == ("queue_full", 2.5)
