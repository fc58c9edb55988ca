"""What ``paintmq doctor`` says of the user, the folders and the system a command runs in."""

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from paintmq.cli.examination import Finding
from paintmq.cli.shown_names import shown
from paintmq.errors import ConfigError

if TYPE_CHECKING:
    from paintmq.config import WeightsConfig
    from paintmq.settings.file import Settings

_OPENCV = (
    *("opencv-python", "opencv-python-headless"),
    *("opencv-contrib-python", "opencv-contrib-python-headless"),
)
"""Distributions that install the same files: the one that was installed last is in effect, and
removing either leaves neither."""


def surroundings(settings: "Settings") -> Iterator[Finding]:
    """Check everything around a command that can be seen before it is needed."""
    yield system()
    yield from settings_file(settings)
    yield from interpreter()
    yield temporary_folder()
    yield from opencv()
    yield from weight_paths(settings.config.weights)


def system(name: str = sys.platform) -> Finding:
    """Check that the system is one that PaintMQ is tried on."""
    if name == "linux":
        first = ", as process 1: start it with an init (docker run --init)" * (os.getpid() == 1)
        return Finding("system", "note" if first else "ok", f"{platform.system()}{first}")
    return Finding("system", "note", f"{name}: tried on Linux alone")


def settings_file(settings: "Settings") -> Iterator[Finding]:
    """Tell which file was read, and what of it does not count."""
    from paintmq.cli.common_options import ignored_keys

    if settings.ignored:
        yield Finding("settings", "problem", f"{ignored_keys(settings)}: -c {settings.file}")
    elif settings.file is not None:
        yield Finding("settings", "ok", shown(settings.file))


def interpreter() -> Iterator[Finding]:
    """Check that model hosts have an interpreter."""
    from paintmq import interpreter as own

    try:
        own.interpreter()
    except ConfigError as error:
        yield Finding("python", "problem", str(error))


def temporary_folder() -> Finding:
    """Check that model hosts have a place for scratch files."""
    try:
        folder = Path(tempfile.gettempdir())
    except OSError:
        return Finding("scratch", "problem", "no temporary folder can be written: set TMPDIR")
    return Finding("scratch", "ok", f"temporary files go to {shown(folder)}")


def opencv() -> Iterator[Finding]:
    """Check that one OpenCV is installed, and not several over one another."""
    found = [name for name in _OPENCV if _is_installed(name)]
    if len(found) > 1:
        text = (
            f"{' and '.join(found)} overwrite one another: pip uninstall -y {' '.join(found)}, then"
            " pip install opencv-python-headless"
        )
        yield Finding("opencv", "problem", text)


def weight_paths(config: "WeightsConfig") -> Iterator[Finding]:
    """Check that the files and folders of [weights.paths] are there."""
    for name, place in config.paths.items():
        path = Path(place).expanduser()
        if not path.exists():
            text = f"weights.paths names {shown(path)} for {name}, and nothing is there"
            yield Finding("weights", "problem", text)


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
