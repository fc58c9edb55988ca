"""Live state and events of a broker in Redis or Valkey, for programs in any language.

Off until it is told where to::

    [plugins.settings.redis]
    url = "redis://127.0.0.1:6379/0"

in the settings of the broker. It needs the extra ``redis``. What is there, and how to read it:
README.md of this folder. It is a copy for readers: the broker never reads it.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import field, frozen

from paintmq_plugins.settings_table import at_least, check_table

if TYPE_CHECKING:
    from paintmq.statistics import BrokerStatistics
    from paintmq_plugins.redis.feeder import Feeder

MISSING = "it needs the package redis: install it with pip install 'paintmq[redis]'"
SCHEMES = ("redis", "rediss", "unix")


@frozen(kw_only=True)
class RedisSettings:
    """``[plugins.settings.redis]``."""

    url: str = ""
    """``redis://[USER@]HOST:PORT/DB``, ``rediss://`` for TLS, or ``unix:///PATH?db=DB``; empty:
    off. Without a password: that belongs in ``password_file``."""
    password_file: str = ""
    """A file with the password, read at each connection; blank space around it is ignored."""
    ca_file: str = ""
    """Certificates that ``rediss://`` trusts instead of the system's."""
    prefix: str = "paintmq:"
    """What all keys and channels begin with. One for each broker or group of standbys."""
    ttl: int = field(default=3600, validator=at_least(60))
    """Seconds for which a task is kept after it has ended, and all else after the broker has."""
    stream_length: int = field(default=10_000, validator=at_least(100))
    """Events that the stream keeps, and about a hundred more."""

    def password(self) -> str | None:
        """Read the password; None where no file is named.

        Raises:
            OSError: it cannot be read.
        """
        if not self.password_file:
            return None
        return Path(self.password_file).expanduser().read_text("utf-8").strip()


def read_settings(table: Mapping[str, Any]) -> RedisSettings:
    """Return the settings.

    Raises:
        ValueError: something is wrong with them; no password is in the message.
    """
    check_table(RedisSettings, table, plugin="redis", shows_values=False)
    settings = RedisSettings(**table)
    if not settings.url:
        if table:
            raise ValueError('url is missing: write url = "redis://HOST:6379/0"')
        return settings
    parts = urlsplit(settings.url)
    if parts.password is not None:
        raise ValueError("url holds a password: put it in a file, and name that in password_file")
    if parts.scheme not in SCHEMES:
        raise ValueError(f"url must begin with {', '.join(f'{each}://' for each in SCHEMES)}")
    if not settings.prefix or any(each.isspace() for each in settings.prefix):
        raise ValueError(f"prefix = {settings.prefix!r} must be text without blank space")
    if find_spec("redis") is None:
        raise ValueError(MISSING)
    return settings


_settings = RedisSettings()
_feeder: "Feeder | None" = None


def _started() -> "Feeder":
    """Return what writes, started when the first thing is to be written: in brokers alone."""
    global _feeder
    if _feeder is None:
        from paintmq_plugins.redis.feeder import Feeder

        _feeder = Feeder(_settings)
        _feeder.start()
    return _feeder


def paintmq_configure(settings: Mapping[str, Any]) -> None:
    global _settings, _feeder
    _settings = read_settings(settings)
    if _feeder is not None and _feeder.settings != _settings:
        _feeder.close()
        _feeder = None


def paintmq_events(batch: Sequence[Mapping[str, Any]]) -> None:
    if _is_on():
        _started().events(batch)


def paintmq_progress(batch: Sequence[Mapping[str, Any]]) -> None:
    if _is_on():
        _started().progress(batch)


def paintmq_statistics(sample: "BrokerStatistics") -> None:
    if _is_on():
        _started().sample(sample)


def _is_on() -> bool:
    return bool(_settings.url)


# Read by the plugin manager: where nothing wants them, no events are made.
paintmq_events.is_wanted = _is_on  # type: ignore[attr-defined]
paintmq_progress.is_wanted = _is_on  # type: ignore[attr-defined]
paintmq_statistics.is_wanted = _is_on  # type: ignore[attr-defined]
