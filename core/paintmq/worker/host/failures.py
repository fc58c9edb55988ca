"""What an exception in a model means: its code, its text for the client, whether to try again."""

import gc
import sys
import traceback
from typing import Any

from paintmq.errors import InvalidTaskError, ModelError
from paintmq.process import allocator
from paintmq.task import TaskError

MAX_TRACEBACK = 8_000
MAX_MESSAGE = 2_000


def task_error(error: BaseException) -> TaskError:
    """Return how the failure is reported."""
    text = "".join(traceback.format_exception(error))[-MAX_TRACEBACK:]
    code, message, retryable = _meaning(error)
    return TaskError(code=code, message=message[:MAX_MESSAGE], retryable=retryable, traceback=text)


def _meaning(error: BaseException) -> tuple[str, str, bool]:
    if is_out_of_memory(error):
        return "oom", f"not enough memory: {_first_line(error)}", True
    if is_device_broken(error):
        return "device_error", f"the device failed: {_first_line(error)}", True
    match error:
        case InvalidTaskError():
            return error.code, str(error), False
        case ModelError():
            return error.code, str(error), error.retryable
        case SystemExit():
            return "model_error", f"the model called sys.exit({error.code!r})", False
        case _:
            return "model_error", f"{type(error).__name__}: {_first_line(error)}", False


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; told by name, so that no library is imported for it."""
    kind = type(error)
    if isinstance(error, MemoryError) or kind.__name__ == "OutOfMemoryError":
        return True
    text = str(error)
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
    return named or (isinstance(error, RuntimeError) and "CUDA error" in str(error))


def free_memory() -> None:
    """Release memory that is no longer referenced, on the GPU too."""
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    allocator.give_back()
