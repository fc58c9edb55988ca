"""Whose process listens at a port of this machine, as far as the system tells."""

import os
from pathlib import Path

_LISTENS = "0A"
"""State of a listening socket in /proc/net/tcp."""

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def listener_uid(port: int, tables: tuple[Path, ...] = _TABLES) -> int | None:
    """Return the user whose process listens at the port; None where it cannot be told."""
    for table in tables:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except (OSError, ValueError):
            continue
        for line in lines:
            local, state, uid = (line.split()[place] for place in (1, 3, 7))
            if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
                return int(uid)
    return None


def is_trusted(uid: int) -> bool:
    """Return whether what this user runs may have our pictures: root could take them anyway."""
    return uid in (0, os.getuid())


def user_name(uid: int) -> str:
    """Return the user for a message: by name, where there is one."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
