"""Where this user's files lie, by the conventions of the platform."""

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
