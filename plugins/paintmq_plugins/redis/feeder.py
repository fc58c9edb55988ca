"""The thread that writes to Redis. Whatever Redis does, nobody waits for it but this thread."""

import atexit
import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from paintmq.statistics import is_worth_a_line
from paintmq_plugins.redis import RedisSettings
from paintmq_plugins.redis.mirror import Changes, Mirror

if TYPE_CHECKING:
    from paintmq.statistics import BrokerStatistics

MOST_AT_ONCE = 1000
"""Tasks, events and messages of one exchange with Redis, each."""
LEAST_SECONDS = 0.05
"""Between two exchanges: what changes in between is written once."""
BEAT_SECONDS = 1.0
"""Between two exchanges when nothing changes; by them the loss of everything is seen."""
BEAT_KEPT = 30
"""Seconds for which the broker's own hash outlives its process."""
ANSWER_SECONDS = 2.0
"""That Redis has to answer."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0
"""Seconds before another try, doubled each time."""
FAREWELL = 2.0
"""Seconds for the last changes when the program ends."""

logger = logging.getLogger(__name__)


class Feeder:
    """Takes what plugins are told, and writes it when it can. All methods return at once."""

    def __init__(self, settings: RedisSettings, mirror: Mirror | None = None) -> None:
        self.settings = settings
        self.mirror = Mirror(ttl=float(settings.ttl)) if mirror is None else mirror
        self.failures = 0
        """Exchanges that failed in a row."""
        self._session = os.urandom(8).hex()
        self._lock = threading.Lock()
        self._has_news = threading.Event()
        self._stopping = threading.Event()
        self._random = random.Random()
        self._thread = threading.Thread(target=self._run, name="paintmq-redis", daemon=True)
        self._connection: Any = None
        self._has_written = False
        """Whether an exchange succeeded since it was connected."""
        self._refresh_at = 0.0

    def start(self) -> None:
        self._thread.start()
        atexit.register(self.close)

    def close(self, timeout: float = FAREWELL) -> None:
        """Write what is left, for ``timeout`` seconds at most. Harmless to repeat."""
        atexit.unregister(self.close)
        self._stopping.set()
        self._has_news.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    # ---- for the threads of plugins ------------------------------------------------------------

    def events(self, batch: Sequence[Mapping[str, Any]]) -> None:
        with self._lock:
            self.mirror.events(batch, time.monotonic())
        self._has_news.set()

    def progress(self, batch: Sequence[Mapping[str, Any]]) -> None:
        with self._lock:
            self.mirror.progress(batch)
        self._has_news.set()

    def sample(self, sample: "BrokerStatistics") -> None:
        with self._lock:
            self.mirror.sample(sample)
        self._has_news.set()

    # ---- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._has_news.wait(BEAT_SECONDS)
            self._has_news.clear()
            is_last = self._stopping.is_set()
            works = self._exchange()
            with self._lock:
                more = self.mirror.is_due
            if is_last and not (works and more):
                self._disconnect()
                return
            if works and more:
                self._has_news.set()
            else:
                self._stopping.wait(LEAST_SECONDS if works else self._pause())

    def _pause(self) -> float:
        pause: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self.failures - 1, 10))
        return pause * (0.5 + self._random.random() / 2)

    def _exchange(self) -> bool:
        """Write what is due; return whether Redis took it."""
        now = time.monotonic()
        try:
            connection = self._connected()
        except (redis.RedisError, OSError, ValueError) as error:
            self._failed(error)
            return False
        with self._lock:
            if now >= self._refresh_at:
                self._refresh_at = now + self.settings.ttl / 3
                self.mirror.keep_live()
            changes = self.mirror.take(MOST_AT_ONCE, now)
        places: list[int] = []
        try:
            answers = self._write(connection, changes, places)
        except (redis.RedisError, OSError) as error:
            with self._lock:
                self.mirror.put_back(changes.entries)
            self._failed(error)
            return False
        refused = [each for each in answers if isinstance(each, Exception)]
        if refused:
            lost = [
                entry
                for place, entry in zip(places, changes.entries, strict=True)
                if isinstance(answers[place], Exception)
            ]
            with self._lock:
                self.mirror.put_back(lost)
            self._failed(refused[0])
            return False
        self._succeeded(knows_us=answers[0] is not None)
        return True

    def _connected(self) -> Any:
        if self._connection is None:
            given: dict[str, Any] = {}
            if (password := self.settings.password()) is not None:
                given["password"] = password
            if self.settings.ca_file:
                given["ssl_ca_certs"] = self.settings.ca_file
            self._connection = redis.Redis.from_url(
                self.settings.url,
                decode_responses=True,
                socket_timeout=ANSWER_SECONDS,
                socket_connect_timeout=ANSWER_SECONDS,
                retry=Retry(NoBackoff(), 0),
                client_name="paintmq",
                **given,
            )
            with self._lock:
                self.mirror.write_all_again()
        return self._connection

    def _write(self, connection: Any, changes: Changes, places: list[int]) -> list[Any]:
        """Write all in one exchange; ``places`` gets that of each event among the answers."""
        prefix, ttl = self.settings.prefix, self.settings.ttl
        pipe = connection.pipeline(transaction=False)
        pipe.set(f"{prefix}session:{self._session}", "1", ex=BEAT_KEPT, get=True)
        for task_id, (fields, seconds) in changes.tasks.items():
            pipe.hset(f"{prefix}task:{task_id}", mapping=fields)
            pipe.expire(f"{prefix}task:{task_id}", int(seconds) or 1)
        for name, fields in changes.queues.items():
            pipe.hset(f"{prefix}queue:{name}", mapping=fields)
            pipe.expire(f"{prefix}queue:{name}", ttl)
        for entry in changes.entries:
            places.append(len(pipe))
            most = self.settings.stream_length
            pipe.xadd(f"{prefix}events", entry, maxlen=most, approximate=True)
        if changes.entries:
            pipe.expire(f"{prefix}events", max(ttl, 86_400))
        for task_id, message in changes.news:
            pipe.publish(f"{prefix}task:{task_id}", message)
        pipe.hset(f"{prefix}broker", mapping=self._broker(is_whole=changes.is_all))
        pipe.expire(f"{prefix}broker", BEAT_KEPT)
        answers: list[Any] = pipe.execute(raise_on_error=False)
        return answers

    def _broker(self, *, is_whole: bool) -> dict[str, str]:
        with self._lock:
            mirror = self.mirror
            return {
                "boot": mirror.incarnation,
                "live": str(len(mirror.live)),
                "dropped": str(mirror.dropped),
                "untracked": str(mirror.untracked),
                "whole": "1" if is_whole else "0",
            }

    def _succeeded(self, *, knows_us: bool) -> None:
        if self.failures:
            logger.warning(
                "redis takes what it is told again, after %d tries that failed; the state is "
                "written anew; %d events were dropped so far",
                self.failures,
                self.mirror.dropped,
            )
        self.failures = 0
        if self._has_written and not knows_us:
            logger.warning("redis has lost what it held; the state is written anew")
            with self._lock:
                self.mirror.write_all_again()
        self._has_written = True

    def _failed(self, error: Exception) -> None:
        self._has_written = False
        self._disconnect()
        with self._lock:
            self.mirror.forget_news()
        self.failures += 1
        if is_worth_a_line(self.failures):
            logger.warning(
                "redis does not take the state of tasks (%s: %s): tasks go on, it is tried again; "
                "see url and password_file in [plugins.settings.redis]",
                type(error).__name__,
                str(error)[:300],
            )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(redis.RedisError, OSError):
                connection.close()
