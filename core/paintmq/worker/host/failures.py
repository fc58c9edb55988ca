"""What an exception in a model means: its code, its text for the client, whether to try again."""

import gc
import re
import sys
import traceback
from typing import Any

from paintmq.errors import InvalidTaskError, ModelError, printable, said_by, shown
from paintmq.plugin.answers import AnswerError
from paintmq.process import allocator
from paintmq.task import TaskError

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MAX_TRACEBACK = 8_000
MAX_MESSAGE = 2_000


def task_error(error: BaseException) -> TaskError:
    """Return how the failure is reported, fit to travel whatever the exception is like."""
    code, message, retryable = _meaning(error)
    return TaskError(
        code=code,
        message=printable(message, MAX_MESSAGE),
        retryable=retryable,
        traceback=_traceback(error),
    )


def _meaning(error: BaseException) -> tuple[str, str, bool]:
    if is_out_of_memory(error):
        return "oom", f"not enough memory: {_first_line(error)}", True
    if is_device_broken(error):
        return "device_error", f"the device failed: {_first_line(error)}", True
    match error:
        case InvalidTaskError():
            return _code(error), said_by(error), False
        case ModelError():
            return _code(error), said_by(error), getattr(error, "retryable", False) is True
        case AnswerError():
            return "model_error", said_by(error), False
        case SystemExit():
            return "model_error", f"the model called sys.exit({shown(error.code)})", False
        case _:
            return "model_error", f"{type(error).__name__}: {_first_line(error)}", False


def _code(error: InvalidTaskError | ModelError) -> str:
    """Return the error's code; a plugin may have put anything there."""
    try:
        code: Any = error.code
        if isinstance(code, str) and _CODE.fullmatch(code):
            return str.__str__(code)
    except BaseException:  # noqa: BLE001 -- see above
        pass
    return "model_error" if isinstance(error, ModelError) else InvalidTaskError.code


def _first_line(error: BaseException) -> str:
    return next(iter(said_by(error).splitlines()), "") or type(error).__name__


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 -- the text of some cause could not be had
        text = "".join(traceback.format_tb(error.__traceback__))
    return printable(text[-MAX_TRACEBACK:], MAX_TRACEBACK)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; told by name, so that no library is imported for it."""
    kind = type(error)
    if isinstance(error, MemoryError) or kind.__name__ == "OutOfMemoryError":
        return True
    text = said_by(error)
    if kind.__module__.startswith("cv2") or kind.__qualname__ == "cv2.error":
        return "Insufficient memory" in text
    return kind.__module__.startswith("onnxruntime") and "Failed to allocate memory" in text


def is_device_broken(error: BaseException) -> bool:
    """Return whether the process can no longer use its GPU, as after an illegal access.

    Such an error is sticky: every later call fails too, until the process is replaced.
    """
    if is_out_of_memory(error):
        return False
    named = type(error).__name__ == "AcceleratorError"
    return named or (isinstance(error, RuntimeError) and "CUDA error" in said_by(error))


def free_memory() -> None:
    """Release memory that is no longer referenced, on the GPU too."""
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    allocator.give_back()
