"""What ``import paintmq`` gives, and what it says of itself."""

import inspect
import subprocess
import sys
from importlib.metadata import version

import attrs
import pytest

import paintmq


def test_the_version_is_the_distributions() -> None:
    assert paintmq.__version__ == version("paintmq")


def test_errors_need_no_import_of_their_own() -> None:
    code = "import paintmq; paintmq.errors.PaintMQError; paintmq.__version__"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sorted(paintmq.__all__))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(paintmq, name) is not None
    assert name in dir(paintmq)


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="'Clint'"):
        _ = paintmq.Clint


def test_help_explains_each_field_of_a_task() -> None:
    text = inspect.getdoc(paintmq.Task) or ""

    for field in attrs.fields(paintmq.Task):
        assert f"{field.name}: " in text
