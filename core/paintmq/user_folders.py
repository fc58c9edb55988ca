"""Where this user's files lie, by the conventions of the platform."""

import errno
import os
from pathlib import Path

from paintmq.errors import ConfigError


def data_folder(name: str, *, instead: str) -> Path:
    """Return the place of some data in the user's data folder; nothing is made.

    Raises:
        ConfigError: the user has no home folder, as in a container that runs under any user id; the
            text names what names a place ``instead``.
    """
    import platformdirs

    try:
        return Path(platformdirs.user_data_dir("paintmq")) / name
    except RuntimeError as error:
        raise ConfigError(
            f"this user has no home folder to keep the {name} in: set HOME, or name a place with"
            f" {instead}"
        ) from error


def refused(error: OSError, setting: str) -> str:
    """Return why the system refuses a file or folder, and what would do: for the end of a message.

    ``setting`` names what names another place.
    """
    reason = error.strerror or str(error)
    match error.errno:
        case errno.EACCES | errno.EPERM:
            who = f"user {os.geteuid()}" if hasattr(os, "geteuid") else "this user"
            remedy = f"{who} may not use it: give it to that user (chown, chmod)"
        case errno.EROFS:
            remedy = "that file system is read-only"
        case errno.ENOSPC | errno.EDQUOT:
            remedy = "make room there (df -h, df -i, quota)"
        case errno.ENOTDIR | errno.EEXIST:
            remedy = "a file of that name is in the way"
        case errno.EMFILE | errno.ENFILE:
            return f"{reason}; raise the limit of open files (ulimit -n, LimitNOFILE=)"
        case _:
            return f"{reason}; name another place with {setting}"
    return f"{reason}; {remedy}, or name another place with {setting}"
