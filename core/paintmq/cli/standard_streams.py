"""Standard input, output and error, whatever they are: closed, full, a pipe without a reader."""

import errno
import os
import signal
import sys

from paintmq.cli.failures import FAILED, SIGNALLED, report

READER_GONE = SIGNALLED + signal.SIGPIPE
"""What shells say of a program whose reader has left: ``paintmq status | head -1``."""


_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE, errno.EBADF)


def made_usable() -> None:
    """Let nothing that is opened later take the place of a stream that was closed, and let every
    file name be printed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def flushed(status: int) -> int:
    """Write what is still to be written to standard output; return the exit status."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        return output_failed(error)
    return READER_GONE if _was_pacified() else status


def output_failed(error: OSError) -> int:
    """Say why standard output could not be written, and return the exit status."""
    discard_output()
    if error.errno == errno.EPIPE:
        return READER_GONE
    report(f"cannot write to standard output: {error.strerror}")
    return FAILED


def is_of_output(error: OSError) -> bool:
    """Return whether an error was one of printing: those of files name their file."""
    return error.filename is None and error.errno in _OF_OUTPUT


def _was_pacified() -> bool:
    """Return whether the parser of commands met a broken pipe, and replaced the stream."""
    return type(sys.stdout).__name__ == "PacifyFlushWrapper"


def discard_output() -> None:
    """Have what is left in the buffer go nowhere, rather than be tried again at exit."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.close(sink)
