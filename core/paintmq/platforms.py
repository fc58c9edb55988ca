"""Which operating systems PaintMQ runs on."""

import os
import sys


def system_objection(name: str = os.name, system: str = sys.platform) -> str:
    """Return why PaintMQ does not run on this system; empty when it does."""
    if name == "posix":
        return ""
    return (
        f"PaintMQ runs on Linux and macOS, and this is {system}: use Linux in WSL 2 or a container"
    )
