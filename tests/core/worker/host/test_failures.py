from typing import Any

import pytest

from paintmq.errors import InvalidInputError, ModelError, WeightsMissingError
from paintmq.worker.host.failures import free_memory, is_device_broken, task_error


def library_error(module: str, name: str, text: str) -> Exception:
    """Return an error as a library that is not installed here would raise it."""
    kind: Any = type(name, (RuntimeError,), {"__module__": module})
    error: Exception = kind(text)
    return error


@pytest.mark.parametrize(
    ("error", "code", "message", "retryable"),
    [
        (InvalidInputError("mask: too small"), "invalid_input", "mask: too small", False),
        (ModelError("no", code="odd", retryable=True), "odd", "no", True),
        (WeightsMissingError("get them"), "weights_missing", "get them", False),
        (ValueError("bad\nworse"), "model_error", "ValueError: bad", False),
        (ValueError(), "model_error", "ValueError: ValueError", False),
        (SystemExit(3), "model_error", "the model called sys.exit(3)", False),
        (MemoryError("4 GB"), "oom", "not enough memory: 4 GB", True),
        (
            library_error("torch", "OutOfMemoryError", "CUDA out of memory. Tried 2 GiB"),
            "oom",
            "not enough memory: CUDA out of memory. Tried 2 GiB",
            True,
        ),
        (
            library_error("cv2", "error", "(-4:Insufficient memory) Failed to allocate"),
            "oom",
            "not enough memory: (-4:Insufficient memory) Failed to allocate",
            True,
        ),
        (
            library_error("onnxruntime.capi", "RuntimeException", "Failed to allocate memory"),
            "oom",
            "not enough memory: Failed to allocate memory",
            True,
        ),
        (
            RuntimeError("CUDA error: an illegal memory access"),
            "device_error",
            "the device failed: CUDA error: an illegal memory access",
            True,
        ),
    ],
)
def test_every_failure_has_a_code_and_words(
    error: BaseException, code: str, message: str, retryable: bool
) -> None:
    reported = task_error(error)

    assert (reported.code, reported.message, reported.retryable) == (code, message, retryable)
    assert type(error).__name__ in reported.traceback


def test_long_texts_are_cut() -> None:
    reported = task_error(ValueError("x" * 100_000))

    assert len(reported.message) == 2_000
    assert len(reported.traceback) == 8_000


def test_running_out_of_memory_does_not_break_the_device() -> None:
    oom = library_error("torch", "OutOfMemoryError", "CUDA error: out of memory")

    assert not is_device_broken(oom)
    assert is_device_broken(library_error("torch", "AcceleratorError", "device-side assert"))
    assert not is_device_broken(ValueError("CUDA error"))


def test_freeing_memory_needs_no_library() -> None:
    free_memory()
