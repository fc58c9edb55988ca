"""Errors carry words and data, wherever they go."""

import re
from copy import copy
from multiprocessing.reduction import ForkingPickler

import pytest

from paintmq import errors
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


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_whole_out_of_a_programs_own_process(error: PaintMQError) -> None:
    """As a process pool brings it."""
    again = ForkingPickler.loads(ForkingPickler.dumps(error))

    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_what_a_refusal_was_told_to_wait_is_kept_too() -> None:
    error = TaskRejectedError(TaskId("1" * 32), None, "queue_full", "the queue is full")
    error.retry_after = 2.5

    assert copy(error).retry_after == 2.5


def test_the_tree_that_is_drawn_is_the_tree_there_is() -> None:
    drawn = re.findall(r"^ {4}([│ ]*)[├└]── (\w+)", errors.__doc__ or "", re.MULTILINE)
    branch = [PaintMQError.__name__]
    parents = {}
    for indent, name in drawn:
        depth = len(indent) // 4 + 1
        branch[depth:] = [name]
        parents[name] = branch[depth - 1]

    assert parents == {
        name: each.__bases__[0].__name__
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, PaintMQError) and each is not PaintMQError
    }
