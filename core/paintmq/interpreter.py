"""The Python interpreter that further processes of this installation are started with."""

import os
import re
import sys
from pathlib import Path

from paintmq.errors import ConfigError

HOST_VARIABLE = "PAINTMQ_HOST_OF"
"""Set in the environment of a model host, and so of all that it starts: the process id of its node,
a colon, and what tells this host from every other (``worker/agent/strays.py``)."""


def module_path() -> tuple[str, ...]:
    """Return where this program finds modules, for a process it starts. An empty entry stands for
    the current folder, which an interactive Python and a notebook have on their path.
    """
    return tuple(entry or _current_folder() for entry in sys.path)


def _current_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:  # it was removed, or may not be entered
        return os.devnull


def interpreter() -> tuple[str, ...]:
    """Return the start of a command line. ``-P`` keeps the current folder off the path of modules:
    a ``queue.py`` in a folder of pictures must not be run.

    Raises:
        ConfigError: ``sys.executable`` is no interpreter, as in a frozen program (PyInstaller) or
            under uWSGI. Starting it would start the whole program again, and again.
    """
    program = sys.executable or ""
    if parent := os.environ.get(HOST_VARIABLE):
        raise ConfigError(
            f"this program was started as the model host of process {parent.partition(':')[0]}: its"
            " sys.executable starts the program itself, not a Python interpreter; set it to the"
            " path of one"
        )
    named_so = re.match("python|pypy", Path(program).name, re.IGNORECASE)
    if not named_so or _is_this_frozen_program(program):
        raise ConfigError(
            f"sys.executable is {program!r}, not a Python interpreter, so no model host can be"
            " started: set sys.executable to the path of one first, or let `paintmq up` run the"
            " service and use Client here"
        )
    return program, "-P"


def _is_this_frozen_program(program: str) -> bool:
    """Return whether this is a frozen program and ``program`` is it, whatever its name."""
    if not getattr(sys, "frozen", False):
        return False
    own = [each for each in ("/proc/self/exe", *sys.argv[:1]) if each]
    return os.path.realpath(program) in [os.path.realpath(each) for each in own]
