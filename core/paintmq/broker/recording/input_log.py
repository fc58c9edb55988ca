"""Records every input of the machine, so that an incident is a file.

JSON lines. The first says how the machine was made; each other is one input, with a fingerprint of
what the machine answered. Payload bytes are not in it, as the machine never sees them. Options of
tasks are: treat the file as confidential.
"""

import base64
import contextlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from attrs import asdict

from paintmq.broker.machine import NO_KEYS, Credentials, Step
from paintmq.broker.machine.reconfiguration import Reconfiguration
from paintmq.broker.records import Recovered
from paintmq.broker.stores.rows import checksum, encode, encode_record
from paintmq.config import Config, RouterConfig
from paintmq.errors import ConfigError
from paintmq.process import private_files
from paintmq.task import Json, PeerId
from paintmq.wire.codec import encode as encode_message
from paintmq.wire.messages import ToBroker

logger = logging.getLogger(__name__)

FORMAT = 5
"""Of the file. Format 1 lacked the installed models and replacements of the router; format 2 lacked
the queues of a sender's key; format 3 had only those of what a key says, and tasks had no owner;
format 4 knew no changes of settings."""


class InputLog:
    """An input log being written; implements the loop's Recorder."""

    def __init__(
        self, path: Path, config: Config, *, incarnation: int, models: Iterable[str]
    ) -> None:
        """Create or truncate the file; ``models`` are those installed, by name.

        Raises:
            ConfigError: it cannot be written.
        """
        self._path = path
        header: dict[str, Json] = {
            "paintmq_input_log": FORMAT,
            "incarnation": incarnation,
            "models": [*sorted(models)],
            "config": {
                "queues": {name: asdict(queue) for name, queue in config.queues.items()},
                "timers": asdict(config.timers),
                "limits": asdict(config.limits),
                "router": _router(config.router),
                "broker": {"admission": config.broker.admission},
            },
        }
        try:
            # A pipe that is not read is refused, or ends the recording: it would keep the loop.
            new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
            descriptor = private_files.opener(str(path.expanduser()), new)
            self._file: TextIO = os.fdopen(descriptor, "w", encoding="utf-8")
            try:
                self._write_line(header)
            except OSError:
                self.close()
                raise
        except OSError as error:
            raise ConfigError(f"broker.record: {path} cannot be written: {error}") from error
        self._pending: dict[str, Json] = {}
        self._has_failed = False

    def restored(self, now: float, recovered: Recovered) -> None:
        tasks: list[Json] = [
            {"request": encode(task.request).decode(), "status": encode(task.status).decode()}
            for task in recovered.tasks
        ]
        self._pending = {"now": now, "restored": tasks}

    def received(
        self, now: float, peer: PeerId, message: ToBroker, credentials: Credentials = NO_KEYS
    ) -> None:
        wire = base64.b64encode(encode_message(message)).decode()
        self._pending = {
            "now": now,
            "peer": peer.hex(),
            "received": type(message).__name__,
            "wire": wire,
        }
        if credentials != NO_KEYS:
            self._pending["credentials"] = asdict(credentials)

    def lost(self, now: float, peer: PeerId) -> None:
        self._pending = {"now": now, "peer": peer.hex(), "lost": True}

    def ticked(self, now: float) -> None:
        self._pending = {"now": now, "tick": True}

    def disk_full(self, now: float, *, full: bool) -> None:
        self._write({"now": now, "disk_full": full})

    def disk_busy(self, now: float, *, busy: bool) -> None:
        self._write({"now": now, "disk_busy": busy})

    def draining(self, now: float) -> None:
        self._write({"now": now, "draining": True})

    def rerouted(self, now: float, router: RouterConfig) -> None:
        self._pending = {"now": now, "rerouted": _router(router)}

    def reconfigured(self, now: float, new: Reconfiguration) -> None:
        self._pending = {
            "now": now,
            "reconfigured": {
                "queues": {name: asdict(queue) for name, queue in new.queues.items()},
                "timers": asdict(new.timers),
                "limits": asdict(new.limits),
                "admission": new.admission,
                "paused": list(new.paused),
                "closed": list(new.closed),
                "kept": new.kept,
            },
        }

    def stepped(self, step: Step) -> None:
        """Write the line of the last input, completed by what it led to."""
        self._write({**self._pending, "answered": outline(step), "check": fingerprint(step)})

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of a full disk: what could not be written is lost
            self._file.close()

    def _write(self, line: dict[str, Json]) -> None:
        """Write a line; the first one that cannot be written ends the recording, not the broker.

        What would follow it could not be replayed, for want of what is missing.
        """
        if self._has_failed:
            return
        try:
            self._write_line(line)
        except (OSError, ValueError) as error:
            self._has_failed = True
            logger.error("the recording ends here: %s cannot be written: %s", self._path, error)  # noqa: TRY400 -- a full disk needs no traceback

    def _write_line(self, line: dict[str, Json]) -> None:
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()


def _router(config: RouterConfig) -> Json:
    return {"name": config.name, "parameters": dict(config.parameters)}


def outline(step: Step) -> list[Json]:
    """Return what a step did, in short: records, then messages."""
    return [
        *(type(record).__name__ for record in step.records),
        *(f"{type(send.message).__name__} to {send.peer.hex()[:8]}" for send in step.sends),
    ]


def fingerprint(step: Step) -> str:
    """Return what differs when anything in two steps differs."""
    parts = [encode_record(record) for record in step.records]
    for send in step.sends:
        parts += (send.peer, encode_message(send.message))
    return checksum(*parts).hex()
